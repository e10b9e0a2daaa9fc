//! Requests: direct reply-to, which wants question and answer on one channel. Each exchange that is asked has one of its
//! own, so that what goes wrong there costs no other exchange's replies.
use std::{
    collections::HashMap,
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Consumer,
    message::{BasicReturnMessage, Delivery},
    options::BasicConsumeOptions,
    types::{FieldTable, ShortString},
};
use sinew_core::{
    Buffer, Error, ErrorKind, Incoming, IntakeBuffer, IntakeReader, Message, Request, Result, Sent,
};
use tokio::{
    sync::{Mutex as AsyncMutex, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    Amqp,
    connect::Inner,
    declare,
    error::Cause,
    fall::Fall,
    inbound,
    publish::Place,
    session::Session,
    wire::{Confirmed, Flights, Outbound, Wire},
};

const OPERATION: &str = "amqp request";
/// RabbitMQ's queue that is none: replies go straight to the channel that asked.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// How many exchanges are asked at once, each by a channel of its own.
const DESKS: usize = 128;
/// How often overdue questions are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the broker may take to confirm what was asked, once nobody waits for a reply.
const LEAVE: Duration = Duration::from_secs(5);

/// The requests of a link.
#[derive(Debug, Default)]
pub(crate) struct Requesting {
    desks: Mutex<HashMap<ShortString, Arc<Desk>>>,
    /// Held by whoever opens a desk.
    opening: AsyncMutex<()>,
    slots: Mutex<HashMap<u64, Slot>>,
}

/// A request that waits for replies.
#[derive(Debug)]
struct Slot {
    replies: Arc<IntakeBuffer<Message>>,
    /// The desk that asked; the replies come to it alone, so it stays for as long.
    desk: Arc<Desk>,
}

impl Requesting {
    fn slots(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, token: u64, desk: &Arc<Desk>) -> Arc<IntakeBuffer<Message>> {
        let replies = Arc::new(IntakeBuffer::new(Buffer::default(), OPERATION));
        let slot = Slot { replies: Arc::clone(&replies), desk: Arc::clone(desk) };
        self.slots().insert(token, slot);
        replies
    }

    /// Forgets a request; what comes to it from now on reaches nobody.
    fn close(&self, token: u64) {
        let slot = self.slots().remove(&token);
        if let Some(Slot { replies, .. }) = slot {
            replies.end(None);
        }
    }

    fn replies(&self, token: u64) -> Option<Arc<IntakeBuffer<Message>>> {
        self.slots().get(&token).map(|slot| Arc::clone(&slot.replies))
    }

    /// Ends a request with an error.
    fn fail(&self, token: u64, cause: Cause) {
        let slot = self.slots().remove(&token);
        if let Some(Slot { replies, .. }) = slot {
            replies.end(Some(cause.during(OPERATION).into()));
        }
    }

    /// The replies to what `desk` asked would have come by a channel that is gone.
    fn fail_all(&self, desk: u64, cause: &Cause) {
        let gone: Vec<_> =
            self.slots().extract_if(|_, slot| slot.desk.id == desk).map(|(_, slot)| slot).collect();
        for Slot { replies, .. } in gone {
            replies.end(Some(cause.clone().during(OPERATION).into()));
        }
    }

    fn desk(&self, exchange: &ShortString, session: &Session) -> Option<Arc<Desk>> {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.get(exchange).filter(|desk| desk.is_open(session)).cloned()
    }

    fn add(&self, exchange: ShortString, desk: &Arc<Desk>, session: &Session) -> Result<(), Cause> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|_, desk| desk.is_open(session));
        if desks.len() >= DESKS {
            let idle =
                desks.iter().find(|(_, desk)| Desk::is_idle(desk)).map(|(known, _)| known.clone());
            let Some(idle) = idle else {
                return Err(Cause::plain(
                    ErrorKind::Overloaded,
                    "requests to 128 exchanges wait for their replies; wait, or connect once more",
                ));
            };
            desks.remove(&idle);
        }
        desks.insert(exchange, Arc::clone(desk));
        Ok(())
    }
}

