//! The events of an intake that wait to be read: in order, and bounded by the items among them.
use std::{collections::VecDeque, mem};

use crate::Event;

/// Events on their way to the reader of an intake, for authors of adapters. It holds no lock and wakes nobody.
///
/// Items come out as they went in. What happened between two of them comes out as at most three events: one `Lost`, the
/// sum of all; a `Down`, if the link was down; and an `Up`, if it is up again, whose `gap` says whether any `Up` since
/// the last had one. So a link that flaps and a consumer that loses for ever, with nobody reading, take no room:
/// `n` items are at most `4 * n + 3` events.
///
/// The reader sees `Down` and `Up` by turns. An `Up` with a gap brings the `Down` along that nobody told; what says
/// nothing new is left out.
#[derive(Clone, Debug)]
pub struct EventQueue<T> {
    entries: VecDeque<Entry<T>>,
    /// After the last item.
    tail: Option<Box<Happened>>,
    told: Told,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    /// Between the item before and this one. Mostly nothing, so the room for it is a pointer.
    before: Option<Box<Happened>>,
    item: T,
}

/// What happened between two items, and is not told yet.
#[derive(Clone, Debug, Default)]
struct Happened {
    lost: u64,
    /// The link was down, if only for a moment.
    broke: bool,
    /// An `Up` had a gap.
    gap: bool,
    /// How the link was left.
    link: Option<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Down,
    Up,
}

/// What the reader knows of the link.
#[derive(Clone, Debug, Default)]
struct Told {
    link: Option<State>,
    /// The next `Up` has a gap, whatever it says of itself: one before it that had was never told.
    gap: bool,
}

impl<T> EventQueue<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: VecDeque::new(), tail: None, told: Told { link: None, gap: false } }
    }

    /// Adds what happened last.
    pub fn push(&mut self, event: Event<T>) {
        let item = match event {
            Event::Item(item) => item,
            Event::Lost(count) => return self.tail().lose(count),
            Event::Down => return self.tail().go_down(),
            Event::Up { gap } => return self.tail().go_up(gap),
        };
        self.entries.push_back(Entry { before: self.tail.take(), item });
    }

    /// Takes out what the reader is to be told next.
    pub fn pop(&mut self) -> Option<Event<T>> {
        // Not `self.next()`: what was told is borrowed beside it.
        let next = match self.entries.front_mut() {
            Some(entry) => &mut entry.before,
            None => &mut self.tail,
        };
        if let Some(happened) = next {
            if let Some(event) = self.told.next(happened) {
                return Some(event);
            }
            *next = None;
        }
        self.entries.pop_front().map(|entry| Event::Item(entry.item))
    }

    /// Takes over all that waits in `other`, behind what waits here: so a reader takes what there is under a lock, and
    /// pops it without one.
    pub fn append(&mut self, other: &mut Self) {
        let before = self.tail.take();
        let next = other.next();
        *next = join(before, next.take());
        self.tail = other.tail.take();
        if self.entries.is_empty() {
            mem::swap(&mut self.entries, &mut other.entries);
        } else {
            self.entries.append(&mut other.entries);
        }
    }

    /// The item that waits longest.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.entries.front().map(|entry| &entry.item)
    }

    /// Takes out the item that waits longest, and counts it as lost where it was.
    pub fn lose_oldest(&mut self) -> Option<T> {
        let Entry { before, item } = self.entries.pop_front()?;
        let mut before = before.unwrap_or_default();
        before.lose(1);
        let next = self.next();
        *next = join(Some(before), next.take());
        Some(item)
    }

    /// Takes out all items, and counts none as lost: for those that come again.
    pub fn take_items(&mut self) -> Vec<T> {
        let mut items = Vec::with_capacity(self.entries.len());
        let mut happened = None;
        for Entry { before, item } in mem::take(&mut self.entries) {
            happened = join(happened, before);
            items.push(item);
        }
        self.tail = join(happened, self.tail.take());
        items
    }

    /// How many items there are.
    #[must_use]
    pub fn items(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was added since [`EventQueue::pop`] ended with `None`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tail.is_none()
    }

    fn tail(&mut self) -> &mut Happened {
        self.tail.get_or_insert_default()
    }

    /// What happened before anything that is here.
    fn next(&mut self) -> &mut Option<Box<Happened>> {
        match self.entries.front_mut() {
            Some(entry) => &mut entry.before,
            None => &mut self.tail,
        }
    }
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Happened {
    const fn lose(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    const fn go_down(&mut self) {
        self.broke = true;
        self.link = Some(State::Down);
    }

    const fn go_up(&mut self, gap: bool) {
        // A gap is a break, told or not.
        self.broke |= gap;
        self.gap |= gap;
        self.link = Some(State::Up);
    }
}

impl Told {
    /// Tells what is left of `happened`, one event at a time.
    fn next<T>(&mut self, happened: &mut Happened) -> Option<Event<T>> {
        if happened.lost > 0 {
            return Some(Event::Lost(mem::take(&mut happened.lost)));
        }
        self.gap |= mem::take(&mut happened.gap);
        if mem::take(&mut happened.broke) && self.link != Some(State::Down) {
            self.link = Some(State::Down);
            return Some(Event::Down);
        }
        if happened.link == Some(State::Up) && self.link != Some(State::Up) {
            self.link = Some(State::Up);
            return Some(Event::Up { gap: mem::take(&mut self.gap) });
        }
        None
    }
}

/// What happened in both, where no item is between them any more.
fn join(earlier: Option<Box<Happened>>, later: Option<Box<Happened>>) -> Option<Box<Happened>> {
    match (earlier, later) {
        (Some(mut both), Some(later)) => {
            both.lose(later.lost);
            both.broke |= later.broke;
            both.gap |= later.gap;
            both.link = later.link.or(both.link);
            Some(both)
        }
        (earlier, later) => earlier.or(later),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(queue: &mut EventQueue<u8>) -> Vec<Event<u8>> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_link_that_flaps_and_loses_unread_takes_no_room() {
        let mut queue = EventQueue::new();
        queue.push(Event::Item(1));
        for _ in 0..100 {
            for event in [Event::Down, Event::Lost(2), Event::Up { gap: true }, Event::Lost(1)] {
                queue.push(event);
            }
        }
        let told = [Event::Item(1), Event::Lost(300), Event::Down, Event::Up { gap: true }];
        assert_eq!(read(&mut queue), told);
    }

    #[test]
    fn a_gap_that_was_taken_back_is_told_with_the_next_up() {
        let mut queue = EventQueue::new();
        queue.push(Event::Down);
        assert_eq!(queue.pop(), Some(Event::Down));
        for event in [Event::Up { gap: true }, Event::Down, Event::Item(1)] {
            queue.push(event);
        }
        queue.push(Event::Up { gap: false });
        assert_eq!(read(&mut queue), [Event::Item(1), Event::Up { gap: true }]);
    }

    #[test]
    fn a_gap_without_a_break_brings_its_break_along() {
        let mut queue = EventQueue::new();
        for event in [Event::Up { gap: false }, Event::Item(1), Event::Up { gap: true }] {
            queue.push(event);
        }
        queue.push(Event::Item(2));
        queue.push(Event::Up { gap: false });
        let told = [Event::Up { gap: false }, Event::Item(1), Event::Down, Event::Up { gap: true }];
        assert_eq!(read(&mut queue), told.into_iter().chain([Event::Item(2)]).collect::<Vec<_>>());
    }
}
