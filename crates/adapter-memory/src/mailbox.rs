//! What one intake has been sent and has not read yet: bounded, in order, with the truth about what was lost.
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use sinew_core::{Buffer, Event, Message, Overflow};

use crate::{
    clock::{self, Instant},
    error::MemoryError,
    sync::{Mutex, lock},
    wait::{Wakers, register},
};

/// A message on its way, and when it is no longer worth delivering.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) message: Message,
    pub(crate) expires: Option<Instant>,
}

impl Held {
    /// Starts the time to live of `message`.
    pub(crate) fn new(message: Message) -> Self {
        let ttl = message.properties().and_then(|properties| properties.ttl);
        // A time beyond what the clock can tell never comes.
        Self { expires: ttl.and_then(|ttl| clock::now().checked_add(ttl)), message }
    }

    /// Whether it is too late for it. The clock is read only where that matters.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= clock::now())
    }

    pub(crate) fn len(&self) -> usize {
        self.message.payload.len()
    }
}

/// The client's side of one intake.
///
/// Lock order: the broker's state, then a mailbox. Whoever pushes holds the broker's lock, so that room seen by
/// [`Mailbox::has_room`] is still there at [`Mailbox::push`].
#[derive(Debug)]
pub(crate) struct Mailbox {
    bounds: Buffer,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// No two `Lost` stand together, and of link states no more than the last two.
    events: VecDeque<Event<Held>>,
    messages: usize,
    bytes: usize,
    end: End,
    waker: Option<Waker>,
    /// A publisher waits for room.
    awaited: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum End {
    #[default]
    Open,
    Stopped,
    FellBehind,
}

/// What a mailbox has for its reader.
pub(crate) struct Read {
    pub(crate) next: Poll<Option<Result<Event<Message>, MemoryError>>>,
    /// A publisher was waiting for the room that this read has made: tell the broker.
    pub(crate) awaited: bool,
    /// This many were too old, and are told as lost.
    pub(crate) expired: u64,
}

impl Read {
    /// Nothing yet.
    pub(crate) const fn pending() -> Self {
        Self { next: Poll::Pending, awaited: false, expired: 0 }
    }
}

/// An event that comes from elsewhere.
impl From<Event<Message>> for Read {
    fn from(event: Event<Message>) -> Self {
        Self { next: Poll::Ready(Some(Ok(event))), ..Self::pending() }
    }
}

impl Mailbox {
    pub(crate) fn new(bounds: Buffer) -> Self {
        Self { bounds, inner: Mutex::default() }
    }

    /// Whether the publisher must wait until there is room.
    pub(crate) fn blocks(&self) -> bool {
        self.bounds.overflow == Overflow::Block
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let inner = lock(&self.inner);
        inner.end != End::Open || inner.fits(&self.bounds, bytes)
    }

    /// As [`Mailbox::has_room`]; a `false` asks the reader to tell when there is some.
    pub(crate) fn await_room(&self, bytes: usize) -> bool {
        let mut inner = lock(&self.inner);
        let has_room = inner.end != End::Open || inner.fits(&self.bounds, bytes);
        inner.awaited |= !has_room;
        has_room
    }

    /// Takes a message in, or does what the overflow policy says.
    pub(crate) fn push(&self, held: Held, wakers: &mut Wakers) {
        let mut inner = lock(&self.inner);
        if inner.end != End::Open {
            return;
        }
        let bytes = held.len();
        if !inner.fits(&self.bounds, bytes) {
            match self.bounds.overflow {
                Overflow::Fail => {
                    inner.end = End::FellBehind;
                    return wakers.push(inner.waker.take());
                }
                Overflow::DropOldest => inner.drop_oldest(&self.bounds, bytes),
                // Publishers wait for a blocking mailbox before they push, so none gets here.
                _ => return inner.lose(1),
            }
        }
        inner.messages += 1;
        inner.bytes += bytes;
        inner.events.push_back(Event::Item(held));
        wakers.push(inner.waker.take());
    }

