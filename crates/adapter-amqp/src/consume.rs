//! Consuming a queue: each delivery is settled once, and fenced by the channel that it came on.
use std::sync::Arc;

use lapin::message::Delivery as WireDelivery;
use sinew_core::{
    Buffer, Consume, Consumption, Delivery, Incoming, Lifetime, Overflow, Queue, QueueStatus,
    Result,
};
use tokio::sync::mpsc::{self, Sender};

use crate::{
    Amqp,
    connect::Inner,
    control::{Control, Unsettled},
    declare::{self, QueueSpec},
    error::Cause,
    fields,
    inbound::{self, Inbound},
    names, queues,
    run::{self, Source},
    session::Session,
    settle::{Command, Fence, Settlements, Settler},
    tap::{Tap, Terms},
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

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        let inner = &self.inner;
        inner.capabilities.check_consumption(&wanted)?;
        let queue = wanted.queue.clone();
        let declaring = establish(Arc::clone(inner), wanted);
        inner
            .at_home(declaring)
            .await
            .map_err(|cause| cause.during("amqp declare").on(queue.as_str()).into())
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        let looking = look(Arc::clone(&self.inner), queue.clone());
        self.inner
            .at_home(looking)
            .await
            .map_err(|cause| cause.during("amqp inspect").on(queue.as_str()).into())
    }
}

async fn look(inner: Arc<Inner>, queue: Queue) -> Result<QueueStatus, Cause> {
    inner.check_open()?;
    let session = inner.consuming.session()?;
    declare::inspect(&session, queues::named(&queue)?).await
}

async fn establish(inner: Arc<Inner>, wanted: Consumption) -> Result<QueueStatus, Cause> {
    // As a publish, which it is made for: a handler that ends during a drain may still give up its event.
    inner.check_publishing()?;
    let spec = spec(&inner, &wanted)?;
    let session = inner.consuming.session()?;
    let channel = session.channel().await?;
    let established = spec.establish(&inner, &session, &channel).await;
    declare::close(&session, &channel).await;
    established
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
        terms: Terms { prefetch, exclusive: wanted.exclusive },
        hand: None,
        control: Arc::clone(&control),
        inner: Arc::clone(&inner),
    };
    let session = inner.consuming.session()?;
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
    terms: Terms,
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
        let tap = Tap::open(&self.inner, session, &self.spec, self.terms, again).await?;
        let (room, commands) = mpsc::channel(usize::from(self.terms.prefetch));
        let fence = Fence::new(Arc::clone(session), tap.channel.clone());
        let settlements = Settlements {
            commands,
            fence: Arc::clone(&fence),
            queue: self.spec.name.clone(),
            inner: Arc::clone(&self.inner),
        };
        self.inner.handle.spawn(settlements.run());
        self.hand = Some(Hand { room, fence });
        Ok(tap)
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
            // More than the prefetch: no broker does that. Closing gives back all of it, and starts anew.
            return declare::close(&tap.session, &tap.channel).await;
        };
        let size = delivery.data.len();
        let Inbound { message, attempt } =
            inbound::message(self.inner.settings.default_exchange.as_str(), delivery);
        let settler = Settler {
            room,
            tag,
            fence: Arc::clone(fence),
            message: message.clone(),
            attempt,
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

    async fn leave(&mut self, _: Tap) {
        // The channel stays until the last of its deliveries is settled.
        self.hand = None;
    }
}
