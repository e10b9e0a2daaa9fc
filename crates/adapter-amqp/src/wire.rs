//! A channel in confirm mode, and what was handed to it that the broker has not confirmed.
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered, task::AtomicWaker};
use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm,
    message::BasicReturnMessage,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio_util::sync::ReusableBoxFuture;

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

/// How many idle calls of the client are kept for the messages to come.
const SPARE: usize = 64;

/// A call of the client that writes a message; more than a kilobyte.
type Call = ReusableBoxFuture<'static, lapin::Result<PublisherConfirm>>;

/// A channel that publishes with confirms.
pub(crate) struct Wire {
    channel: Channel,
    /// Calls that have ended, for the next ones to take their memory.
    spare: Mutex<Vec<Call>>,
}

impl Wire {
    pub(crate) async fn open(session: &Session) -> Result<Arc<Self>, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Arc::new(Self { channel, spare: Mutex::default() }))
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether a message can be handed over.
    pub(crate) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    fn publish(self: &Arc<Self>, outbound: Box<Outbound>) -> Call {
        let wire = Arc::clone(self);
        let call = async move {
            let Outbound { exchange, key, mandatory, properties, payload } = *outbound;
            let options = BasicPublishOptions { mandatory, immediate: false };
            wire.channel.basic_publish(exchange, key, options, &payload, properties).await
        };
        let spare = self.spare().pop();
        match spare {
            Some(mut spare) => {
                spare.set(call);
                spare
            }
            None => Call::new(call),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Call>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back a call that has ended.
    fn recycle(&self, ended: Call) {
        let mut spare = self.spare();
        if spare.len() < SPARE {
            spare.push(ended);
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("channel", &self.channel.id()).finish_non_exhaustive()
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

/// A message that was not taken, and why not. Not to be dropped under the lock: it may wake others.
#[derive(Debug)]
pub(crate) struct Unlaunched<T> {
    pub(crate) cause: Cause,
    _outbound: Box<Outbound>,
    _known: T,
}

impl<T> Unlaunched<T> {
    fn new(cause: Cause, outbound: Box<Outbound>, known: T) -> Box<Self> {
        Box::new(Self { cause, _outbound: outbound, _known: known })
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
    pub(crate) fn launch(
        &mut self,
        outbound: Box<Outbound>,
        known: T,
    ) -> Result<(), Box<Unlaunched<T>>> {
        if self.is_over {
            return Err(Unlaunched::new(Cause::gone(), outbound, known));
        }
        if !self.wire.is_open() {
            return Err(Unlaunched::new(Cause::down(), outbound, known));
        }
        let leg = Leg::Out { call: self.wire.publish(outbound), wire: Arc::clone(&self.wire) };
        self.flying.push(Flight { leg, known: Some(known) });
        Ok(())
    }

    /// The reader goes: takes no message any more, and gives up those that it has.
    pub(crate) fn end(&mut self) -> impl Sized + use<T> {
        self.is_over = true;
        std::mem::take(&mut self.flying)
    }

    /// What the client says of the next message that it says something of. With `None`, all that it has said is read.
    pub(crate) fn landed(&mut self) -> Option<(T, lapin::Result<Confirmed>)> {
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
    leg: Leg,
    /// Taken out with the outcome.
    known: Option<T>,
}

/// How far a message is.
enum Leg {
    /// From the client's hands to the wire.
    Out {
        call: Call,
        wire: Arc<Wire>,
    },
    /// On the wire or with the broker. The payload, which may be anything of the caller's, is let go of by now.
    Back(PublisherConfirm),
    Done,
}

impl Leg {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<lapin::Result<Confirmed>> {
        loop {
            let outcome = match self {
                Self::Out { call, .. } => match ready!(call.poll(cx)) {
                    Ok(confirm) => {
                        let out = std::mem::replace(self, Self::Back(confirm));
                        if let Self::Out { call, wire } = out {
                            wire.recycle(call);
                        }
                        continue;
                    }
                    Err(err) => Err(err),
                },
                Self::Back(confirm) => ready!(confirm.poll_unpin(cx)).map(Confirmed::from),
                // Not polled after its end.
                Self::Done => return Poll::Pending,
            };
            *self = Self::Done;
            return Poll::Ready(outcome);
        }
    }
}

/// What the broker says of a message. The client's own type is large, and would be copied from hand to hand.
#[derive(Debug)]
pub(crate) enum Confirmed {
    /// It has it; and perhaps returned one, this or another.
    Ack(Option<Box<BasicReturnMessage>>),
    /// It refused it.
    Nack(Option<Box<BasicReturnMessage>>),
    /// It does not say.
    NotRequested,
}

impl From<Confirmation> for Confirmed {
    fn from(it: Confirmation) -> Self {
        match it {
            Confirmation::Ack(returned) => Self::Ack(returned.map(Box::new)),
            Confirmation::Nack(returned) => Self::Nack(returned.map(Box::new)),
            Confirmation::NotRequested => Self::NotRequested,
        }
    }
}

/// Nothing in it is pinned but what is boxed.
impl<T> Unpin for Flight<T> {}

impl<T> Future for Flight<T> {
    type Output = (T, lapin::Result<Confirmed>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.leg.poll(cx));
        self.known.take().map_or(Poll::Pending, |known| Poll::Ready((known, outcome)))
    }
}
