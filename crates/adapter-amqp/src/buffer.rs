//! The bounded buffer between whoever fills an intake and whoever reads it.
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use sinew_core::{Buffer as Bounds, Error, ErrorKind, Event, IntakeQueue, Result};
use tokio::sync::Notify;

/// What is held for a reader: bounded in messages and bytes, with losses counted where they happened.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    state: Mutex<State<T>>,
    /// Told when the reader made room, or is gone.
    room: Notify,
}

#[derive(Debug)]
struct State<T> {
    queue: IntakeQueue<T>,
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
        let queue = IntakeQueue::new(bounds);
        let state = State { queue, end: End::Open, reader: None, wanted: false };
        Arc::new(Self { state: Mutex::new(state), room: Notify::new() })
    }

    /// Whether it takes more, or has ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lock().end, End::Open)
    }

    /// Takes `items` in, each with its size in bytes, under one lock and with one wake-up. What does not fit meets
    /// the overflow policy; who blocks must look for room first.
    pub(crate) fn extend(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut state = self.lock();
        for (item, size) in items {
            if !matches!(state.end, End::Open) {
                break;
            }
            state.push(Event::Item(item), size);
        }
        wake(state);
    }

    /// Says something about the link or a loss, in order with the items.
    pub(crate) fn tell(&self, event: Event<T>) {
        let mut state = self.lock();
        if !matches!(state.end, End::Open) {
            return;
        }
        state.push(event, 0);
        wake(state);
    }

    /// Lets go of the items that are held, uncounted: they come again.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        let items = state.queue.take_items();
        drop(state);
        // Outside of the lock, as it is a delivery's end.
        drop(items);
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

    /// How many messages and bytes fit, if any do.
    pub(crate) fn try_room(&self) -> Option<(usize, usize)> {
        let mut state = self.lock();
        let room = state.queue.room();
        state.wanted = room.is_none();
        room
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
    fn push(&mut self, event: Event<T>, bytes: usize) {
        if !self.queue.push(event, bytes) {
            self.end = End::Closed(Some(
                Error::new(ErrorKind::Overloaded, "amqp intake")
                    .with_detail("the consumer was too slow, and asked to be told so"),
            ));
        }
    }

    /// Half of it free is soon enough for whoever waits for room, and spares a wake-up per message.
    fn is_half_free(&self) -> bool {
        let bounds = self.queue.bounds();
        self.queue.messages() <= bounds.messages / 2 && self.queue.bytes() <= bounds.bytes / 2
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
        let messages = buffer.lock().queue.bounds().messages;
        let stride = if messages >= 16 * STRIDE { STRIDE } else { 1 };
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
        let next = match (state.queue.pop(), &mut state.end) {
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
        let enough = state.queue.bytes().saturating_sub(STRIDE_BYTES);
        while this.ahead.len() + 1 < this.stride && state.queue.bytes() > enough {
            match state.queue.pop() {
                Some(event) => this.ahead.push_back(event),
                None => break,
            }
        }
        if state.wanted && state.is_half_free() {
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
        let items = state.queue.take_items();
        drop(state);
        // Outside of the lock: a delivery that is dropped goes back to its queue.
        drop(items);
        self.buffer.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::Overflow;

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
    fn a_failing_buffer_yields_what_it_held_then_the_error() {
        let bounds = Bounds::default().with_messages(2).with_overflow(Overflow::Fail);
        let mut reader = filled(bounds, 0..5);
        assert_eq!(read(&mut reader), [Event::Item(0), Event::Item(1)]);
        let mut cx = Context::from_waker(Waker::noop());
        let end = Pin::new(&mut reader).poll_next(&mut cx);
        assert!(matches!(end, Poll::Ready(Some(Err(err))) if err.kind() == ErrorKind::Overloaded));
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
