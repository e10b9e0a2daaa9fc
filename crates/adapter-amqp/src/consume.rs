//! Consuming a queue: each delivery is settled once, and fenced by the channel that it came on.
use std::sync::Arc;

use lapin::{
    message::Delivery as WireDelivery,
    options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use sinew_core::{Buffer, Consume, Consumption, Delivery, Incoming, Lifetime, Overflow, Result};
use tokio::sync::mpsc::{self, Sender};

use crate::{
    Amqp,
    connect::Inner,
    control::{Control, Unsettled},
    error::Cause,
    fields,
    inbound::{self, Inbound},
    names, queues,
    run::{self, Source, Tap},
    session::Session,
    settle::{Command, Fence, Settlements, Settler},
    topology::QueueSpec,
};

impl Consume for Amqp {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let inner = &self.inner;
        inner.capabilities.check_consumption(&wanted)?;
        let queue = wanted.queue.clone();
        let opening = open(Arc::clone(inner), wanted);
        inner
            .at_home(opening)
            .await
            .map_err(|cause| cause.during(Member::OPERATION).on(queue.as_str()).into())
    }
}

async fn open(inner: Arc<Inner>, wanted: Consumption) -> Result<Incoming<Delivery>, Cause> {
    inner.check_open()?;
    let prefetch = wanted.prefetch.max(1);
    let bounds = Buffer::default()
        .with_messages(usize::from(prefetch))
        .with_bytes(usize::MAX)
        .with_overflow(Overflow::Block);
    let control = Control::new(bounds);
    let mut member = Member {
        spec: spec(&inner, &wanted)?,
        exclusive: wanted.exclusive,
        prefetch,
        hand: None,
        control: Arc::clone(&control),
        inner: Arc::clone(&inner),
    };
    let session = inner.consuming.now().session()?;
    let tap = member.join(&session, false).await?;
    Ok(run::start(&inner, member, control, tap))
}

/// As nameko declares: durable in any case, exclusive only where it may go with the connection.
fn spec(inner: &Inner, wanted: &Consumption) -> Result<QueueSpec, Cause> {
    let settings = &inner.settings;
    let exchange = names::exchange(wanted.scope.as_ref(), settings.default_exchange.as_str())?;
    let kind = settings.exchange(exchange.as_str()).kind;
    let mut bindings = names::bindings(&wanted.patterns, kind)?;
    bindings.sort();
    bindings.dedup();
    let until_unused = wanted.lifetime == Lifetime::UntilUnused;
    Ok(QueueSpec {
        name: queues::named(&wanted.queue)?,
        durable: true,
        // An exclusive queue goes with its connection; a durable one is kept for one consumer by its consumer.
        exclusive: wanted.exclusive && until_unused,
        auto_delete: until_unused,
        arguments: fields::table(&settings.queue_arguments)?,
        assumed: settings.assume_queues,
        exchange,
        bindings,
    })
}

/// One member of a queue.
struct Member {
    spec: QueueSpec,
    exclusive: bool,
    prefetch: u16,
    /// What the deliveries of the present channel are settled with.
    hand: Option<Hand>,
    control: Arc<Control<Delivery>>,
    inner: Arc<Inner>,
}

struct Hand {
    /// Room for the verdicts of what was delivered: hence the bound of it.
    room: Sender<Command>,
    fence: Arc<Fence>,
}

impl Source for Member {
    type Item = Delivery;
    const OPERATION: &'static str = "amqp consume";

    async fn join(&mut self, session: &Arc<Session>, again: bool) -> Result<Tap, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.basic_qos(self.prefetch, BasicQosOptions { global: false })).await?;
        let existed = self.inner.declare(session, &channel, &self.spec, again).await?;
        let options =
            BasicConsumeOptions { exclusive: self.exclusive, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(
            self.spec.name.clone(),
            ShortString::default(),
            options,
            FieldTable::default(),
        );
        let consumer = match session.ask(consume).await {
            Ok(consumer) => consumer,
            Err(cause) => {
                self.inner.leave(&self.spec.name, session.generation()).await;
                return Err(cause.of_consumer());
            }
        };
        let (room, commands) = mpsc::channel(usize::from(self.prefetch));
        let fence = Fence::new(Arc::clone(session), channel.clone());
        let settlements = Settlements {
            commands,
            fence: Arc::clone(&fence),
            queue: self.spec.name.clone(),
            inner: Arc::clone(&self.inner),
        };
        self.inner.handle.spawn(settlements.run());
        self.hand = Some(Hand { room, fence });
        Ok(Tap { session: Arc::clone(session), channel, consumer, gap: !existed })
    }

    /// As much as was asked for: the prefetch bounds it.
    fn has_room(&self) -> bool {
        true
    }

    async fn room(&self) {}

    async fn take(&mut self, tap: &Tap, delivery: WireDelivery) {
        let tag = delivery.delivery_tag;
        let room = self
            .hand
            .as_ref()
            .and_then(|hand| Some((hand.room.clone().try_reserve_owned().ok()?, &hand.fence)));
        let Some((room, fence)) = room else {
            // More than the prefetch: no broker does that.
            let nack = BasicNackOptions { multiple: false, requeue: true };
            let _ = tap.session.ask(tap.channel.basic_nack(tag, nack)).await;
            return;
        };
        let size = delivery.data.len();
        let Inbound { message, attempt } =
            inbound::message(self.inner.settings.default_exchange.as_str(), delivery);
        let settler = Settler {
            room,
            tag,
            fence: Arc::clone(fence),
            message: message.clone(),
            unsettled: Unsettled::new(&self.inner.unsettled),
        };
        self.control.buffer.extend([(Delivery::new(message, attempt, settler), size)]);
    }

    async fn rest(&mut self, _: &Tap) {}

    /// What was not read comes again.
    fn lose(&mut self) {
        if let Some(hand) = self.hand.take() {
            hand.fence.fall();
        }
        self.control.buffer.discard();
    }

    async fn leave(&mut self, tap: Tap) {
        self.inner.leave(&self.spec.name, tap.session.generation()).await;
        // The channel stays until the last of its deliveries is settled.
        self.hand = None;
    }
}
