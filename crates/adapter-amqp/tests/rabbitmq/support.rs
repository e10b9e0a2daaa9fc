//! What trials share: a broker, a client beside ours, and waits that say what was waited for.
use std::{fmt::Display, net::SocketAddr, sync::Arc, time::Duration};

use sinew_adapter_amqp::{
    Amqp, AmqpOptions,
    lapin::{
        BasicProperties, Channel, Connection, ConnectionProperties,
        options::{
            BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
        },
        types::{FieldTable, ShortString},
    },
};
use sinew_core::{
    Consumption, Delivery, Error, ErrorKind, Event, Incoming, Message, Pattern, Queue, Result,
    Sent, Subject,
};
use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};
use tokio::{sync::OnceCell, time::timeout};

pub(crate) use sinew_testkit::trial::Outcome;

/// How long a step may take on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

/// One RabbitMQ for all the trials that do not hurt it; each has names of its own there.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<OnceCell<RabbitMq>>);

impl Shared {
    pub(crate) async fn broker(&self) -> Outcome<&RabbitMq> {
        Ok(self.0.get_or_try_init(|| RabbitMqOptions::new().start()).await?)
    }

    /// Where it listens.
    pub(crate) async fn address(&self) -> Outcome<SocketAddr> {
        Ok(address(self.broker().await?))
    }
}

pub(crate) fn address(broker: &RabbitMq) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], broker.port()))
}

/// Options for whoever listens at `address`, with the heartbeat of somebody who wants to know soon.
pub(crate) fn options(address: SocketAddr) -> AmqpOptions {
    AmqpOptions::new(format!("amqp://guest:guest@{address}"))
        .with_heartbeat(Duration::from_secs(1))
        .with_connect_timeout(SOON)
        .with_answer_timeout(SOON)
}

/// A client that is not ours, for what other programs do to the broker.
pub(crate) struct Other {
    // Dropped, it closes.
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Other {
    pub(crate) async fn connect(address: SocketAddr) -> Outcome<Self> {
        let url = format!("amqp://guest:guest@{address}/%2f");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// Declares a queue, durable or not, that stays.
    pub(crate) async fn declare(&self, queue: &str, durable: bool) -> Outcome {
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        let name = ShortString::try_new(queue)?;
        self.channel.queue_declare(name, options, FieldTable::default()).await?;
        Ok(())
    }

    /// Deletes a queue under its consumers.
    pub(crate) async fn delete(&self, queue: &str) -> Outcome {
        let name = ShortString::try_new(queue)?;
        self.channel.queue_delete(name, QueueDeleteOptions::default()).await?;
        Ok(())
    }

    /// Puts a message straight into a queue, and waits until it is there.
    pub(crate) async fn put(&self, queue: &str, payload: &str) -> Outcome {
        let sent = self.channel.basic_publish(
            ShortString::default(),
            ShortString::try_new(queue)?,
            BasicPublishOptions::default(),
            payload.as_bytes(),
            BasicProperties::default(),
        );
        sent.await?.await?;
        Ok(())
    }

    /// How many messages wait in a queue that no consumer has been given.
    pub(crate) async fn waiting(&self, queue: &str) -> Outcome<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = ShortString::try_new(queue)?;
        Ok(self.channel.queue_declare(name, passive, FieldTable::default()).await?.message_count())
    }

    /// Ends once that many messages wait in `queue`.
    pub(crate) async fn until_waiting(&self, queue: &str, count: u32) -> Outcome {
        let what = format!("{count} messages that wait in {queue}");
        soon(&what, async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while self.waiting(queue).await? != count {
                look.tick().await;
            }
            Ok(())
        })
        .await?
    }
}

/// A consumption of the queue `name`, bound to the subject `name`.
pub(crate) fn queue(name: &str) -> Result<Consumption> {
    Ok(Consumption::new(Queue::parse(name)?, Pattern::parse(name)?))
}

pub(crate) fn message(subject: &str, payload: &str) -> Result<Message> {
    Ok(Message::new(Subject::parse(subject)?, payload.to_owned()))
}

/// What `work` ends with, in time.
pub(crate) async fn soon<T>(
    what: impl Display + Send,
    work: impl Future<Output = T> + Send,
) -> Outcome<T> {
    match timeout(SOON, work).await {
        Ok(done) => Ok(done),
        Err(_) => Err(format!("{what} did not come within {SOON:?}").into()),
    }
}

/// The next event.
pub(crate) async fn event<T>(incoming: &mut Incoming<T>, what: &str) -> Outcome<Event<T>> {
    match soon(what, incoming.next()).await? {
        Some(event) => Ok(event?),
        None => Err(format!("the intake ended before {what}").into()),
    }
}

/// The next event, which has to be this one.
pub(crate) async fn told<T: std::fmt::Debug + PartialEq>(
    incoming: &mut Incoming<T>,
    expected: Event<T>,
) -> Outcome {
    let what = format!("{expected:?}");
    let came = event(incoming, &what).await?;
    check(came == expected, format!("{what} was expected, {came:?} came"))
}

/// That the link is down, and nothing else before.
pub(crate) async fn down<T: std::fmt::Debug>(incoming: &mut Incoming<T>) -> Outcome {
    match event(incoming, "down").await? {
        Event::Down => Ok(()),
        other => Err(format!("down was expected, {other:?} came").into()),
    }
}

/// That the link is up, and nothing else before; whether there is a gap.
pub(crate) async fn up<T: std::fmt::Debug>(incoming: &mut Incoming<T>) -> Outcome<bool> {
    match event(incoming, "up").await? {
        Event::Up { gap } => Ok(gap),
        other => Err(format!("up was expected, {other:?} came").into()),
    }
}

/// The next delivery, and nothing else before, which has to carry `payload`.
pub(crate) async fn delivery(
    incoming: &mut Incoming<Delivery>,
    payload: &str,
) -> Outcome<Delivery> {
    match event(incoming, payload).await? {
        Event::Item(delivery) if delivery.message.payload == payload => Ok(delivery),
        other => Err(format!("{payload} was expected, {other:?} came").into()),
    }
}

/// The end of an intake with an error, whatever it says before.
pub(crate) async fn failure<T: std::fmt::Debug>(incoming: &mut Incoming<T>) -> Outcome<Error> {
    loop {
        match soon("the error that ends the intake", incoming.next()).await? {
            Some(Ok(_)) => {}
            Some(Err(err)) => return Ok(err),
            None => return Err("it ended without an error".into()),
        }
    }
}

/// It failed, as that, and says so of the message.
pub(crate) fn refused<T: std::fmt::Debug>(
    outcome: Result<T>,
    kind: ErrorKind,
    sent: Sent,
) -> Outcome<Error> {
    match outcome {
        Err(err) if err.kind() == kind && err.sent() == sent => Ok(err),
        other => Err(format!("{kind:?}, sent {sent:?}, was expected, {other:?} came").into()),
    }
}

pub(crate) fn check(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

/// Connects through `address`.
pub(crate) async fn connect(address: SocketAddr) -> Outcome<Amqp> {
    Ok(options(address).connect().await?)
}
