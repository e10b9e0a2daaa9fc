//! Requests: direct reply-to, which wants question and answer on one channel; so they have one of their own.
use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Confirmation, Consumer,
    message::{BasicReturnMessage, Delivery},
    options::BasicConsumeOptions,
    types::{FieldTable, ShortString},
};
use sinew_core::{
    Buffer, Error, ErrorKind, Incoming, IntakeBuffer, IntakeReader, Message, Request, Result, Sent,
};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, oneshot};

use crate::{
    Amqp,
    connect::Inner,
    error::Cause,
    inbound,
    session::Session,
    wire::{Flights, Outbound, Wire},
};

const OPERATION: &str = "amqp request";
/// RabbitMQ's queue that is none: replies go straight to the channel that asked.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// The requests of a link.
#[derive(Debug, Default)]
pub(crate) struct Requesting {
    desk: AsyncMutex<Option<Arc<Desk>>>,
    slots: Mutex<HashMap<u64, Slot>>,
}

/// A request that waits for replies.
#[derive(Debug)]
struct Slot {
    replies: Arc<IntakeBuffer<Message>>,
    /// The desk that asked; the replies come to it alone.
    desk: u64,
}

impl Requesting {
    fn slots(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, token: u64, desk: u64) -> Arc<IntakeBuffer<Message>> {
        let replies = Arc::new(IntakeBuffer::new(Buffer::default(), OPERATION));
        self.slots().insert(token, Slot { replies: Arc::clone(&replies), desk });
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
            self.slots().extract_if(|_, slot| slot.desk == desk).map(|(_, slot)| slot).collect();
        for Slot { replies, .. } in gone {
            replies.end(Some(cause.clone().during(OPERATION).into()));
        }
    }
}

/// The channel that asks.
#[derive(Debug)]
struct Desk {
    id: u64,
    generation: u64,
    wire: Arc<Wire>,
    asked: Arc<Questions>,
    /// The clerk goes when it does.
    _open: oneshot::Sender<Infallible>,
    /// The exchanges that are known to be there: a question to one that is not would cost the channel.
    exchanges: Mutex<HashSet<ShortString>>,
}

/// The questions that the broker has not confirmed.
#[derive(Debug)]
struct Questions(Mutex<Flights<Asked>>);

/// What is known of a question, and the place that it takes.
#[derive(Debug)]
struct Asked {
    token: u64,
    _place: OwnedSemaphorePermit,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Flights<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a question to the client, and gives what became of those before it.
    fn ask(&self, outbound: Box<Outbound>, asked: Asked) -> Result<Vec<Answered>, Cause> {
        let mut flights = self.lock();
        flights.launch(outbound, asked)?;
        Ok(std::iter::from_fn(|| flights.landed()).map(|(asked, it)| (asked.token, it)).collect())
    }

    fn poll_answered(&self, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut flights = self.lock();
        flights.read_by(cx.waker());
        flights.landed().map_or(Poll::Pending, |(asked, it)| Poll::Ready((asked.token, it)))
    }
}

/// A question, and what the broker says of it.
type Answered = (u64, lapin::Result<Confirmation>);

impl Desk {
    fn exchanges(&self) -> MutexGuard<'_, HashSet<ShortString>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The desk, opened where need be, once `exchange` is known to be there; and a place for a question.
    async fn desk(
        self: Arc<Self>,
        exchange: ShortString,
    ) -> Result<(Arc<Desk>, OwnedSemaphorePermit), Cause> {
        let place = self.place(1).await?;
        let session = self.publishing.now().session()?;
        let desk = self.open_desk(&session).await?;
        let is_known = desk.exchanges().contains(&exchange);
        if !is_known {
            self.ensure_exchange(&session, &exchange).await?;
            desk.exchanges().insert(exchange);
        }
        Ok((desk, place))
    }

    async fn open_desk(self: &Arc<Self>, session: &Session) -> Result<Arc<Desk>, Cause> {
        let mut desk = self.requests.desk.lock().await;
        if let Some(desk) = &*desk
            && desk.generation == session.generation()
            && desk.wire.is_open()
        {
            return Ok(Arc::clone(desk));
        }
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
                drop(session.ask(wire.channel().close(200, "OK".into())).await);
                return Err(cause);
            }
        };
        let asked = Arc::new(Questions(Mutex::new(Flights::new(Arc::clone(&wire)))));
        let (open, closed) = oneshot::channel();
        let id = self.ids.next();
        let clerk = Clerk {
            desk: id,
            replies,
            questions: Arc::clone(&asked),
            closed,
            inner: Arc::downgrade(self),
            end: Cause::gone(),
        };
        self.handle.spawn(clerk.run());
        let generation = session.generation();
        let exchanges = Mutex::default();
        let fresh = Desk { id, generation, wire, asked, _open: open, exchanges };
        Ok(Arc::clone(desk.insert(Arc::new(fresh))))
    }
}

/// Hands out what comes to the desk.
struct Clerk {
    desk: u64,
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
        self.questions.lock().end();
        if let Some(inner) = self.inner.upgrade() {
            inner.requests.fail_all(self.desk, &self.end.clone().with_sent(Sent::Maybe));
        }
    }
}

impl Clerk {
    async fn run(mut self) {
        self.end = loop {
            tokio::select! {
                biased;
                reply = self.replies.next() => match reply {
                    Some(Ok(reply)) => self.deliver(reply),
                    Some(Err(err)) => break Cause::after_sending(err),
                    None => break Cause::broke(),
                },
                // The link is gone, and with it whoever could read a reply.
                _ = &mut self.closed => break Cause::closed(),
                answered = poll_fn(|cx| self.questions.poll_answered(cx)) => {
                    if let Some(inner) = self.inner.upgrade() {
                        note(&inner, answered);
                    }
                }
            }
        };
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

fn note(inner: &Inner, (token, outcome): Answered) {
    match outcome {
        Ok(Confirmation::Ack(returned)) => note_returned(inner, returned),
        Ok(Confirmation::Nack(returned)) => {
            note_returned(inner, returned);
            let refused = Cause::plain(ErrorKind::Overloaded, "the broker refused the request");
            inner.requests.fail(token, refused.with_sent(Sent::Maybe));
        }
        Ok(Confirmation::NotRequested) => {}
        Err(err) => inner.requests.fail(token, Cause::after_sending(err)),
    }
}

/// A returned question may come with the confirm of any other: its own id says whose it is.
fn note_returned(inner: &Inner, returned: Option<BasicReturnMessage>) {
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
    async fn request(&self, message: Message) -> Result<Incoming<Message>> {
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
        let mut outbound = inner.outbound(&message).map_err(failed)?;
        let exchange = outbound.exchange.clone();
        let waiting = Arc::clone(inner).desk(exchange);
        // Not ended with the call: a consumer that is half made would stay.
        let (desk, place) = inner.at_home(waiting).await.map_err(failed)?;
        let token = inner.ids.next();
        outbound.mandatory = true;
        outbound.properties = outbound
            .properties
            .with_reply_to(REPLY_TO.into())
            .with_correlation_id(inner.ids.text(token).into());
        let replies = inner.requests.open(token, desk.id);
        let shared = Arc::clone(inner);
        // Dropped, it forgets the request.
        let incoming =
            Incoming::new(IntakeReader::new(replies), move || shared.requests.close(token));
        let answered = desk.asked.ask(outbound, Asked { token, _place: place }).map_err(failed)?;
        answered.into_iter().for_each(|it| note(inner, it));
        Ok(incoming)
    }
}
