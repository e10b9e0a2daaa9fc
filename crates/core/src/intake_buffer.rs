//! The bounded buffer between the task that fills an intake and whoever reads it.
use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

use crate::{Buffer, Error, ErrorKind, Event, IntakeQueue, Result};

/// An [`IntakeQueue`] that one task fills and one [`IntakeReader`] empties, for authors of adapters: bounded in messages
/// and bytes, with losses told where they happened.
///
/// Everything but [`IntakeBuffer::room`] is done at once, under a lock that is held for no longer than that. What is
/// let go of is dropped outside of the lock, unless the overflow policy dropped it: the `Drop` of an item that does not
/// fit must not come back here.
///
/// ```
/// use sinew_core::{Buffer, Incoming, IntakeBuffer, IntakeReader};
/// # use std::{pin::pin, sync::Arc, task::{Context, Poll, Waker}};
///
/// let buffer = Arc::new(IntakeBuffer::new(Buffer::default(), "example intake"));
/// let mut incoming = Incoming::new(IntakeReader::new(Arc::clone(&buffer)), || {});
/// buffer.extend([("a", 1), ("b", 1)]);
/// buffer.end(None);
/// # let mut cx = Context::from_waker(Waker::noop());
/// # let mut next = || pin!(incoming.next_item()).poll(&mut cx);
/// # assert!(matches!(next(), Poll::Ready(Some(Ok("a")))));
/// # assert!(matches!(next(), Poll::Ready(Some(Ok("b")))));
/// # assert!(matches!(next(), Poll::Ready(None)));
/// // `incoming` yields both, then ends.
/// ```
#[derive(Debug)]
pub struct IntakeBuffer<T> {
    operation: &'static str,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    queue: IntakeQueue<T>,
    end: End,
    /// Waits for an event. It looked under the lock, so it is woken by whatever comes after.
    reader: Option<Waker>,
    /// Waits for room, as it found none under the lock.
    filler: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Open,
    /// What is held is still read, then this.
    Closed(Option<Error>),
    /// Nobody reads any more.
    Abandoned,
}

impl<T> IntakeBuffer<T> {
    /// An empty one. `operation` is what the error of a reader that was too slow names, as `nats intake` does.
    #[must_use]
    pub const fn new(bounds: Buffer, operation: &'static str) -> Self {
        let queue = IntakeQueue::new(bounds);
        let state = State { queue, end: End::Open, reader: None, filler: None };
        Self { operation, state: Mutex::new(state) }
    }

    /// Whether it takes more, or has ended: by [`IntakeBuffer::end`], by overflow, or as its reader is gone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Takes `items` in, each with the bytes of its payload, under one lock and with one wake-up.
    ///
    /// What does not fit meets the overflow policy: [`Overflow::Fail`](crate::Overflow::Fail) ends the intake with
    /// [`ErrorKind::Overloaded`]; who is to block looks for room first. Once ended, it lets go of them.
    pub fn extend(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut items = items.into_iter();
        let mut state = self.lock();
        while state.is_open()
            && let Some((item, bytes)) = items.next()
        {
            state.push(Event::Item(item), bytes, self.operation);
        }
        wake_both(state);
    }

    /// Says something about the link or a loss, in order with the items. An item would count as one of 0 bytes.
    pub fn tell(&self, event: Event<T>) {
        let mut state = self.lock();
        if !state.is_open() {
            return;
        }
        state.push(event, 0, self.operation);
        wake_both(state);
    }

    /// Lets go of the items that are held, uncounted: for those that come again.
    pub fn discard(&self) {
        let mut state = self.lock();
        let items = state.queue.take_items();
        let filler = state.take_filler();
        drop(state);
        drop(items);
        wake(filler);
    }

    /// Ends it: what is held is still read, then `outcome`, if there is one. The first end counts.
    pub fn end(&self, outcome: Option<Error>) {
        let mut state = self.lock();
        if !state.is_open() {
            return;
        }
        state.end = End::Closed(outcome);
        wake_both(state);
    }

    /// Takes out the error that it ended with, unless it was read: for an intake that failed before anybody has it.
    pub fn take_failure(&self) -> Option<Error> {
        match &mut self.lock().end {
            End::Closed(outcome) => outcome.take(),
            End::Open | End::Abandoned => None,
        }
    }

    /// How many messages and bytes fit, as [`IntakeQueue::room`] has it; `None` when it is full.
    #[must_use]
    pub fn try_room(&self) -> Option<(usize, usize)> {
        self.lock().queue.room()
    }

