//! What is measured: the same messages through raw lapin and through the adapter, on one broker.
use std::{collections::VecDeque, error::Error, pin::pin};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sinew_adapter_amqp::{
    Amqp, AmqpOptions,
    lapin::{
        self, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
        PublisherConfirm,
        message::Delivery as WireDelivery,
        options::{
            BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
            BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
        },
        types::FieldTable,
    },
};
use sinew_core::{
    Consume, Consumption, Delivery, Event, Incoming, Message, Pattern, Pending, Publish, Queue,
    Subject,
};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Payload in bytes, and how many of them make a round.
pub(crate) const SIZES: [(usize, usize); 3] = [(128, 20_000), (1 << 10, 20_000), (16 << 10, 4_000)];
/// How many publishes wait for their confirm, at most.
pub(crate) const WINDOW: usize = 512;
/// How many deliveries wait for their ack, at most.
pub(crate) const PREFETCH: u16 = 512;
/// No queue is bound for it, which costs the broker least: what the client costs shows most.
const NOBODY: &str = "bench.nobody";
const QUEUE: &str = "bench.amqp";
const TRANSIENT: u8 = 1;

/// What is done with the messages of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Published, with confirms.
    Publish,
    /// Consumed, with an ack for each.
    Consume,
}

/// Who does it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Contender {
    /// lapin, with as many calls at once as the window or the prefetch has places.
    Lapin,
    /// lapin, one call after the other: as its examples have it.
    OneByOne,
    /// lapin, with one ack for half a prefetch.
    Multiple,
    /// The adapter, with as many calls at once as the window has places.
    Adapter,
    /// The adapter, one call after the other.
    AdapterOneByOne,
}

impl Work {
    pub(crate) const ALL: [Self; 2] = [Self::Publish, Self::Consume];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }

    /// Who can do it; the first one is what the others are compared to.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        match self {
            Self::Publish => &[
                Contender::Lapin,
                Contender::Adapter,
                Contender::OneByOne,
                Contender::AdapterOneByOne,
            ],
            Self::Consume => {
                &[Contender::Lapin, Contender::OneByOne, Contender::Multiple, Contender::Adapter]
            }
        }
    }
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lapin => "lapin",
            Self::OneByOne => "lapin, one by one",
            Self::Multiple => "lapin, multiple acks",
            Self::Adapter => "adapter",
            Self::AdapterOneByOne => "adapter, one by one",
        }
    }
}

/// Two connections each, as the adapter has them.
pub(crate) struct Bench {
    publishing: Channel,
    consuming: Connection,
    ours: Amqp,
    /// What a round costs is how far this gets meanwhile, setup left out: a clock, or a count of allocations.
    meter: fn() -> u64,
}

impl Bench {
    pub(crate) async fn connect(url: &str, meter: fn() -> u64) -> Outcome<Self> {
        let raw = async || {
            let properties = ConnectionProperties::default();
            Connection::connect(&format!("{url}/%2f"), properties).await
        };
        let publishing = raw().await?.create_channel().await?;
        publishing.confirm_select(ConfirmSelectOptions::default()).await?;
        // As the adapter declares it.
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        publishing.queue_declare(QUEUE.into(), durable, FieldTable::default()).await?;
        let ours = AmqpOptions::new(url).with_confirm_window(WINDOW).connect().await?;
        Ok(Self { publishing, consuming: raw().await?, ours, meter })
    }

    /// Lets `who` do `work` on `count` messages.
    pub(crate) async fn round(
        &self,
        work: Work,
        who: Contender,
        payload: &Bytes,
        count: usize,
    ) -> Outcome<u64> {
        match (work, who) {
            (Work::Publish, Contender::Adapter) => self.publish(payload, count).await,
            (Work::Publish, Contender::AdapterOneByOne) => {
                self.publish_in_turn(payload, count).await
            }
            (Work::Publish, Contender::OneByOne) => self.publish_one_by_one(payload, count).await,
            (Work::Publish, _) => self.publish_raw(payload, count).await,
            (Work::Consume, who) => {
                self.fill(payload, count).await?;
                match who {
                    Contender::Adapter => self.consume(count).await,
                    who => self.consume_raw(who, count).await,
                }
            }
        }
    }

    async fn publish_raw(&self, payload: &Bytes, count: usize) -> Outcome<u64> {
        let began = (self.meter)();
        let publish = || self.send("amq.topic", NOBODY, payload);
        let calls = stream::iter(0..count).map(|_| async { Ok(publish().await?.await?) });
        calls.buffer_unordered(WINDOW).try_for_each(async |it| confirmed(it)).await?;
        Ok((self.meter)() - began)
    }