    /// Tells the reader of the link: `Down`, or `Up`.
    pub(crate) fn signal(&self, state: Event<Held>, wakers: &mut Wakers) {
        let mut inner = lock(&self.inner);
        if inner.end != End::Open {
            return;
        }
        // A reader that missed an `Up` between two `Down`s sees one `Down`.
        let mut last = inner.events.iter().rev();
        if matches!((last.next(), last.next()), (Some(Event::Up { .. }), Some(Event::Down))) {
            inner.events.pop_back();
        } else {
            inner.events.push_back(state);
        }
        wakers.push(inner.waker.take());
    }

    /// Takes nothing more in; what is there can still be read.
    pub(crate) fn stop(&self, wakers: &mut Wakers) -> bool {
        let mut inner = lock(&self.inner);
        inner.end = End::Stopped;
        wakers.push(inner.waker.take());
        std::mem::take(&mut inner.awaited)
    }

    /// Lets go of what nobody will read.
    pub(crate) fn clear(&self) {
        let unread = std::mem::take(&mut lock(&self.inner).events);
        drop(unread);
    }

    /// Lets the reader look again.
    pub(crate) fn wake(&self, wakers: &mut Wakers) {
        wakers.push(lock(&self.inner).waker.take());
    }

    /// The next event, or a wake-up when there is one.
    pub(crate) fn read(&self, cx: &Context<'_>) -> Read {
        let mut replaced = Wakers::default();
        let mut inner = lock(&self.inner);
        let expired = inner.drop_expired();
        let next = match inner.events.pop_front() {
            Some(event) => {
                if let Event::Item(held) = &event {
                    inner.messages -= 1;
                    inner.bytes -= held.len();
                }
                Poll::Ready(Some(Ok(event.map(|held| held.message))))
            }
            None => match inner.end {
                End::Stopped => Poll::Ready(None),
                End::FellBehind => Poll::Ready(Some(Err(MemoryError::FellBehind))),
                End::Open => {
                    register(&mut inner.waker, cx, &mut replaced);
                    Poll::Pending
                }
            },
        };
        let awaited = next.is_ready() && std::mem::take(&mut inner.awaited);
        drop(inner);
        Read { next, awaited, expired }
    }
}

impl Inner {
    /// One message fits always, however large.
    fn fits(&self, bounds: &Buffer, bytes: usize) -> bool {
        self.messages == 0
            || (self.messages < bounds.messages && self.bytes.saturating_add(bytes) <= bounds.bytes)
    }

    /// Counts messages lost after all that is here.
    fn lose(&mut self, count: u64) {
        match self.events.back_mut() {
            Some(Event::Lost(lost)) => *lost += count,
            _ => self.events.push_back(Event::Lost(count)),
        }
    }

    /// Takes out what is too old at the front, and puts the loss there.
    fn drop_expired(&mut self) -> u64 {
        let mut expired = 0;
        while let Some(Event::Item(held)) = self.events.front()
            && held.is_expired()
        {
            self.messages -= 1;
            self.bytes -= held.len();
            self.events.pop_front();
            expired += 1;
        }
        if expired > 0 {
            self.lose_first(expired);
        }
        expired
    }

    /// Counts messages lost before all that is here.
    fn lose_first(&mut self, count: u64) {
        match self.events.front_mut() {
            Some(Event::Lost(lost)) => *lost += count,
            _ => self.events.push_front(Event::Lost(count)),
        }
    }

    /// Makes room for `bytes`, and counts what that costs where it is missing: in front.
    fn drop_oldest(&mut self, bounds: &Buffer, bytes: usize) {
        let mut lost = 0;
        let mut states = VecDeque::new();
        while !self.fits(bounds, bytes) {
            match self.events.pop_front() {
                Some(Event::Item(held)) => {
                    self.messages -= 1;
                    self.bytes -= held.len();
                    lost += 1;
                }
                Some(Event::Lost(count)) => lost += count,
                Some(state) => states.push_back(state),
                None => break,
            }
        }
        self.lose_first(lost);
        states.into_iter().rev().for_each(|state| self.events.push_front(state));
    }
}
