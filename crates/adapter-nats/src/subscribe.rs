//! Subscribing to core subjects.
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_nats::{Message as WireMessage, Subject as Wire, Subscriber};
use bytes::Bytes;
use futures_core::Stream;
use sinew_core::{Address, Error, Incoming, Message, ReplyTo, Result, Subscribe, Subscription};
use tokio::sync::watch;

use crate::{
    Nats,
    connect::Inner,
    control::{Control, Intake},
    error::Cause,
    headers,
    link::View,
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

/// The task between the client's channels and an intake's buffer.
struct Forwarder {
    subscribers: Vec<Subscriber>,
    filters: Filters,
    converter: Converter,
    control: Arc<Control<Message>>,
    view: watch::Receiver<View>,
    inner: Arc<Inner>,
    batch: Vec<(Message, usize)>,
}

/// How many messages are moved at once.
const BATCH: usize = 256;

impl Forwarder {
    async fn run(mut self) {
        let mut seen = *self.view.borrow_and_update();
        loop {
            tokio::select! {
                biased;
                () = self.control.stopped() => break,
                changed = self.view.changed() => {
                    if changed.is_err() || !self.follow(&mut seen) {
                        break;
                    }
                }
                more = fill(&mut self.subscribers, &self.filters, &mut self.converter, &mut self.batch) => {
                    if !more || !self.caught_up(&mut seen).await {
                        break;
                    }
                    self.control.buffer.extend(self.batch.drain(..));
                }
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

    /// Waits until the gap before what came in on a new connection has been told: nothing arrives before `Up`.
    async fn caught_up(&mut self, seen: &mut View) -> bool {
        while !(seen.up && seen.generation == self.inner.generation()) {
            tokio::select! {
                () = self.control.stopped() => return false,
                changed = self.view.changed() => {
                    if changed.is_err() || !self.follow(seen) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// What was received is still handed on.
    async fn finish(mut self) {
        for subscriber in &mut self.subscribers {
            // It fails when the connection is closed, which is as good.
            let _ = subscriber.unsubscribe().await;
        }
        while fill(&mut self.subscribers, &self.filters, &mut self.converter, &mut self.batch).await
        {
            self.control.buffer.extend(self.batch.drain(..));
        }
        self.control.buffer.extend(self.batch.drain(..));
        self.control.buffer.end(None);
    }
}

/// Moves what has been received into `batch`, and waits for at least one message. `false` when all have ended.
///
/// Cancel safe: what was moved is in `batch`.
async fn fill(
    subscribers: &mut [Subscriber],
    filters: &Filters,
    converter: &mut Converter,
    batch: &mut Vec<(Message, usize)>,
) -> bool {
    let shows_all = filters.shows_all();
    poll_fn(|cx| {
        let mut ended = 0;
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            let mut take = |message: WireMessage| {
                if shows_all || filters.shows(&message.subject, index) {
                    let size = message.payload.len();
                    batch.push((converter.convert(message), size));
                }
            };
            if poll_all(subscriber, cx, &mut take) {
                ended += 1;
            }
        }
        match (batch.is_empty(), ended == subscribers.len()) {
            (false, false) => Poll::Ready(true),
            (_, true) => Poll::Ready(false),
            (true, false) => Poll::Pending,
        }
    })
    .await
}

/// Takes what there is, up to a batch; says whether the subscription has ended.
fn poll_all(
    subscriber: &mut Subscriber,
    cx: &mut Context<'_>,
    take: &mut impl FnMut(WireMessage),
) -> bool {
    for _ in 0..BATCH {
        match Pin::new(&mut *subscriber).poll_next(cx) {
            Poll::Ready(Some(message)) => take(message),
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
    false
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
            subscribers,
            converter: Converter::new(filters.clone()),
            filters,
            control: Arc::clone(&control),
            view: inner.view.subscribe(),
            inner: Arc::clone(inner),
            batch: Vec::with_capacity(BATCH),
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
