//! A channel in confirm mode, and what was handed to it that the broker has not confirmed.
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered, task::AtomicWaker,
};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use crate::{error::Cause, session::Session};

/// A message as the wire wants it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    /// The broker returns it where no queue takes it. It has a message id then.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
}

/// A channel that publishes with confirms.
pub(crate) struct Wire(Channel);

impl Wire {
    pub(crate) async fn open(session: &Session) -> Result<Arc<Self>, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Arc::new(Self(channel)))
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.0
    }

    /// Whether a message can be handed over.
    pub(crate) fn is_open(&self) -> bool {
        self.0.status().connected()
    }

    async fn publish(self: Arc<Self>, outbound: Box<Outbound>) -> lapin::Result<Confirmation> {
        let Outbound { exchange, key, mandatory, properties, payload } = *outbound;
        let options = BasicPublishOptions { mandatory, immediate: false };
        let confirmed = self.0.basic_publish(exchange, key, options, &payload, properties).await?;
        // It may be anything of the caller's, and is not held for as long as the broker takes.
        drop(payload);
        confirmed.await
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("channel", &self.0.id()).finish_non_exhaustive()
    }
}

/// What one channel has in flight, each with what the caller knows of it.
///
/// To be kept behind a lock: the client numbers a message and queues its frames in two steps, and the broker counts
/// frames, so two who handed over at once could get each other's confirm. Whoever hands over polls right there, with
/// what wakes the one task that reads: so that task sleeps until the client has something to say.
pub(crate) struct Flights<T> {
    wire: Arc<Wire>,
    flying: FuturesUnordered<Flight<T>>,
    bell: Arc<Bell>,
    ring: Waker,
    is_over: bool,
}

/// Rung by the client when it has something to say.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    /// Somebody listens, who will not go before all is read.
    is_attended: AtomicBool,
    reader: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.is_attended.load(Ordering::SeqCst) {
            self.reader.wake();
        }
    }
}

impl<T> Flights<T> {
    pub(crate) fn new(wire: Arc<Wire>) -> Self {
        let bell = Arc::<Bell>::default();
        let ring = Waker::from(Arc::clone(&bell));
        Self { wire, flying: FuturesUnordered::new(), bell, ring, is_over: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// From here on `reader` is woken when there may be something to read.
    pub(crate) fn read_by(&self, reader: &Waker) {
        self.bell.reader.register(reader);
    }

    pub(crate) fn wake_reader(&self) {
        self.bell.reader.wake();
    }

    /// What is known of each that is in flight.
    pub(crate) fn known(&mut self) -> impl Iterator<Item = &mut T> {
        self.flying.iter_mut().filter_map(|flight| flight.known.as_mut())
    }

    /// Takes a message in line. The next look at what has [`landed`](Self::landed) hands it over, after those before it.
    pub(crate) fn launch(&mut self, outbound: Box<Outbound>, known: T) -> Result<(), Cause> {
        if self.is_over {
            return Err(Cause::gone());
        }
        if !self.wire.is_open() {
            return Err(Cause::down());
        }
        let confirmed = Box::pin(Arc::clone(&self.wire).publish(outbound));
        self.flying.push(Flight { confirmed, known: Some(known) });
        Ok(())
    }

    /// The reader goes: takes no message any more, and gives up those that it has.
    pub(crate) fn end(&mut self) -> impl Sized + use<T> {
        self.is_over = true;
        std::mem::take(&mut self.flying)
    }

    /// What the client says of the next message that it says something of. With `None`, all that it has said is read.
    pub(crate) fn landed(&mut self) -> Option<(T, lapin::Result<Confirmation>)> {
        self.bell.is_attended.store(true, Ordering::SeqCst);
        loop {
            self.bell.rung.store(false, Ordering::SeqCst);
            match self.flying.poll_next_unpin(&mut Context::from_waker(&self.ring)) {
                Poll::Ready(Some(landed)) => return Some(landed),
                Poll::Ready(None) => break,
                // It also rings where it only takes a rest.
                Poll::Pending if self.bell.rung.load(Ordering::SeqCst) => {}
                Poll::Pending => break,
            }
        }
        self.bell.is_attended.store(false, Ordering::SeqCst);
        if self.bell.rung.load(Ordering::SeqCst) {
            self.bell.reader.wake();
        }
        None
    }

    /// After this, what the client has begun to say of a frame of confirms, it has said.
    ///
    /// It completes the confirms of one frame one by one under a lock, and gives returned messages to any of them.
    pub(crate) fn fence(&self) {
        // The first thing that this does is to take that lock.
        drop(self.wire.channel().wait_for_confirms().now_or_never());
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("wire", &self.wire).field("len", &self.len()).finish()
    }
}

struct Flight<T> {
    /// All the way from the client's hands to the broker's answer.
    confirmed: BoxFuture<'static, lapin::Result<Confirmation>>,
    /// Taken out with the outcome.
    known: Option<T>,
}

/// Nothing in it is pinned but the box.
impl<T> Unpin for Flight<T> {}

impl<T> Future for Flight<T> {
    type Output = (T, lapin::Result<Confirmation>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(outcome) = self.confirmed.as_mut().poll(cx) else { return Poll::Pending };
        // Not polled after its end.
        self.known.take().map_or(Poll::Pending, |known| Poll::Ready((known, outcome)))
    }
}
