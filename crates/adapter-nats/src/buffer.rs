//! The bounded buffer between whoever fills an intake and whoever reads it.
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use sinew_core::{Buffer as Bounds, Error, ErrorKind, Event, Overflow, Result};
use tokio::sync::Notify;

/// What is held for a reader: bounded in messages and bytes, with losses counted where they happened.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    state: Mutex<State<T>>,
    bounds: Bounds,
    /// Told when the reader made room, or is gone.
    room: Notify,
}

#[derive(Debug)]
struct State<T> {
    events: VecDeque<(Event<T>, usize)>,
    messages: usize,
    bytes: usize,
    /// Lost before the first event that is held.
    lost_first: u64,
    /// An `Up` that was taken back had a gap before it.
    gap: bool,
    end: End,
    reader: Option<Waker>,
    /// Somebody waits for room.
    wanted: bool,
}

#[derive(Debug)]
enum End {
    Open,
    /// What is held is still read, then this.
    Closed(Option<Error>),
    /// Nobody reads any more.
    Abandoned,
}

impl<T> Buffer<T> {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let state = State {
            events: VecDeque::new(),
            messages: 0,
            bytes: 0,
            lost_first: 0,
            gap: false,
            end: End::Open,
            reader: None,
            wanted: false,
        };
        Arc::new(Self { state: Mutex::new(state), bounds, room: Notify::new() })
    }

    /// Whether it takes more, or has ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lock().end, End::Open)
    }

    /// Takes `items` in, each with its size in bytes, under one lock and with one wake-up. What does not fit meets
    /// the overflow policy; [`Overflow::Block`] must look for room first.
    pub(crate) fn extend(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut state = self.lock();
        for (item, size) in items {
            if !matches!(state.end, End::Open) {
                break;
            }
            state.push(item, size, self.bounds);
        }
        wake(state);
    }

    /// Says something about the link, in order with the items.
    pub(crate) fn tell(&self, event: Event<T>) {
        let mut state = self.lock();
        if !matches!(state.end, End::Open) {
            return;
        }
        state.tell(event);
        wake(state);
    }

    /// Lets go of the items that are held, uncounted: they come again.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        let events = std::mem::take(&mut state.events);
        let (items, others) =
            events.into_iter().partition(|(event, _)| matches!(event, Event::Item(_)));
        state.events = others;
        state.messages = 0;
        state.bytes = 0;
        drop(state);
        // Outside of the lock, as it is a delivery's end.
        drop::<VecDeque<_>>(items);
    }

    /// Counts messages that were lost on the way here.
    pub(crate) fn lose(&self, count: u64) {
        let mut state = self.lock();
        state.lose_last(count);
        wake(state);
    }

    /// Ends it: what is held is still read, then `outcome`, if there is one. The first end counts.
    pub(crate) fn end(&self, outcome: Option<Error>) {
        let mut state = self.lock();
        if matches!(state.end, End::Open) {
            state.end = End::Closed(outcome);
        }
        wake(state);
        self.room.notify_one();
    }

    /// Takes out the error that it ended with before anything was read.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        match &mut self.lock().end {
            End::Closed(outcome) => outcome.take(),
            End::Open | End::Abandoned => None,
        }
    }

    /// How many messages and bytes fit, if any do.
    pub(crate) fn try_room(&self) -> Option<(usize, usize)> {
        let mut state = self.lock();
        let messages = self.bounds.messages.saturating_sub(state.messages);
        let bytes = self.bounds.bytes.saturating_sub(state.bytes);
        let room = state.messages == 0 || messages > 0 && bytes > 0;
        state.wanted = !room;
        room.then_some((messages.max(1), bytes.max(1)))
    }

    /// Ends once there is room, or it has ended.
    ///
    /// Cancel safe.
    pub(crate) async fn room(&self) {
        while self.is_open() && self.try_room().is_none() {
            self.room.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic between two statements leaves counts behind that are wrong by one message: not worth a panic here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader after the lock is free.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl<T> State<T> {
    fn push(&mut self, item: T, size: usize, bounds: Bounds) {
        let full = |state: &Self| {
            state.messages > 0
                && (state.messages >= bounds.messages || state.bytes + size > bounds.bytes)
        };
        if full(self) {
            match bounds.overflow {
                Overflow::DropOldest => {
                    while full(self) {
                        self.lose_oldest();
                    }
                }
                Overflow::Fail => {
                    self.end = End::Closed(Some(
                        Error::new(ErrorKind::Overloaded, "nats intake")
                            .with_detail("the consumer was too slow, and asked to be told so"),
                    ));
                    return;
                }
                // Whoever blocks has looked for room: what still does not fit is one message of a size nobody knew.
                Overflow::Block => {}
                _ => return self.lose_last(1),
            }
        }
        self.messages += 1;
        self.bytes += size;
        self.events.push_back((Event::Item(item), size));
    }

    /// A link that flaps while nobody reads takes no more room than one that broke once.
    fn tell(&mut self, event: Event<T>) {
        let mut latest = self.events.iter().rev().map(|(event, _)| event);
        match (event, latest.next(), latest.next()) {
            (Event::Down, Some(Event::Up { gap }), Some(Event::Down)) => {
                self.gap |= gap;
                self.events.pop_back();
            }
            (Event::Up { gap }, ..) => {
                let gap = gap | std::mem::take(&mut self.gap);
                self.events.push_back((Event::Up { gap }, 0));
            }
            (event, ..) => self.events.push_back((event, 0)),
        }
    }

    fn lose_last(&mut self, count: u64) {
        match self.events.back_mut() {
            Some((Event::Lost(lost), _)) => *lost += count,
            None => self.lost_first += count,
            Some(_) => self.events.push_back((Event::Lost(count), 0)),
        }
    }

    /// Drops the oldest item; what is told about the link stays.
    fn lose_oldest(&mut self) {
        let oldest = self.events.iter().position(|(event, _)| matches!(event, Event::Item(_)));
        if let Some((_, size)) = oldest.and_then(|index| self.events.remove(index)) {
            self.messages -= 1;
            self.bytes -= size;
            self.lost_first += 1;
        }
    }

    fn pop(&mut self) -> Option<Event<T>> {
        if self.lost_first > 0 {
            return Some(Event::Lost(std::mem::take(&mut self.lost_first)));
        }
        let (event, size) = self.events.pop_front()?;
        if matches!(event, Event::Item(_)) {
            self.messages -= 1;
            self.bytes -= size;
        }
        Some(event)
    }
}

/// The reader's end. Dropped, it lets go of what is held.
#[derive(Debug)]
pub(crate) struct Reader<T> {
    buffer: Arc<Buffer<T>>,
    /// What was taken out ahead, so that the lock is taken for many at once.
    ahead: VecDeque<Event<T>>,
    /// How many may be taken out at once.
    stride: usize,
}

/// How many messages, and bytes of them, a reader takes out at once where that is next to nothing of the buffer.
const STRIDE: usize = 64;
const STRIDE_BYTES: usize = 64 << 10;

impl<T> Reader<T> {
    pub(crate) fn new(buffer: Arc<Buffer<T>>) -> Self {
        let stride = if buffer.bounds.messages >= 16 * STRIDE { STRIDE } else { 1 };
        Self { buffer, ahead: VecDeque::new(), stride }
    }
}

impl<T: Unpin> Stream for Reader<T> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(event) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let buffer = &this.buffer;
        let mut state = buffer.lock();
        let next = match (state.pop(), &mut state.end) {
            (Some(event), _) => Poll::Ready(Some(Ok(event))),
            (None, End::Closed(outcome)) => Poll::Ready(outcome.take().map(Err)),
            (None, End::Abandoned) => Poll::Ready(None),
            (None, End::Open) => {
                match &mut state.reader {
                    Some(reader) => reader.clone_from(cx.waker()),
                    reader => *reader = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        };
        let enough = state.bytes.saturating_sub(STRIDE_BYTES);
        while this.ahead.len() + 1 < this.stride && state.bytes > enough {
            match state.pop() {
                Some(event) => this.ahead.push_back(event),
                None => break,
            }
        }
        // Half of it free is soon enough for whoever waits, and spares a wake-up per message.
        let tell = state.wanted
            && state.messages <= buffer.bounds.messages / 2
            && state.bytes <= buffer.bounds.bytes / 2;
        if tell {
            state.wanted = false;
            drop(state);
            buffer.room.notify_one();
        }
        next
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = self.buffer.lock();
        state.end = End::Abandoned;
        let events = std::mem::take(&mut state.events);
        drop(state);
        // Outside of the lock: a delivery that is dropped goes back to its queue.
        drop(events);
        self.buffer.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(reader: &mut Reader<u32>) -> Vec<Event<u32>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        while let Poll::Ready(Some(Ok(event))) = Pin::new(&mut *reader).poll_next(&mut cx) {
            events.push(event);
        }
        events
    }

    fn filled(bounds: Bounds, items: impl IntoIterator<Item = u32>) -> Reader<u32> {
        let buffer = Buffer::new(bounds);
        buffer.extend(items.into_iter().map(|item| (item, 1)));
        Reader::new(buffer)
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_was_lost() {
        let bounds = Bounds::default().with_messages(2);
        let mut reader = filled(bounds, 0..5);
        reader.buffer.tell(Event::Down);
        let events = [Event::Item(0), Event::Item(1), Event::Lost(3), Event::Down];
        assert_eq!(read(&mut reader), events);

        let mut reader = filled(bounds.with_overflow(Overflow::DropOldest), 0..5);
        assert_eq!(read(&mut reader), [Event::Lost(3), Event::Item(3), Event::Item(4)]);
    }

    #[test]
    fn a_failing_buffer_yields_what_it_held_then_the_error() {
        let bounds = Bounds::default().with_messages(2).with_overflow(Overflow::Fail);
        let mut reader = filled(bounds, 0..5);
        assert_eq!(read(&mut reader), [Event::Item(0), Event::Item(1)]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut reader).poll_next(&mut cx).is_ready());
    }

    #[test]
    fn bytes_bound_it_too_but_one_message_always_fits() {
        let buffer = Buffer::new(Bounds::default().with_bytes(10));
        buffer.extend([(0, 100), (1, 1)]);
        let mut reader = Reader::new(buffer);
        assert_eq!(read(&mut reader), [Event::Item(0), Event::Lost(1)]);
        reader.buffer.extend([(2, 5), (3, 5), (4, 1)]);
        assert_eq!(read(&mut reader), [Event::Item(2), Event::Item(3), Event::Lost(1)]);
    }

    #[test]
    fn a_flapping_link_takes_no_room() {
        let mut reader = filled(Bounds::default(), [0]);
        for _ in 0..100 {
            reader.buffer.tell(Event::Down);
            reader.buffer.tell(Event::Up { gap: true });
        }
        assert_eq!(read(&mut reader), [Event::Item(0), Event::Down, Event::Up { gap: true }]);
    }

    #[test]
    fn ended_it_still_yields_what_it_held_and_takes_no_more() {
        let mut reader = filled(Bounds::default(), [0]);
        reader.buffer.end(None);
        reader.buffer.extend([(1, 1)]);
        assert_eq!(read(&mut reader), [Event::Item(0)]);
    }

    #[tokio::test]
    async fn room_is_told_once_half_is_read() {
        let bounds = Bounds::default().with_messages(4).with_overflow(Overflow::Block);
        let mut reader = filled(bounds, 0..4);
        let buffer = Arc::clone(&reader.buffer);
        let waits = tokio::spawn(async move { buffer.room().await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(read(&mut reader).len(), 4);
        waits.await.unwrap();
        assert_eq!(reader.buffer.try_room(), Some((4, 64 << 20)));
    }
}
