//! Requests: direct reply-to, which wants question and answer on one channel; so they have one of their own.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Consumer,
    message::{BasicReturnMessage, Delivery},
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{FieldTable, ShortString},
};
use sinew_core::{
    Buffer, Error, ErrorKind, Incoming, IntakeBuffer, IntakeReader, Message, Request, Result, Sent,
};
use tokio::sync::{
    Mutex as AsyncMutex,
    mpsc::{self, Receiver, Sender},
};

use crate::{
    Amqp, connect::Inner, error::Cause, inbound, publish::Outbound, queues, session::Session,
};

const OPERATION: &str = "amqp request";
/// RabbitMQ's queue that is none: replies go straight to the channel that asked.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// How many requests may wait for the broker's word that somebody hears them.
const WINDOW: usize = 1024;

/// The requests of a link.
#[derive(Debug)]
pub(crate) struct Requesting {
    desk: AsyncMutex<Option<Arc<Desk>>>,
    slots: Mutex<HashMap<u64, Arc<IntakeBuffer<Message>>>>,
    next: AtomicU64,
    /// Part of every correlation id, so that none is used twice, by whatever link.
    origin: String,
}

impl Default for Requesting {
    fn default() -> Self {
        Self {
            desk: AsyncMutex::default(),
            slots: Mutex::default(),
            next: AtomicU64::new(0),
            origin: queues::random(),
        }
    }
}

impl Requesting {
    fn slots(&self) -> MutexGuard<'_, HashMap<u64, Arc<IntakeBuffer<Message>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> (u64, Arc<IntakeBuffer<Message>>) {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let replies = Arc::new(IntakeBuffer::new(Buffer::default(), OPERATION));
        self.slots().insert(token, Arc::clone(&replies));
        (token, replies)
    }

    /// Forgets a request; what comes to it from now on reaches nobody.
    fn close(&self, token: u64) {
        let slot = self.slots().remove(&token);
        if let Some(replies) = slot {
            replies.end(None);
        }
    }

    fn correlation(&self, token: u64) -> String {
        format!("{}-{token}", self.origin)
    }

    /// Whose a reply or a returned question is.
    fn token(&self, properties: &BasicProperties) -> Option<u64> {
        let id = properties.correlation_id().as_ref()?.as_str();
        id.strip_prefix(&*self.origin)?.strip_prefix('-')?.parse().ok()
    }

    fn slot(&self, token: u64) -> Option<Arc<IntakeBuffer<Message>>> {
        self.slots().get(&token).cloned()
    }

    /// Ends a request with an error.
    fn fail(&self, token: u64, cause: Cause) {
        let slot = self.slots().remove(&token);
        if let Some(replies) = slot {
            replies.end(Some(cause.during(OPERATION).into()));
        }
    }

    /// The replies to all open requests would have come by a channel that is gone.
    fn fail_all(&self, cause: &Cause) {
        let slots = std::mem::take(&mut *self.slots());
        for replies in slots.into_values() {
            replies.end(Some(cause.clone().during(OPERATION).into()));
        }
    }
}

/// The channel that asks.
#[derive(Debug)]
struct Desk {
    generation: u64,
    channel: Channel,
    asked: Sender<Asked>,
}

/// A question that the broker has not confirmed.
struct Asked {
    token: u64,
    confirmed: BoxFuture<'static, lapin::Result<Confirmation>>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("token", &self.token).finish_non_exhaustive()
    }
}

impl Inner {
    async fn desk(self: &Arc<Self>, session: &Session) -> Result<Arc<Desk>, Cause> {
        let mut desk = self.requests.desk.lock().await;
        if let Some(desk) = &*desk
            && desk.generation == session.generation()
            && desk.channel.status().connected()
        {
            return Ok(Arc::clone(desk));
        }
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(
            REPLY_TO.into(),
            ShortString::default(),
            options,
            FieldTable::default(),
        );
        let replies = session.ask(consume).await?;
        let (asked, questions) = mpsc::channel(WINDOW);
        let clerk = Clerk {
            replies,
            questions,
            confirmed: FuturesUnordered::new(),
            inner: Arc::downgrade(self),
        };
        self.handle.spawn(clerk.run());
        let generation = session.generation();
        Ok(Arc::clone(desk.insert(Arc::new(Desk { generation, channel, asked }))))
    }

