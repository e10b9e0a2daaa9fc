//! What one intake has been sent and has not read yet: bounded, in order, with the truth about what was lost.
use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use sinew_core::{Buffer, Event, EventQueue, Overflow};

use crate::{
    held::Held,
    sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock},
    wait::{Wakers, register},
};

/// The broker's side of one intake; a [`Reader`] is the client's.
///
/// Lock order: the broker's state, then a mailbox. Whoever pushes holds the broker's lock, so that room seen by
/// [`Mailbox::has_room`] is still there at [`Mailbox::push`].
///
/// The reader takes all there is at once, and counts what it reads where only it writes: in a burst a message costs it
/// no lock. What it has taken and not read still counts against the bounds.
#[derive(Debug)]
pub(crate) struct Mailbox {
    bounds: Buffer,
    /// What came in, written under the lock of `inner`.
    added: Count,
    /// What was read, written by the reader.
    taken: Count,
    /// A publisher waits for room.
    awaited: AtomicBool,
    inner: Mutex<Inner>,
}

/// Messages and bytes of payload; they wrap.
#[derive(Debug, Default)]
struct Count {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    events: EventQueue<Held>,
    end: End,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum End {
    #[default]
    Open,
    Stopped,
    FellBehind,
}

/// The one reader of a mailbox.
#[derive(Debug)]
pub(crate) struct Reader {
    mailbox: Arc<Mailbox>,
    /// Taken and not read.
    events: EventQueue<Held>,
    report: Option<Report>,
}

/// An event, the end, or nothing yet.
pub(crate) type Next = Poll<Option<Result<Event<Held>, FellBehind>>>;

/// The intake failed, as it was asked to, for it was read too slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FellBehind;

/// What reading has changed for others: it is for the broker to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// A publisher was waiting for the room that there is now.
    pub(crate) awaited: bool,
    /// This many messages were too old, and are told as lost.
    pub(crate) expired: u64,
}

