//! What an intake may hold until it is read, and what happens to what does not fit.
use crate::{Buffer, Event, EventQueue, Overflow};

/// An [`EventQueue`] within the bounds of a [`Buffer`], for authors of adapters: it counts messages and bytes, and does
/// what the overflow policy says. It holds no lock and wakes nobody.
///
/// ```
/// use sinew_core::{Buffer, Event, IntakeQueue, Overflow};
///
/// let bounds = Buffer::default().with_messages(2).with_overflow(Overflow::DropOldest);
/// let mut queue = IntakeQueue::new(bounds);
/// for message in ["a", "b", "c"] {
///     assert!(queue.push(Event::Item(message), message.len()));
/// }
/// assert_eq!(queue.pop(), Some(Event::Lost(1)));
/// assert_eq!(queue.pop(), Some(Event::Item("b")));
/// ```
#[derive(Clone, Debug)]
pub struct IntakeQueue<T> {
    bounds: Buffer,
    bytes: usize,
    /// Each item with its bytes.
    events: EventQueue<(T, usize)>,
}

impl<T> IntakeQueue<T> {
    /// An empty one.
    #[must_use]
    pub const fn new(bounds: Buffer) -> Self {
        Self { bounds, bytes: 0, events: EventQueue::new() }
    }

    /// Adds what happened last; `bytes` are those of an item's payload. An item that does not fit meets the policy:
    ///
    /// - [`Overflow::DropNewest`] and [`Overflow::DropOldest`] drop and count;
    /// - [`Overflow::Fail`] drops the item and says `false`: the intake is to end with an error;
    /// - [`Overflow::Block`] takes it all the same: whoever fills the queue is to wait for [`IntakeQueue::room`] first.
    #[must_use = "`false` ends the intake"]
    pub fn push(&mut self, event: Event<T>, bytes: usize) -> bool {
        if matches!(event, Event::Item(_)) {
            if !self.fits(bytes) {
                match self.bounds.overflow {
                    Overflow::DropNewest => {
                        self.events.push(Event::Lost(1));
                        return true;
                    }
                    Overflow::DropOldest => self.make_room(bytes),
                    Overflow::Fail => return false,
                    Overflow::Block => {}
                }
            }
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.events.push(event.map(|item| (item, bytes)));
        true
    }

    /// Takes out what the reader is to be told next.
    pub fn pop(&mut self) -> Option<Event<T>> {
        let event = self.events.pop()?;
        if let Event::Item((_, bytes)) = &event {
            self.bytes = self.bytes.saturating_sub(*bytes);
        }
        Some(event.map(|(item, _)| item))
    }

    /// Takes out all items, and counts none as lost: for those that come again.
    pub fn take_items(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.events.take_items().into_iter().map(|(item, _)| item).collect()
    }

    /// How many messages and bytes fit, each at least 1; `None` when it is full. One message fits in any case, however
    /// large.
    #[must_use]
    pub fn room(&self) -> Option<(usize, usize)> {
        let messages = self.bounds.messages.saturating_sub(self.messages());
        let bytes = self.bounds.bytes.saturating_sub(self.bytes);
        let has_room = self.messages() == 0 || messages > 0 && bytes > 0;
        has_room.then_some((messages.max(1), bytes.max(1)))
    }

    /// How many items there are.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.events.items()
    }

    /// The bytes of their payloads.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it was made with.
    #[must_use]
    pub const fn bounds(&self) -> Buffer {
        self.bounds
    }

    fn fits(&self, bytes: usize) -> bool {
        self.messages() == 0
            || self.messages() < self.bounds.messages
                && self.bytes.saturating_add(bytes) <= self.bounds.bytes
    }

    fn make_room(&mut self, bytes: usize) {
        while !self.fits(bytes)
            && let Some((_, gone)) = self.events.lose_oldest()
        {
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bounds: Buffer, sizes: &[usize]) -> IntakeQueue<usize> {
        let mut queue = IntakeQueue::new(bounds);
        for (item, size) in sizes.iter().enumerate() {
            assert!(queue.push(Event::Item(item), *size));
        }
        queue
    }

    fn read(queue: &mut IntakeQueue<usize>) -> Vec<Event<usize>> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_was_lost() {
        let bounds = Buffer::default().with_messages(2);
        let mut queue = filled(bounds, &[1; 5]);
        assert!(queue.push(Event::Down, 0));
        assert_eq!(read(&mut queue), [Event::Item(0), Event::Item(1), Event::Lost(3), Event::Down]);

        let mut queue = filled(bounds.with_overflow(Overflow::DropOldest), &[1; 5]);
        assert_eq!(read(&mut queue), [Event::Lost(3), Event::Item(3), Event::Item(4)]);
    }

    #[test]
    fn the_oldest_make_room_for_one_as_large_as_several() {
        let bounds = Buffer::default().with_bytes(10).with_overflow(Overflow::DropOldest);
        let mut queue = filled(bounds, &[4, 4, 2, 7]);
        assert_eq!((queue.messages(), queue.bytes()), (2, 9));
        assert_eq!(read(&mut queue), [Event::Lost(2), Event::Item(2), Event::Item(3)]);
    }

    #[test]
    fn bytes_bound_it_too_but_one_message_always_fits() {
        let mut queue = filled(Buffer::default().with_bytes(10), &[100, 1]);
        assert_eq!(read(&mut queue), [Event::Item(0), Event::Lost(1)]);
        let mut queue = filled(Buffer::default().with_bytes(10), &[5, 5, 1]);
        assert_eq!(read(&mut queue), [Event::Item(0), Event::Item(1), Event::Lost(1)]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn one_that_shall_fail_says_so_and_keeps_what_it_held() {
        let bounds = Buffer::default().with_messages(1).with_overflow(Overflow::Fail);
        let mut queue = filled(bounds, &[1]);
        assert!(queue.push(Event::Lost(1), 0), "nothing but an item needs room");
        assert!(!queue.push(Event::Item(1), 1));
        assert_eq!(read(&mut queue), [Event::Item(0), Event::Lost(1)]);
    }

    #[test]
    fn room_is_what_is_left_of_both_bounds() {
        let bounds = Buffer::default().with_messages(3).with_bytes(10);
        assert_eq!(filled(bounds, &[]).room(), Some((3, 10)));
        assert_eq!(filled(bounds, &[4]).room(), Some((2, 6)));
        assert_eq!(filled(bounds, &[5, 5]).room(), None);
        assert_eq!(filled(bounds, &[1; 3]).room(), None);
        let mut emptied = filled(bounds, &[100]);
        assert_eq!(emptied.room(), None);
        assert_eq!(emptied.take_items(), [0]);
        assert_eq!((emptied.room(), emptied.pop()), (Some((3, 10)), None));
    }
}
