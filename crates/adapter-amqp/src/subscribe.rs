//! Subscribing: a queue of one's own, or of a group, that goes with its last reader.
use std::sync::Arc;

use lapin::{message::Delivery, options::BasicAckOptions, types::FieldTable};
use sinew_core::{Incoming, Message, Overflow, Result, Subscribe, Subscription};

use crate::{
    Amqp,
    connect::Inner,
    control::Control,
    declare::{self, QueueSpec},
    error::Cause,
    inbound, names, queues,
    run::{self, Source},
    session::Session,
    tap::{Tap, Terms},
};

/// How many messages may be on their way to one subscription: the client's own buffer has no bound but this.
const PREFETCH: u16 = 1024;

impl Subscribe for Amqp {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        let inner = &self.inner;
        inner.capabilities.check_subscription(&wanted)?;
        let opening = open(Arc::clone(inner), wanted);
        inner.at_home(opening).await.map_err(|cause| cause.during(Reader::OPERATION).into())
    }
}

async fn open(inner: Arc<Inner>, wanted: Subscription) -> Result<Incoming<Message>, Cause> {
    inner.check_open()?;
    let control = Control::new(wanted.buffer);
    let prefetch = u16::try_from(wanted.buffer.messages).unwrap_or(PREFETCH).clamp(1, PREFETCH);
    let mut reader = Reader {
        spec: spec(&inner, &wanted)?,
        grouped: wanted.group.is_some(),
        prefetch,
        blocks: wanted.buffer.overflow == Overflow::Block,
        control: Arc::clone(&control),
        inner: Arc::clone(&inner),
        unacked: 0,
        last: 0,
    };
    let session = inner.consuming.session()?;
    let tap = reader.join(&session, false).await?;
    Ok(run::start(&inner, reader, control, tap))
}

/// A subscriber's queue is its own; a group's is shared, and named after all that its members must have in common.
fn spec(inner: &Inner, wanted: &Subscription) -> Result<QueueSpec, Cause> {
    let exchange =
        names::exchange(wanted.scope.as_ref(), inner.settings.default_exchange.as_str())?;
    let kind = inner.settings.exchange(exchange.as_str()).kind;
    let mut bindings = names::bindings(&wanted.patterns, kind)?;
    bindings.sort();
    bindings.dedup();
    let name = match &wanted.group {
        Some(group) => queues::group(group, &exchange, &bindings)?,
        None => queues::subscription()?,
    };
    Ok(QueueSpec {
        name,
        // RabbitMQ 4.3 takes no queue that is neither durable nor exclusive.
        durable: wanted.group.is_some(),
        exclusive: wanted.group.is_none(),
        auto_delete: true,
        arguments: FieldTable::default(),
        assumed: false,
        exchange,
        bindings,
    })
}

struct Reader {
    spec: QueueSpec,
    grouped: bool,
    prefetch: u16,
    blocks: bool,
    control: Arc<Control<Message>>,
    inner: Arc<Inner>,
    /// How many messages the broker has not heard of, and the last of them.
    unacked: u16,
    last: u64,
}

impl Reader {
    async fn ack(&mut self, tap: &Tap) {
        if std::mem::take(&mut self.unacked) > 0 {
            let ack = tap.channel.basic_ack(self.last, BasicAckOptions { multiple: true });
            // Where it cannot be sent, the channel is about to say why.
            let _ = tap.session.ask(ack).await;
        }
    }
}

impl Source for Reader {
    type Item = Message;
    const OPERATION: &'static str = "amqp subscribe";

    async fn join(&mut self, session: &Arc<Session>, again: bool) -> Result<Tap, Cause> {
        if !self.grouped && again {
            // The last one may still be there, and belongs to the connection that we lost.
            self.spec.name = queues::subscription()?;
        }
        (self.unacked, self.last) = (0, 0);
        let terms = Terms { prefetch: self.prefetch, exclusive: false };
        Tap::open(&self.inner, session, &self.spec, terms, again).await
    }

    fn has_room(&self) -> bool {
        !self.blocks || self.control.buffer.try_room().is_some()
    }

    async fn room(&self) {
        self.control.buffer.room().await;
    }

    async fn take(&mut self, tap: &Tap, delivery: Delivery) {
        self.last = delivery.delivery_tag;
        self.unacked += 1;
        let size = delivery.data.len();
        let message =
            inbound::message(self.inner.settings.default_exchange.as_str(), delivery).message;
        self.control.buffer.extend([(message, size)]);
        if self.unacked >= self.prefetch.div_ceil(2) {
            self.ack(tap).await;
        }
    }

    async fn rest(&mut self, tap: &Tap) {
        self.ack(tap).await;
    }

    fn lose(&mut self) {}

    async fn leave(&mut self, tap: Tap) {
        // Closing tells the broker at once that a group has a member less.
        declare::close(&tap.session, &tap.channel).await;
    }
}