    async fn publish_one_by_one(&self, payload: &Bytes, count: usize) -> Outcome<u64> {
        let began = (self.meter)();
        let mut confirms = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if confirms.len() == WINDOW
                && let Some(confirm) = confirms.pop_front()
            {
                confirmed(confirm.await?)?;
            }
            confirms.push_back(self.send("amq.topic", NOBODY, payload).await?);
        }
        for confirm in confirms {
            confirmed(confirm.await?)?;
        }
        Ok((self.meter)() - began)
    }

    async fn publish(&self, payload: &Bytes, count: usize) -> Outcome<u64> {
        let message = nobodys(payload)?;
        // The first one opens the channel.
        self.ours.publish(message.clone()).await?.await?;
        let began = (self.meter)();
        let publish = || self.ours.publish(message.clone());
        let calls = stream::iter(0..count).map(|_| async { publish().await?.await });
        calls.buffer_unordered(WINDOW).try_for_each(async |_| Ok(())).await?;
        Ok((self.meter)() - began)
    }

    async fn publish_in_turn(&self, payload: &Bytes, count: usize) -> Outcome<u64> {
        let message = nobodys(payload)?;
        // The first one opens the channel.
        self.ours.publish(message.clone()).await?.await?;
        let began = (self.meter)();
        let mut confirms: VecDeque<Pending<_>> = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if confirms.len() == WINDOW
                && let Some(confirm) = confirms.pop_front()
            {
                confirm.await?;
            }
            confirms.push_back(self.ours.publish(message.clone()).await?);
        }
        for confirm in confirms {
            confirm.await?;
        }
        Ok((self.meter)() - began)
    }

    async fn consume_raw(&self, who: Contender, count: usize) -> Outcome<u64> {
        let channel = self.consuming.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
        let mut consumer = channel
            .basic_consume(
                QUEUE.into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let first = delivered(&mut consumer).await?;
        let began = (self.meter)();
        let once = BasicAckOptions { multiple: false };
        first.ack(once).await?;
        match who {
            Contender::OneByOne => {
                for _ in 1..count {
                    delivered(&mut consumer).await?.ack(once).await?;
                }
            }
            Contender::Multiple => {
                let half = usize::from(PREFETCH / 2);
                for number in 1..count {
                    let delivery = delivered(&mut consumer).await?;
                    if number % half == 0 || number + 1 == count {
                        delivery.ack(BasicAckOptions { multiple: true }).await?;
                    }
                }
            }
            _ => {
                let deliveries = (&mut consumer).take(count - 1);
                let acks = deliveries.map(|it| async move { it?.ack(once).await });
                let mut acks = pin!(acks.buffer_unordered(PREFETCH.into()));
                while let Some(acked) = acks.next().await {
                    acked?;
                }
            }
        }
        let cost = (self.meter)() - began;
        let tag = consumer.tag();
        channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        channel.close(200, "OK".into()).await?;
        Ok(cost)
    }

    async fn consume(&self, count: usize) -> Outcome<u64> {
        let wanted = Consumption::new(Queue::parse(QUEUE)?, Pattern::parse(QUEUE)?);
        let mut intake = self.ours.consume(wanted.with_prefetch(PREFETCH)).await?;
        let first = arrived(&mut intake).await?;
        let began = (self.meter)();
        let mut last = first.ack();
        for _ in 1..count {
            last = arrived(&mut intake).await?.ack();
        }
        last.await?;
        let cost = (self.meter)() - began;
        intake.stop();
        while intake.next().await.is_some() {}
        Ok(cost)
    }

    async fn fill(&self, payload: &Bytes, count: usize) -> Outcome {
        let publish = || self.send("", QUEUE, payload);
        let calls = stream::iter(0..count).map(|_| async { Ok(publish().await?.await?) });
        calls.buffer_unordered(WINDOW).try_for_each(async |it| confirmed(it)).await
    }

    async fn send(
        &self,
        exchange: &str,
        key: &str,
        payload: &Bytes,
    ) -> lapin::Result<PublisherConfirm> {
        let properties = BasicProperties::default().with_delivery_mode(TRANSIENT);
        let options = BasicPublishOptions::default();
        self.publishing
            .basic_publish(exchange.into(), key.into(), options, payload, properties)
            .await
    }
}

fn nobodys(payload: &Bytes) -> Outcome<Message> {
    Ok(Message::new(Subject::parse(NOBODY)?, payload.clone()).with_durable(false))
}

fn confirmed(confirmation: Confirmation) -> Outcome {
    if confirmation.is_ack() { Ok(()) } else { Err("the broker refused a message".into()) }
}

async fn delivered(consumer: &mut Consumer) -> Outcome<WireDelivery> {
    Ok(consumer.next().await.ok_or("it ended")??)
}

async fn arrived(intake: &mut Incoming<Delivery>) -> Outcome<Delivery> {
    match intake.next().await {
        Some(Ok(Event::Item(delivery))) => Ok(delivery),
        other => Err(format!("{other:?} came").into()),
    }
}
