//! Subscribing to core subjects.
use std::{
    future::{pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use async_nats::{Message as WireMessage, Subject as Wire, Subscriber};
use bytes::Bytes;
use futures_core::Stream;
use sinew_core::{
    Address, Error, ErrorKind, Incoming, Message, ReplyTo, Result, Subscribe, Subscription,
};
use tokio::{
    sync::{oneshot, watch},
    task::unconstrained,
    time::timeout,
};

use crate::{
    Nats,
    connect::{CLIENT_CAPACITY, Inner},
    control::{Control, Intake, Unsettled},
    error::Cause,
    headers,
    link::View,
    mux::Answer,
    names::Filters,
};

/// Turns what the client has received into messages.
#[derive(Debug)]
pub(crate) struct Converter {
    filters: Option<Filters>,
    /// The last name and what it stood for: most subscriptions see few names, in runs.
    last: Option<(Wire, Address)>,
}

impl Converter {
    /// Reads what arrives on `filters`.
    pub(crate) const fn new(filters: Filters) -> Self {
        Self { filters: Some(filters), last: None }
    }

    /// Reads names as they are.
    pub(crate) const fn plain() -> Self {
        Self { filters: None, last: None }
    }

    pub(crate) fn convert(&mut self, wire: WireMessage) -> Message {
        let WireMessage { subject, reply, payload, headers, .. } = wire;
        let mut message = Message::to(self.address(subject), payload);
        if let Some(map) = &headers {
            headers::inbound(map, &mut message);
        }
        message.reply_to = reply.map(|reply| ReplyTo::new(Bytes::from(reply.into_string())));
        message
    }

    fn address(&mut self, name: Wire) -> Address {
        if let Some((last, address)) = &self.last
            && *last == name
        {
            return address.clone();
        }
        let address = match &self.filters {
            Some(filters) => filters.address(&name),
            None => Address::from_wire(None, Bytes::copy_from_slice(name.as_bytes())),
        };
        self.last = Some((name, address.clone()));
        address
    }
}

/// What the client's channels hold for one intake, and what was taken out of them.
struct Channels {
    subscribers: Vec<Subscriber>,
    filters: Filters,
    converter: Converter,
    batch: Vec<(Message, usize)>,
}

impl Channels {
    /// Moves what has been received into the batch, and waits for at least one message. `false` when all have ended.
    ///
    /// Cancel safe: what was moved is in the batch.
    async fn fill(&mut self) -> bool {
        poll_fn(|cx| match (self.take(cx), self.batch.is_empty()) {
            (Left::Ended, _) => Poll::Ready(false),
            (_, false) => Poll::Ready(true),
            (Left::Nothing, true) => Poll::Pending,
            (Left::More, true) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }

    /// Moves what has been received into the batch, up to one of each subscription.
    fn take(&mut self, cx: &mut Context<'_>) -> Left {
        let Self { subscribers, filters, converter, batch } = self;
        let shows_all = filters.shows_all();
        let mut left = Left::Ended;
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            let mut take = |message: WireMessage| {
                if shows_all || filters.shows(&message.subject, index) {
                    let size = message.payload.len();
                    batch.push((converter.convert(message), size));
                }
            };
            left = left.max(poll_all(subscriber, cx, &mut take));
        }
        left
    }
}

/// What may still come of some subscriptions.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Left {
    /// All have ended.
    Ended,
    /// Nothing is there now.
    Nothing,
    /// More than one batch was there.
    More,
}

/// The task between the client's channels and an intake's buffer.
struct Forwarder {
    channels: Channels,
    control: Arc<Control<Message>>,
    view: watch::Receiver<View>,
    inner: Arc<Inner>,
    /// A drain waits for what is on its way to us.
    running: Unsettled,
}

/// How many messages are moved at once.
const BATCH: usize = 256;

/// After how many messages a subscription that is left ends: to the client, never, so it hands on what still comes; to
/// the server, which reads no number of so many digits, at once.
///
/// The client's own drain lets go of the subscription at the next thing that it does, whatever is still on its way.
const NO_MORE: u64 = u64::MAX;

impl Forwarder {
    async fn run(mut self) {
        let mut seen = *self.view.borrow_and_update();
        let mut farewell = None;
        let control = Arc::clone(&self.control);
        let mut stopped = pin!(control.stopped());
        loop {
            tokio::select! {
                biased;
                // First, as that is nearly always why it was woken; the client's channels let others have their turn
                // however much comes.
                more = self.channels.fill(), if self.channels.batch.is_empty() => {
                    if !more {
                        break;
                    }
                }
                () = &mut stopped, if farewell.is_none() => {
                    farewell = self.leave().await;
                    if farewell.is_none() {
                        break;
                    }
                }
                () = heard(&mut farewell) => break,
                changed = self.view.changed() => {
                    if changed.is_err() || !self.follow(&mut seen) {
                        break;
                    }
                }
            }
            // What came in on a new connection waits until the gap before it has been told.
            if seen.up && seen.generation == self.inner.generation() {
                self.control.buffer.extend(self.channels.batch.drain(..));
            }
            if !self.control.buffer.is_open() {
                break;
            }
        }
        self.finish().await;
    }

    /// Says what happened to the link. `false` when it is closed.
    fn follow(&mut self, seen: &mut View) -> bool {
        let now = *self.view.borrow_and_update();
        now.since(*seen).for_each(|event| self.control.buffer.tell(event));
        *seen = now;
        !now.is_closed()
    }

    /// Asks the server to send no more, and for a sign of life: it comes after all that was sent. None where it cannot
    /// be asked, or need not.
    async fn leave(&mut self) -> Option<oneshot::Receiver<Answer>> {
        if !self.control.buffer.is_open() {
            return None;
        }
        let asked = async {
            for subscriber in &mut self.channels.subscribers {
                subscriber.unsubscribe_after(NO_MORE).await.ok()?;
            }
            self.inner.knock(self.inner.generation()).await.ok()
        };
        timeout(self.inner.answer_timeout, asked).await.ok()?
    }

    /// What the client has received is still handed on.
    async fn finish(mut self) {
        for _ in 0..=CLIENT_CAPACITY / BATCH {
            // What is there is taken, even by a task that has used up its turn.
            let left = unconstrained(poll_fn(|cx| Poll::Ready(self.channels.take(cx)))).await;
            self.control.buffer.extend(self.channels.batch.drain(..));
            if left != Left::More {
                break;
            }
        }
        self.control.buffer.end(None);
        drop(self.running);
    }
}

/// Ends when the server has said goodbye, or will not.
async fn heard(farewell: &mut Option<oneshot::Receiver<Answer>>) {
    let Some(answer) = farewell else { return pending().await };
    match answer.await {
        Ok(Err(cause)) if cause.kind() == ErrorKind::Timeout => {
            tracing::warn!(%cause, "the end of a subscription is not confirmed; what was on its way may be lost");
        }
        // Or the link is gone, of which the intake is told.
        _ => {}
    }
}

/// Takes what there is, up to a batch.
fn poll_all(
    subscriber: &mut Subscriber,
    cx: &mut Context<'_>,
    take: &mut impl FnMut(WireMessage),
) -> Left {
    for _ in 0..BATCH {
        match Pin::new(&mut *subscriber).poll_next(cx) {
            Poll::Ready(Some(message)) => take(message),
            Poll::Ready(None) => return Left::Ended,
            Poll::Pending => return Left::Nothing,
        }
    }
    Left::More
}

impl Subscribe for Nats {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        let inner = &self.inner;
        inner.capabilities.check_subscription(&wanted)?;
        let failed = |cause: Cause| Error::from(cause.during("nats subscribe"));
        inner.check_open().map_err(failed)?;
        let mut filters =
            inner.names.filters(wanted.scope.as_ref(), &wanted.patterns).map_err(failed)?;
        if wanted.group.is_some() {
            // The server hands each message to one member of a group, whichever of its subscriptions that is.
            filters.set_grouped();
        }
        let group = wanted.group.as_ref().map(|group| sinew_core::encode_name(group.as_str()));
        // Known before the server is asked: its refusal may be here before the answer to anything else.
        let control = Control::new(wanted.buffer, filters.subjects().to_vec());
        let intake: Arc<dyn Intake> = Arc::clone(&control) as _;
        inner.register(Arc::downgrade(&intake));
        let mut subscribers = Vec::with_capacity(filters.subjects().len());
        for subject in filters.subjects() {
            let subscriber = match &group {
                Some(group) => {
                    inner.client.queue_subscribe(subject.clone(), group.to_string()).await
                }
                None => inner.client.subscribe(subject.clone()).await,
            };
            subscribers.push(subscriber.map_err(|err| failed(err.into()))?);
        }
        let forwarder = Forwarder {
            channels: Channels {
                subscribers,
                converter: Converter::new(filters.clone()),
                filters,
                batch: Vec::with_capacity(BATCH),
            },
            control: Arc::clone(&control),
            view: inner.view.subscribe(),
            inner: Arc::clone(inner),
            running: Unsettled::new(&inner.running),
        };
        inner.handle.spawn(forwarder.run());
        // From here on a dropped call stops it.
        let incoming = Arc::clone(&control).incoming();
        inner.confirmed().await.map_err(failed)?;
        match control.buffer.take_failure() {
            Some(err) => Err(err),
            None => Ok(incoming),
        }
    }
}