    /// Waits until there is room, or it has ended. Of several that wait at once, the last is woken: it is for the task
    /// that fills.
    ///
    /// Who has to wait is woken once half of the buffer is free, and not for each message.
    ///
    /// # Cancel safety
    ///
    /// Safe: it takes nothing, and the next call sees the room that there is.
    pub async fn room(&self) {
        poll_fn(|cx| self.poll_room(cx)).await;
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.is_open() || state.queue.room().is_some() {
            return Poll::Ready(());
        }
        let replaced = register(&mut state.filler, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic between two statements leaves counts behind that are wrong by one message: not worth a panic here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    const fn is_open(&self) -> bool {
        matches!(self.end, End::Open)
    }

    fn push(&mut self, event: Event<T>, bytes: usize, operation: &'static str) {
        if !self.queue.push(event, bytes) {
            let err = Error::new(ErrorKind::Overloaded, operation)
                .with_detail("the consumer was too slow, and asked to be told so");
            self.end = End::Closed(Some(err));
        }
    }

    /// Who waits for room, if there is enough, or none to wait for. It waits as all was full, so it is not passed over
    /// for good: the reader empties what there is.
    fn take_filler(&mut self) -> Option<Waker> {
        let is_due = self.filler.is_some() && (!self.is_open() || self.is_half_free());
        if is_due { self.filler.take() } else { None }
    }

    /// Soon enough for whoever waits for room, and spares a wake-up per message.
    fn is_half_free(&self) -> bool {
        let bounds = self.queue.bounds();
        self.queue.messages() <= bounds.messages / 2 && self.queue.bytes() <= bounds.bytes / 2
    }
}

/// The one reader of an [`IntakeBuffer`]: the stream for [`Incoming::new`](crate::Incoming::new).
///
/// It takes out ahead what is next to nothing of the buffer, so that the lock is taken for many messages at once.
/// Dropped, it ends the intake and lets go of what is held.
#[derive(Debug)]
pub struct IntakeReader<T> {
    buffer: Arc<IntakeBuffer<T>>,
    /// What was taken out ahead.
    ahead: VecDeque<Event<T>>,
    /// How many may be taken out at once.
    stride: usize,
}

impl<T> IntakeReader<T> {
    /// Reads `buffer`, which has no other reader.
    #[must_use]
    pub fn new(buffer: Arc<IntakeBuffer<T>>) -> Self {
        let bounds = buffer.lock().queue.bounds();
        let is_roomy = bounds.messages >= 16 * STRIDE && bounds.bytes >= 16 * STRIDE_BYTES;
        Self { buffer, ahead: VecDeque::new(), stride: if is_roomy { STRIDE } else { 1 } }
    }
}

/// Nothing in it is pinned.
impl<T> Unpin for IntakeReader<T> {}

impl<T> Stream for IntakeReader<T> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(event) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let mut state = this.buffer.lock();
        let mut replaced = None;
        let next = match (state.queue.pop(), &mut state.end) {
            (Some(event), _) => {
                let enough = state.queue.bytes().saturating_sub(STRIDE_BYTES);
                while this.ahead.len() + 1 < this.stride
                    && state.queue.bytes() >= enough
                    && let Some(event) = state.queue.pop()
                {
                    this.ahead.push_back(event);
                }
                Poll::Ready(Some(Ok(event)))
            }
            (None, End::Closed(outcome)) => Poll::Ready(outcome.take().map(Err)),
            (None, End::Abandoned) => Poll::Ready(None),
            (None, End::Open) => {
                replaced = register(&mut state.reader, cx.waker());
                Poll::Pending
            }
        };
        let filler = state.take_filler();
        drop(state);
        drop(replaced);
        wake(filler);
        next
    }
}

impl<T> Drop for IntakeReader<T> {
    fn drop(&mut self) {
        let mut state = self.buffer.lock();
        let end = mem::replace(&mut state.end, End::Abandoned);
        // A delivery among them goes back to its queue, whatever that takes.
        let items = state.queue.take_items();
        let (reader, filler) = (state.reader.take(), state.take_filler());
        drop(state);
        drop((end, items, reader));
        wake(filler);
    }
}

/// Keeps `waker`; what it takes the place of is to be dropped outside of the lock.
fn register(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(held) if held.will_wake(waker) => None,
        _ => slot.replace(waker.clone()),
    }
}