    async fn ask(self: &Arc<Self>, outbound: Outbound, token: u64) -> Result<(), Cause> {
        let session = self.publishing.now().session()?;
        if session.is_blocked() {
            return Err(Cause::plain(
                ErrorKind::Overloaded,
                "the broker takes no publishes for now, its memory or disk is short",
            ));
        }
        self.ensure_exchange(&session, &outbound.exchange).await?;
        let desk = self.desk(&session).await?;
        let place = session.ask_for(desk.asked.reserve()).await?;
        let Outbound { exchange, key, mandatory, properties, payload } = outbound;
        let channel = desk.channel.clone();
        let mut confirmed: BoxFuture<'static, _> = Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            channel.basic_publish(exchange, key, options, &payload, properties).await?.await
        });
        // The first look hands it over.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = confirmed.as_mut().poll(&mut nobody) {
            confirmed = Box::pin(std::future::ready(Ok(outcome?)));
        }
        place.send(Asked { token, confirmed });
        Ok(())
    }
}

/// Hands out what comes to the desk.
struct Clerk {
    replies: Consumer,
    questions: Receiver<Asked>,
    confirmed: FuturesUnordered<BoxFuture<'static, (u64, lapin::Result<Confirmation>)>>,
    inner: Weak<Inner>,
}

impl Clerk {
    async fn run(mut self) {
        let cause = loop {
            tokio::select! {
                biased;
                reply = self.replies.next() => match reply {
                    Some(Ok(reply)) => self.deliver(reply),
                    Some(Err(err)) => break Cause::after_sending(err),
                    None => break Cause::broke(),
                },
                asked = self.questions.recv() => match asked {
                    Some(Asked { token, confirmed }) => {
                        self.confirmed.push(Box::pin(async move { (token, confirmed.await) }));
                    }
                    // The link is gone, and with it whoever could read a reply.
                    None => break Cause::closed(),
                },
                Some((token, outcome)) = self.confirmed.next(), if !self.confirmed.is_empty() => {
                    self.note(token, outcome);
                }
            }
        };
        if let Some(inner) = self.inner.upgrade() {
            inner.requests.fail_all(&cause.with_sent(Sent::Maybe));
        }
    }

    fn deliver(&self, reply: Delivery) {
        let Some(inner) = self.inner.upgrade() else { return };
        let token = inner.requests.token(&reply.properties);
        let Some(replies) = token.and_then(|token| inner.requests.slot(token)) else {
            tracing::debug!("a reply came to a request that nobody waits for");
            return;
        };
        let size = reply.data.len();
        let message = inbound::reply(reply);
        replies.extend([(message, size)]);
    }

    fn note(&self, token: u64, outcome: lapin::Result<Confirmation>) {
        let Some(inner) = self.inner.upgrade() else { return };
        match outcome {
            Ok(Confirmation::Ack(returned)) => note_returned(&inner, returned),
            Ok(Confirmation::Nack(returned)) => {
                note_returned(&inner, returned);
                let refused = Cause::plain(ErrorKind::Overloaded, "the broker refused the request");
                inner.requests.fail(token, refused.with_sent(Sent::Maybe));
            }
            Ok(Confirmation::NotRequested) => {}
            Err(err) => inner.requests.fail(token, Cause::after_sending(err)),
        }
    }
}

/// A returned question may come with the confirm of any other: its own id says whose it is.
fn note_returned(inner: &Inner, returned: Option<BasicReturnMessage>) {
    let Some(returned) = returned else { return };
    if let Some(token) = inner.requests.token(&returned.properties) {
        let unheard =
            Cause::plain(ErrorKind::NoResponders, "no queue is bound for it, so nobody hears it");
        inner.requests.fail(token, unheard);
    }
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
        let (token, replies) = inner.requests.open();
        outbound.mandatory = true;
        outbound.properties = outbound
            .properties
            .with_reply_to(REPLY_TO.into())
            .with_correlation_id(inner.requests.correlation(token).into());
        let shared = Arc::clone(inner);
        let incoming =
            Incoming::new(IntakeReader::new(replies), move || shared.requests.close(token));
        let asking = {
            let inner = Arc::clone(inner);
            async move { inner.ask(outbound, token).await }
        };
        // Dropped, `incoming` forgets the request.
        inner.at_home(asking).await.map_err(failed)?;
        Ok(incoming)
    }
}