impl Mailbox {
    pub(crate) fn new(bounds: Buffer) -> Self {
        Self {
            bounds,
            added: Count::default(),
            taken: Count::default(),
            awaited: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    /// Whether the publisher must wait until there is room.
    pub(crate) fn blocks(&self) -> bool {
        self.bounds.overflow == Overflow::Block
    }

    /// Whether a message of `bytes` fits; one fits always, however large.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let (messages, used) = self.added.since(&self.taken);
        messages == 0
            || (messages < self.bounds.messages && used.saturating_add(bytes) <= self.bounds.bytes)
    }

    /// As [`Mailbox::has_room`]; a `false` asks the reader to tell when there is some.
    pub(crate) fn await_room(&self, bytes: usize) -> bool {
        // The reader counts, then looks whether it is awaited; here it is the other way round. In one order of all
        // these steps, one of the two sees the other.
        self.has_room(bytes) || {
            self.awaited.store(true, Ordering::SeqCst);
            self.has_room(bytes)
        }
    }

    /// Takes a message in, or does what the overflow policy says.
    pub(crate) fn push(&self, held: Held, wakers: &mut Wakers) {
        let bytes = held.len();
        let mut inner = lock(&self.inner);
        if inner.end != End::Open {
            return;
        }
        if !self.has_room(bytes) {
            match self.bounds.overflow {
                Overflow::Fail => {
                    inner.end = End::FellBehind;
                    return wakers.push(inner.waker.take());
                }
                Overflow::DropOldest => self.drop_oldest(&mut inner, bytes),
                // Publishers wait for a blocking mailbox before they push, so none gets here.
                _ => return inner.events.push(Event::Lost(1)),
            }
        }
        self.added.add(1, bytes, Ordering::Release);
        inner.events.push(Event::Item(held));
        wakers.push(inner.waker.take());
    }

    /// Tells the reader of the link: `Down`, or `Up`.
    pub(crate) fn signal(&self, state: Event<Held>, wakers: &mut Wakers) {
        let mut inner = lock(&self.inner);
        if inner.end != End::Open {
            return;
        }
        inner.events.push(state);
        wakers.push(inner.waker.take());
    }

    /// Takes nothing more in; what is there can still be read. Whether a publisher waits.
    pub(crate) fn stop(&self, wakers: &mut Wakers) -> bool {
        let mut inner = lock(&self.inner);
        inner.end = End::Stopped;
        wakers.push(inner.waker.take());
        self.awaited.swap(false, Ordering::SeqCst)
    }

    /// Lets the reader look again.
    pub(crate) fn wake(&self, wakers: &mut Wakers) {
        wakers.push(lock(&self.inner).waker.take());
    }

    /// Makes room for `bytes`, and counts what that costs where it is missing.
    fn drop_oldest(&self, inner: &mut Inner, bytes: usize) {
        while !self.has_room(bytes)
            && let Some(held) = inner.events.lose_oldest()
        {
            self.added.add(usize::MAX, held.len().wrapping_neg(), Ordering::Release);
        }
    }
}

impl Reader {
    pub(crate) const fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, events: EventQueue::new(), report: None }
    }

    /// The next event, or a wake-up when there is one. Look for a [`Report`] after it.
    pub(crate) fn read(&mut self, cx: &Context<'_>) -> Next {
        loop {
            self.lose_expired();
            if let Some(event) = self.events.pop() {
                if let Event::Item(held) = &event {
                    self.count(held.len());
                }
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(end) = self.take(cx) {
                return end;
            }
        }
    }

    pub(crate) fn report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// Takes out of the mailbox what is there; what a read ends with, where that is nothing.
    fn take(&mut self, cx: &Context<'_>) -> Option<Next> {
        let mut replaced = Wakers::default();
        let mut inner = lock(&self.mailbox.inner);
        let end = match (inner.events.is_empty(), inner.end) {
            (false, _) if self.mailbox.bounds.overflow == Overflow::DropOldest => {
                // The others may still have to make room.
                if let Some(event) = inner.events.pop() {
                    self.events.push(event);
                }
                None
            }
            (false, _) => {
                self.events.append(&mut inner.events);
                None
            }
            (true, End::Stopped) => Some(Poll::Ready(None)),
            (true, End::FellBehind) => Some(Poll::Ready(Some(Err(FellBehind)))),
            (true, End::Open) => {
                register(&mut inner.waker, cx, &mut replaced);
                Some(Poll::Pending)
            }
        };
        drop(inner);
        end
    }

    /// Counts what is too old as lost.
    fn lose_expired(&mut self) {
        while self.events.oldest().is_some_and(Held::is_expired)
            && let Some(held) = self.events.lose_oldest()
        {
            self.count(held.len());
            self.report.get_or_insert_default().expired += 1;
        }
    }

    /// Counts a message as read, and sees whether a publisher waits for its room.
    fn count(&mut self, bytes: usize) {
        let Mailbox { taken, awaited, .. } = &*self.mailbox;
        if !self.mailbox.blocks() {
            return taken.add(1, bytes, Ordering::Release);
        }
        taken.add(1, bytes, Ordering::SeqCst);
        if awaited.load(Ordering::SeqCst) && awaited.swap(false, Ordering::SeqCst) {
            self.report.get_or_insert_default().awaited = true;
        }
    }
}

/// Nobody will read what is left.
impl Drop for Reader {
    fn drop(&mut self) {
        let unread = mem::take(&mut lock(&self.mailbox.inner).events);
        drop(unread);
    }
}

impl Count {
    /// For the one side that writes. Who sees the messages counted with `order` sees the bytes, too.
    fn add(&self, messages: usize, bytes: usize, order: Ordering) {
        let sum = |count: &AtomicUsize, more| count.load(Ordering::Relaxed).wrapping_add(more);
        self.bytes.store(sum(&self.bytes, bytes), Ordering::Release);
        self.messages.store(sum(&self.messages, messages), order);
    }

    /// What was added here and not in `taken`.
    fn since(&self, taken: &Self) -> (usize, usize) {
        let minus = |added: &AtomicUsize, taken: &AtomicUsize| {
            added.load(Ordering::SeqCst).wrapping_sub(taken.load(Ordering::SeqCst))
        };
        (minus(&self.messages, &taken.messages), minus(&self.bytes, &taken.bytes))
    }
}