/// Wakes the reader, and who waits for room where that is due, after the lock is free.
fn wake_both<T>(mut state: MutexGuard<'_, State<T>>) {
    let (reader, filler) = (state.reader.take(), state.take_filler());
    drop(state);
    wake(reader);
    wake(filler);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// How many messages, and bytes of them but for the last, a reader takes out at once where that is next to nothing of
/// the buffer.
const STRIDE: usize = 64;
const STRIDE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
        thread,
        time::Duration,
    };

    use futures_executor::block_on;

    use super::*;
    use crate::Overflow;

    fn filled<T>(bounds: Buffer, items: impl IntoIterator<Item = T>) -> IntakeReader<T> {
        let buffer = Arc::new(IntakeBuffer::new(bounds, "test intake"));
        buffer.extend(items.into_iter().map(|item| (item, 1)));
        IntakeReader::new(buffer)
    }

    fn next<T>(reader: &mut IntakeReader<T>) -> Poll<Option<Result<Event<T>>>> {
        Pin::new(reader).poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn read(reader: &mut IntakeReader<u32>) -> Vec<Event<u32>> {
        std::iter::from_fn(|| match next(reader) {
            Poll::Ready(Some(event)) => Some(event.unwrap()),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn one_that_shall_fail_yields_what_it_held_then_the_error_then_nothing() {
        let bounds = Buffer::default().with_messages(2).with_overflow(Overflow::Fail);
        let mut reader = filled(bounds, 0..5);
        for held in 0..2 {
            assert!(
                matches!(next(&mut reader), Poll::Ready(Some(Ok(Event::Item(item)))) if item == held)
            );
        }
        let Poll::Ready(Some(Err(err))) = next(&mut reader) else { panic!("no error") };
        assert_eq!((err.kind(), err.operation()), (ErrorKind::Overloaded, "test intake"));
        assert!(matches!(next(&mut reader), Poll::Ready(None)));
    }

    #[test]
    fn ended_it_still_yields_what_it_held_and_takes_no_more() {
        let mut reader = filled(Buffer::default(), [0]);
        reader.buffer.end(None);
        reader.buffer.extend([(1, 1)]);
        reader.buffer.tell(Event::Down);
        reader.buffer.end(Some(Error::new(ErrorKind::Closed, "test")));
        assert_eq!(read(&mut reader), [Event::Item(0)]);
        assert!(matches!(next(&mut reader), Poll::Ready(None)), "the first end counts");
    }

    #[test]
    fn a_failure_that_was_taken_out_is_not_read() {
        let mut reader = filled(Buffer::default(), [0]);
        assert!(reader.buffer.take_failure().is_none());
        reader.buffer.end(Some(Error::new(ErrorKind::Denied, "test")));
        assert_eq!(reader.buffer.take_failure().map(|err| err.kind()), Some(ErrorKind::Denied));
        assert_eq!(read(&mut reader), [Event::Item(0)]);
        assert!(matches!(next(&mut reader), Poll::Ready(None)));
    }

    #[test]
    fn a_reader_takes_ahead_where_that_is_next_to_nothing_of_either_bound() {
        let held_after_one = |bounds| {
            let mut reader = filled(bounds, 0..500);
            assert!(matches!(next(&mut reader), Poll::Ready(Some(Ok(Event::Item(0))))));
            reader.buffer.lock().queue.messages()
        };
        assert_eq!(held_after_one(Buffer::default()), 500 - STRIDE);
        assert_eq!(held_after_one(Buffer::default().with_messages(1000)), 499);
        assert_eq!(held_after_one(Buffer::default().with_bytes(64 << 10)), 499);
    }

    /// Notes whether it was ever dropped under the lock of the buffer that it was in.
    struct Delivery(Arc<IntakeBuffer<Self>>, Arc<AtomicBool>);

    impl Drop for Delivery {
        fn drop(&mut self) {
            if self.0.state.try_lock().is_err() {
                self.1.store(true, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn what_is_let_go_of_is_dropped_outside_of_the_lock() {
        let locked = Arc::new(AtomicBool::new(false));
        let ends: [fn(IntakeReader<Delivery>, Delivery); 3] = [
            |reader, _| reader.buffer.discard(),
            |reader, _| drop(reader),
            |reader, late| {
                let buffer = Arc::clone(&reader.buffer);
                drop(reader);
                buffer.extend([(late, 1)]);
            },
        ];
        for end in ends {
            let buffer = Arc::new(IntakeBuffer::new(Buffer::default(), "test intake"));
            let delivery = || Delivery(Arc::clone(&buffer), Arc::clone(&locked));
            buffer.extend([(delivery(), 1), (delivery(), 1)]);
            end(IntakeReader::new(Arc::clone(&buffer)), delivery());
            assert_eq!(Arc::strong_count(&locked), 1, "something is still held");
        }
        assert!(!locked.load(Ordering::Relaxed));
    }

    #[test]
    fn two_threads_that_wait_for_each_other_lose_no_item_and_no_wake_up() {
        const ITEMS: usize = 50_000;
        for messages in [1, 2, 16 * STRIDE] {
            let bounds = Buffer::default().with_messages(messages).with_overflow(Overflow::Block);
            let buffer = Arc::new(IntakeBuffer::new(bounds, "test intake"));
            let mut reader = IntakeReader::new(Arc::clone(&buffer));
            thread::spawn(move || {
                for item in 0..ITEMS {
                    block_on(buffer.room());
                    buffer.extend([(item, 1)]);
                }
                buffer.end(None);
            });
            let (told, read) = mpsc::channel();
            thread::spawn(move || {
                let mut items = Vec::new();
                while let Some(event) = block_on(poll_fn(|cx| Pin::new(&mut reader).poll_next(cx)))
                {
                    items.extend(event.unwrap().item());
                }
                told.send(items)
            });
            let items = read.recv_timeout(Duration::from_secs(60)).expect("somebody is not woken");
            assert!(items.into_iter().eq(0..ITEMS));
        }
    }
}
