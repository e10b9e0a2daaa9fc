//! A channel in confirm mode, and what was handed to it that the broker has not confirmed.
use std::{
    collections::VecDeque,
    fmt,
    mem::take,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered, task::AtomicWaker};
use lapin::{
    BasicProperties, Channel, Confirmation, ErrorKind, PublisherConfirm,
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

/// A channel that publishes with confirms.
pub(crate) struct Wire {
    channel: Channel,
}

impl Wire {
    pub(crate) async fn open(session: &Session) -> Result<Arc<Self>, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Arc::new(Self { channel }))
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether a message can be handed over.
    pub(crate) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    async fn publish(self: Arc<Self>, outbound: Box<Outbound>) -> lapin::Result<PublisherConfirm> {
        let Outbound { exchange, key, mandatory, properties, payload } = *outbound;
        let options = BasicPublishOptions { mandatory, immediate: false };
        self.channel.basic_publish(exchange, key, options, &payload, properties).await
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}

/// How many messages are handed to the client at once, at most; whoever publishes waits meanwhile.
const BURST: usize = 64;

/// A call of the client that writes a message; more than a kilobyte.
type Call = ReusableBoxFuture<'static, lapin::Result<PublisherConfirm>>;

/// What one channel has in flight, each with what the caller knows of it.
///
/// To be kept behind a lock: the client numbers a message and queues its frames in two steps, and the broker counts
/// frames, so two who handed over at once could get each other's confirm. Whoever hands over polls right there, with
/// what wakes the one task that reads: so that task sleeps until the client has something to say.
///
/// A message with none before it goes to the client at once. While the client writes some, the next ones stand in line,
/// and go together when it has: one by one, each would wake the client's thread, and be a packet of its own.
pub(crate) struct Flights<T> {
    wire: Arc<Wire>,
    /// Not handed to the client.
    line: VecDeque<(Box<Outbound>, T)>,
    /// To be written by the client, in this order.
    leaving: VecDeque<(Call, T)>,
    /// How many of those the client has been given.
    handed: usize,
    /// On the wire or with the broker.
    flying: FuturesUnordered<Flight<T>>,
    /// Not taken by the client, as the channel had ended: how, those before them will say.
    adrift: VecDeque<(T, lapin::Error)>,
    /// How the channel ended.
    end: Option<lapin::Error>,
    /// Calls that have ended, for the next ones to take their memory.
    spare: Vec<Call>,
    bell: Arc<Bell>,
    ring: Waker,
    /// The reader has gone.
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
        Self {
            wire,
            line: VecDeque::new(),
            leaving: VecDeque::new(),
            handed: 0,
            flying: FuturesUnordered::new(),
            adrift: VecDeque::new(),
            end: None,
            spare: Vec::new(),
            bell,
            ring,
            is_over: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.line.len() + self.leaving.len() + self.flying.len() + self.adrift.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
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
        let flying = self.flying.iter_mut().filter_map(|flight| flight.known.as_mut());
        let leaving = self.leaving.iter_mut().map(|(_, known)| known);
        let line = self.line.iter_mut().map(|(_, known)| known);
        flying.chain(leaving).chain(line).chain(self.adrift.iter_mut().map(|(known, _)| known))
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
        self.line.push_back((outbound, known));
        Ok(())
    }

    /// The reader goes: takes no message any more, and gives up those that it has.
    pub(crate) fn end(&mut self) -> impl Sized + use<T> {
        self.is_over = true;
        let Self { line, leaving, flying, adrift, .. } = self;
        (take(line), take(leaving), take(flying), take(adrift))
    }

    /// What the client says of the next message that it says something of. With `None`, all that it has said is read.
    pub(crate) fn landed(&mut self) -> Option<(T, lapin::Result<Confirmed>)> {
        self.bell.is_attended.store(true, Ordering::SeqCst);
        loop {
            self.bell.rung.store(false, Ordering::SeqCst);
            if let Some((known, err)) = self.take_off() {
                return Some((known, Err(err)));
            }
            match self.flying.poll_next_unpin(&mut Context::from_waker(&self.ring)) {
                Poll::Ready(Some((known, landed))) => {
                    if let Err(err) = &landed {
                        self.note_end(err);
                    }
                    return Some((known, landed));
                }
                // It also rings where it only takes a rest.
                _ if self.bell.rung.load(Ordering::SeqCst) => {}
                _ => break,
            }
        }
        self.bell.is_attended.store(false, Ordering::SeqCst);
        if self.bell.rung.load(Ordering::SeqCst) {
            self.bell.reader.wake();
        }
        None
    }

    /// Follows those that the client writes, and hands it the next ones when it has written all. What is given is one that
    /// it did not write.
    fn take_off(&mut self) -> Option<(T, lapin::Error)> {
        loop {
            let mut at = 0;
            while let Some((call, _)) = self.leaving.get_mut(at) {
                let Poll::Ready(written) = call.poll(&mut Context::from_waker(&self.ring)) else {
                    // Those behind the first have nothing to say before it has, once they are with the client.
                    self.handed = self.handed.max(at + 1);
                    at = self.handed;
                    continue;
                };
                let (call, known) = self.leaving.remove(at)?;
                self.handed = self.handed.saturating_sub(1);
                if self.spare.len() < BURST {
                    self.spare.push(call);
                }
                match written {
                    Ok(confirm) => self.flying.push(Flight { confirm, known: Some(known) }),
                    Err(err) => {
                        self.note_end(&err);
                        self.adrift.push_back((known, err));
                    }
                }
            }
            let is_told = self.end.is_some() || self.leaving.is_empty() && self.flying.is_empty();
            if is_told && let Some((known, err)) = self.adrift.pop_front() {
                return Some((known, self.end.clone().unwrap_or(err)));
            }
            if !self.leaving.is_empty() || self.line.is_empty() {
                return None;
            }
            self.board();
        }
    }

    /// Notes how the channel ended; that it has ended is all that the client says of those that it did not take.
    fn note_end(&mut self, err: &lapin::Error) {
        if self.end.is_none() && !matches!(err.kind(), ErrorKind::InvalidChannelState(..)) {
            self.end = Some(err.clone());
        }
    }

    /// Makes calls of the client of those who are next in line.
    fn board(&mut self) {
        for (outbound, known) in self.line.drain(..self.line.len().min(BURST)) {
            let call = Arc::clone(&self.wire).publish(outbound);
            let call = match self.spare.pop() {
                Some(mut spare) => {
                    spare.set(call);
                    spare
                }
                None => Call::new(call),
            };
            self.leaving.push_back((call, known));
        }
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

/// A message on the wire or with the broker. The payload, which may be anything of the caller's, is let go of by now.
struct Flight<T> {
    confirm: PublisherConfirm,
    /// Taken out with the outcome.
    known: Option<T>,
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
        let outcome = ready!(self.confirm.poll_unpin(cx)).map(Confirmed::from);
        self.known.take().map_or(Poll::Pending, |known| Poll::Ready((known, outcome)))
    }
}