/// The channel that asks one exchange.
#[derive(Debug)]
struct Desk {
    id: u64,
    generation: u64,
    asked: Arc<Questions>,
    /// The clerk goes when it does, and it ends when the clerk goes.
    open: oneshot::Sender<Infallible>,
}

impl Desk {
    /// Whether a question can be handed over to it.
    fn is_open(&self, session: &Session) -> bool {
        self.generation == session.generation()
            && self.asked.wire.is_open()
            && !self.open.is_closed()
    }

    /// Whether nobody but the map of desks holds it, and the broker has confirmed all that was asked.
    fn is_idle(desk: &Arc<Self>) -> bool {
        Arc::strong_count(desk) == 1 && desk.asked.lock().flights.is_empty()
    }
}

/// The questions that the broker has not confirmed.
#[derive(Debug)]
struct Questions {
    wire: Arc<Wire>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    flights: Flights<Asked>,
    /// Those that the channel took along when it fell, and the sizes of their payloads.
    lost: Vec<Asked>,
}

/// What is known of a question, and the place that it takes.
#[derive(Debug)]
struct Asked {
    token: u64,
    /// Of the payload, in bytes.
    size: usize,
    place: Place,
    deadline: Instant,
}

impl Questions {
    fn new(wire: Arc<Wire>) -> Self {
        let flights = Flights::new(Arc::clone(&wire));
        Self { wire, open: Mutex::new(Open { flights, lost: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a question to the client, and gives what became of those before it.
    fn ask(&self, outbound: Box<Outbound>, asked: Asked) -> Result<Vec<Answered>, Cause> {
        // Its clerk may be gone with it, and says less.
        if !self.wire.is_open() {
            return Err(Cause::down());
        }
        let mut open = self.lock();
        let launched = open.flights.launch(outbound, asked);
        let answered = launched.map(|()| std::iter::from_fn(|| self.answered(&mut open)).collect());
        drop(open);
        answered.map_err(|unlaunched| unlaunched.cause)
    }

    fn poll_answered(&self, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut open = self.lock();
        open.flights.read_by(cx.waker());
        self.answered(&mut open).map_or(Poll::Pending, Poll::Ready)
    }

    /// What the broker says of the next question. Of those that fall with the channel it says nothing: one of them may
    /// be to blame, and that is seen when all of them are known.
    fn answered(&self, open: &mut Open) -> Option<Answered> {
        loop {
            match open.flights.landed()? {
                (asked, Err(_)) if !self.wire.is_open() => open.lost.push(asked),
                (asked, outcome) => return Some((asked, outcome)),
            }
        }
    }

    /// Takes no more of them. What the broker still said, and those of which it says nothing any more.
    fn end(&self) -> (Vec<Answered>, Vec<Lost>) {
        let mut open = self.lock();
        let answered = std::iter::from_fn(|| self.answered(&mut open)).collect();
        let fallen = std::mem::take(&mut open.lost);
        let mut lost: Vec<_> = fallen.iter().map(Asked::lost).collect();
        lost.extend(open.flights.known().map(|asked| asked.lost()));
        let gone = open.flights.end();
        // Their places wake whoever waits for one, who may ask at once.
        drop(open);
        drop((fallen, gone));
        (answered, lost)
    }

    /// Whether some of them are overdue, which are counted as that.
    fn is_overdue(&self, overdue: &Arc<AtomicUsize>) -> bool {
        let (mut open, now, mut any) = (self.lock(), Instant::now(), false);
        for late in open.flights.known().filter(|asked| asked.deadline <= now) {
            late.place.note_overdue(overdue);
            any = true;
        }
        any
    }

    /// Ends when the broker has said something of each.
    async fn settled(&self) {
        poll_fn(|cx| {
            while self.poll_answered(cx).is_ready() {}
            if self.lock().flights.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Asked {
    const fn lost(&self) -> Lost {
        (self.token, self.size)
    }
}

/// A question of which the broker says nothing, and the size of its payload.
type Lost = (u64, usize);

/// A question, and what the broker says of it.
type Answered = (Asked, lapin::Result<Confirmed>);

impl Inner {
    /// The desk of `exchange`, opened where need be; and a place for a question.
    async fn desk(
        self: Arc<Self>,
        exchange: ShortString,
        cost: u32,
    ) -> Result<(Arc<Desk>, Place), Cause> {
        let place = self.place(cost).await?;
        let session = self.publishing.session()?;
        let desk = match self.requests.desk(&exchange, &session) {
            Some(desk) => desk,
            None => self.open_desk(&session, exchange).await?,
        };
        Ok((desk, place))
    }

    async fn open_desk(
        self: &Arc<Self>,
        session: &Arc<Session>,
        exchange: ShortString,
    ) -> Result<Arc<Desk>, Cause> {
        let _opening = self.requests.opening.lock().await;
        if let Some(desk) = self.requests.desk(&exchange, session) {
            return Ok(desk);
        }
        self.ensure_exchange(session, &exchange).await?;
        let wire = Wire::open(session).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consume = wire.channel().basic_consume(
            REPLY_TO.into(),
            ShortString::default(),
            options,
            FieldTable::default(),
        );
        let replies = match session.ask(consume).await {
            Ok(replies) => replies,
            Err(cause) => {
                // The client would keep a consumer that comes late, and the channel with it.
                declare::close(session, wire.channel()).await;
                return Err(cause);
            }
        };
        let asked = Arc::new(Questions::new(wire));
        let (open, closed) = oneshot::channel();
        let id = self.ids.next();
        let clerk = Clerk {
            desk: id,
            declares: self.settings.exchange(exchange.as_str()).declare,
            session: Arc::clone(session),
            replies,
            questions: Arc::clone(&asked),
            closed,
            inner: Arc::downgrade(self),
            end: Cause::gone(),
        };
        self.handle.spawn(clerk.run());
        let generation = session.generation();
        let desk = Arc::new(Desk { id, generation, asked, open });
        self.requests.add(exchange, &desk, session)?;
        Ok(desk)
    }
}

/// Hands out what comes to the desk.
struct Clerk {
    desk: u64,
    /// The exchange is declared where it is missing.
    declares: bool,
    session: Arc<Session>,
    replies: Consumer,
    questions: Arc<Questions>,
    closed: oneshot::Receiver<Infallible>,
    inner: Weak<Inner>,
    /// Why no reply will come any more; until it is known, that its runtime went.
    end: Cause,
}

impl Drop for Clerk {
    /// From here on nobody asks by it: those who did are told.
    fn drop(&mut self) {
        let (answered, lost) = self.questions.end();
        let Some(inner) = self.inner.upgrade() else { return };
        answered.into_iter().for_each(|it| note(&inner, it));
        // The broker may object to one of these; those that it had confirmed are innocent.
        if let Cause::Client { source, .. } = &self.end {
            let fall = Fall::of(lost.iter().map(|(_, size)| *size), self.declares);
            for (token, size) in lost {
                inner.requests.fail(token, fall.cause(size, source.clone()));
            }
        }
        inner.requests.fail_all(self.desk, &self.end.clone().fell());
    }
}

impl Clerk {
    async fn run(mut self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.end = loop {
            tokio::select! {
                biased;
                reply = self.replies.next() => match reply {
                    Some(Ok(reply)) => self.deliver(reply),
                    Some(Err(err)) => break Cause::after_sending(err),
                    None => break Cause::broke(),
                },
                // Whoever could read a reply is gone, as the link may be.
                _ = &mut self.closed => {
                    self.leave().await;
                    break Cause::closed();
                }
                answered = poll_fn(|cx| self.questions.poll_answered(cx)) => {
                    if let Some(inner) = self.inner.upgrade() {
                        note(&inner, answered);
                    }
                }
                _ = tick.tick() => if self.is_clogged() {
                    tracing::warn!("the broker does not confirm what is asked; the channel is given up");
                    declare::close(&self.session, self.questions.wire.channel()).await;
                    break Cause::late();
                }
            }
        };
    }

    /// Whether the channel is to be given up for what is overdue on it, as a lane is.
    fn is_clogged(&self) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let publishes = &inner.publishes;
        self.questions.is_overdue(&publishes.overdue()) && publishes.is_clogged()
    }

    /// What was asked still leaves: by itself, the end of a channel overtakes it.
    async fn leave(&self) {
        drop(timeout(LEAVE, self.questions.settled()).await);
        declare::close(&self.session, self.questions.wire.channel()).await;
    }

    fn deliver(&self, reply: Delivery) {
        let Some(inner) = self.inner.upgrade() else { return };
        let token = token(&inner, &reply.properties);
        let Some(replies) = token.and_then(|token| inner.requests.replies(token)) else {
            tracing::debug!("a reply came to a request that nobody waits for");
            return;
        };
        let size = reply.data.len();
        let message = inbound::reply(reply);
        replies.extend([(message, size)]);
    }
}

fn note(inner: &Inner, (Asked { token, .. }, outcome): Answered) {
    match outcome {
        Ok(Confirmed::Ack(returned)) => note_returned(inner, returned),
        Ok(Confirmed::Nack(returned)) => {
            note_returned(inner, returned);
            let refused = Cause::plain(ErrorKind::Overloaded, "the broker refused the request");
            inner.requests.fail(token, refused.with_sent(Sent::Maybe));
        }
        Ok(Confirmed::NotRequested) => {}
        Err(err) => inner.requests.fail(token, Cause::after_sending(err)),
    }
}

/// A returned question may come with the confirm of any other: its own id says whose it is.
fn note_returned(inner: &Inner, returned: Option<Box<BasicReturnMessage>>) {
    let Some(returned) = returned else { return };
    if let Some(token) = token(inner, &returned.properties) {
        let unheard =
            Cause::plain(ErrorKind::NoResponders, "no queue is bound for it, so nobody hears it");
        inner.requests.fail(token, unheard);
    }
}

/// Whose a reply or a returned question is.
fn token(inner: &Inner, properties: &BasicProperties) -> Option<u64> {
    inner.ids.number(properties.correlation_id().as_ref()?.as_str())
}

impl Request for Amqp {
    async fn request(&self, mut message: Message) -> Result<Incoming<Message>> {
        let inner = &self.inner;
        inner.capabilities.check_message(&message)?;
        let failed = |cause: Cause| Error::from(cause.during(OPERATION));
        inner.check_open().map_err(failed)?;
        let taken = |what| {
            failed(Cause::options(format!(
                "a request gets {what} of its own; publish the message instead"
            )))
        };
        if message.reply_to.is_some() {
            return Err(taken("a reply address"));
        }
        if message.properties().is_some_and(|it| it.correlation_id.is_some()) {
            return Err(taken("a correlation id"));
        }
        let mut outbound = inner.outbound(&mut message).map_err(failed)?;
        let exchange = outbound.exchange.clone();
        let cost = inner.publishes.cost(&outbound.payload);
        let waiting = Arc::clone(inner).desk(exchange, cost);
        // Not ended with the call: a consumer that is half made would stay.
        let (desk, place) = inner.at_home(waiting).await.map_err(failed)?;
        let token = inner.ids.next();
        outbound.mandatory = true;
        outbound.properties = outbound
            .properties
            .with_reply_to(REPLY_TO.into())
            .with_correlation_id(inner.ids.text(token).into());
        let replies = inner.requests.open(token, &desk);
        let shared = Arc::clone(inner);
        // Dropped, it forgets the request.
        let incoming =
            Incoming::new(IntakeReader::new(replies), move || shared.requests.close(token));
        let deadline = Instant::now() + inner.settings.answer_timeout;
        let asked = Asked { token, size: outbound.payload.len(), place, deadline };
        let answered = desk.asked.ask(outbound, asked).map_err(failed)?;
        answered.into_iter().for_each(|it| note(inner, it));
        Ok(incoming)
    }
}
