//! Messages that the broker refuses, and what becomes of those beside them.
use std::time::Duration;

use futures_util::{FutureExt as _, future::join_all};
use sinew_adapter_amqp::{
    Amqp, ExchangeKind, ExchangePolicy,
    lapin::{
        ExchangeKind as Kind,
        options::{
            ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        },
        types::{AMQPValue, FieldTable, ShortString},
    },
};
use sinew_core::{
    ErrorKind, Event, Link as _, Message, Publish as _, PublishExt as _, Receipt, ReplyTo, Result,
    Scope, Sent, Value,
};
use sinew_testkit::harness::{Proxy, rabbitmq::RabbitMqOptions};

use crate::support::{
    Other, Outcome, Shared, address, check, connect, message, options, refused, soon,
};

/// How many messages are on their way before another one, and behind it.
const SIBLINGS: usize = 100;
/// How late the broker learns of messages: all of them are handed over before it says anything.
const LAG: Duration = Duration::from_secs(2);

/// What became of a message, and of those beside it.
struct Fates {
    before: Vec<Result<Receipt>>,
    bad: Result<Receipt>,
    behind: Vec<Result<Receipt>>,
}

/// Publishes `bad` amid messages to the same exchange that no queue wants: the broker confirms each of those at once.
async fn amid(amqp: &Amqp, proxy: &Proxy, bad: Message) -> Outcome<Fates> {
    amqp.send(message("rejected", "first")?).await?;
    proxy.delay(LAG);
    let siblings = async || {
        let mut pending = Vec::new();
        for number in 0..SIBLINGS {
            pending.push(amqp.publish(message("rejected", &number.to_string())?).await?);
        }
        Ok::<_, sinew_core::Error>(pending)
    };
    let before = siblings().await?;
    let bad = amqp.publish(bad).await;
    let behind = siblings().await?;
    proxy.delay(Duration::ZERO);
    let fates = async {
        let bad = match bad {
            Ok(pending) => pending.await,
            Err(refused) => Err(refused),
        };
        Fates { before: join_all(before).await, bad, behind: join_all(behind).await }
    };
    soon("the fate of each", fates).await
}

impl Fates {
    /// The bad one was refused before it could cost anyone anything.
    fn cost_nothing(self, kind: ErrorKind) -> Outcome {
        refused(self.bad, kind, Sent::No)?;
        for outcome in self.before.into_iter().chain(self.behind) {
            outcome?;
        }
        Ok(())
    }

    /// Those behind are not called refused, and come through when they are sent again. Gives what became of the bad one.
    async fn cost_a_retry(self, amqp: &Amqp, said: &str) -> Outcome<Result<Receipt>> {
        for outcome in self.before {
            outcome?;
        }
        let mut lost = 0;
        for outcome in self.behind.into_iter().filter(Result::is_err) {
            let err = refused(outcome, ErrorKind::Disconnected, Sent::Maybe)?;
            check(err.is_transient() && err.to_string().contains(said), &err)?;
            amqp.send(message("rejected", "again")?).await?;
            lost += 1;
        }
        check(lost > 0, "some were in flight")?;
        Ok(self.bad)
    }
}

/// A broker of its own, that takes little.
pub(crate) async fn too_large() -> Outcome {
    let broker = RabbitMqOptions::new().with_frame_max(8192).with_max_message_size(1 << 16);
    let broker = broker.start().await?;
    let proxy = Proxy::start(address(&broker)).await?;
    let amqp = options(proxy.address()).with_heartbeat(Duration::from_secs(10)).connect().await?;

    let large = || message("rejected", &"x".repeat((1 << 16) + 1));
    let fates = amid(&amqp, &proxy, large()?).await?;
    let bad = fates.cost_a_retry(&amqp, "message size").await?;
    let err = refused(bad, ErrorKind::TooLarge, Sent::Maybe)?;
    check(!err.is_transient(), &err)?;
    refused(amqp.send(large()?).await, ErrorKind::TooLarge, Sent::Maybe)?;

    let headed = |bytes| message("rejected", "")?.with_header("h", "x".repeat(bytes));
    let fates = amid(&amqp, &proxy, headed(10_000)?).await?;
    fates.cost_nothing(ErrorKind::TooLarge)?;
    // As much as goes, beside the longest properties there are; `guest` is the only user.
    let (long, most) = (|| "p".repeat(255), 8192 - (3 << 10) - 11);
    let full = headed(most)?
        .with_id(long())
        .with_correlation_id(long())
        .with_content_type(long())
        .with_content_encoding(long())
        .with_message_type(long())
        .with_app_id(long())
        .with_user_id("guest")
        .with_ttl(Duration::from_millis(u32::MAX.into()))
        .with_priority(9);
    soon("a full frame", amqp.send(full)).await??;
    refused(amqp.send(headed(most + 1)?).await, ErrorKind::TooLarge, Sent::No)?;
    Ok(())
}

pub(crate) async fn refused_before(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = options(proxy.address()).with_heartbeat(Duration::from_secs(10)).connect().await?;
    let plain = || message("rejected", "bad");
    let asking = ReplyTo::new(&b"\0amq.rabbitmq.reply-to"[..]);
    for (bad, kind) in [
        (plain()?.with_header("CC", "a")?, ErrorKind::InvalidHeader),
        (plain()?.with_header("BCC", Value::from_iter([1]))?, ErrorKind::InvalidHeader),
        (plain()?.with_reply_to(asking), ErrorKind::InvalidOptions),
    ] {
        amid(&amqp, &proxy, bad).await?.cost_nothing(kind)?;
    }
    amqp.send(plain()?.with_header("CC", Value::from_iter(["a", "b"]))?).await?;
    Ok(())
}

/// The broker refuses one subject, which is nobody else's affair.
pub(crate) async fn forbidden_topic(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    broker.ctl(&["add_user", "narrow", "narrow"]).await?;
    broker.ctl(&["set_permissions", "narrow", ".*", ".*", ".*"]).await?;
    let topics = ["set_topic_permissions", "narrow", "amq.topic", "^rejected$", ".*"];
    broker.ctl(&topics).await?;
    let proxy = Proxy::start(address(broker)).await?;
    let narrow = options(proxy.address()).with_user("narrow", "narrow");
    let amqp = narrow.with_heartbeat(Duration::from_secs(10)).connect().await?;
    let bad = || message("forbidden", "bad");

    // By itself it is to blame; among others nobody knows.
    let err = refused(amqp.send(bad()?).await, ErrorKind::Denied, Sent::Maybe)?;
    check(!err.is_transient() && err.to_string().contains("access to topic"), &err)?;
    let fates = amid(&amqp, &proxy, bad()?).await?;
    let bad = fates.cost_a_retry(&amqp, "access to topic").await?;
    refused(bad, ErrorKind::Disconnected, Sent::Maybe)?;
    Ok(())
}

pub(crate) async fn auto_delete(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let name = "rejected.auto-delete";
    let policy = ExchangePolicy::declare().with_auto_delete(true);
    let amqp = options(address).with_exchange(name, policy).connect().await?;
    let scope = Scope::parse(name)?;
    let send = async || amqp.send(message("a", "x")?.with_scope(scope.clone())).await;
    send().await?;
    for _ in 0..2 {
        // It goes with its last binding.
        other.declare(name, false).await?;
        bind(&other, name, name, "a").await?;
        other.delete(name).await?;
        let gone = refused(send().await, ErrorKind::Unreachable, Sent::Maybe)?;
        check(gone.is_transient(), &gone)?;
        send().await?;
    }
    Ok(())
}

pub(crate) async fn nacked(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let name = "rejected.full";
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let queue = ShortString::from(name);
    other.channel.queue_declare(queue, QueueDeclareOptions::default(), full).await?;
    bind(&other, name, "amq.topic", name).await?;
    let amqp = connect(address).await?;
    amqp.send(message(name, "fits")?).await?;
    for must_route in [false, true] {
        let more = message(name, "does not")?.with_must_route(must_route);
        let err = refused(amqp.send(more).await, ErrorKind::Overloaded, Sent::Maybe)?;
        check(err.is_transient(), &err)?;
    }
    other.until_waiting(name, 1).await
}

pub(crate) async fn declared_otherwise(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let name = "rejected.topic";
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = ShortString::from(name);
    other.channel.exchange_declare(exchange, Kind::Topic, durable, FieldTable::default()).await?;
    let direct = ExchangePolicy::declare().with_kind(ExchangeKind::Direct);
    let amqp = options(address).with_exchange(name, direct).connect().await?;
    let sent = amqp.send(message("a", "x")?.with_scope(Scope::parse(name)?)).await;
    let err = refused(sent, ErrorKind::Conflict, Sent::No)?;
    check(!err.is_transient() && err.to_string().contains("'type'"), &err)?;
    Ok(())
}

/// The client goes on with what it has in line once the broker has closed the channel: more of it here than a socket holds.
pub(crate) async fn amid_megabytes(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let name = "rejected.megabytes";
    let declared = ExchangeDeclareOptions::default();
    other
        .channel
        .exchange_declare(name.into(), Kind::Topic, declared, FieldTable::default())
        .await?;
    let proxy = Proxy::start(address).await?;
    let assumed = options(proxy.address()).with_heartbeat(Duration::from_secs(10));
    let amqp = assumed.with_exchange(name, ExchangePolicy::assume()).connect().await?;
    let mut watch = amqp.watch();
    check(matches!(soon("the state", watch.next()).await?, Some(Ok(Event::Up { .. }))), "up")?;
    let scope = Scope::parse(name)?;
    amqp.send(message("rejected", "x")?.with_scope(scope.clone())).await?;

    other.channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await?;
    proxy.delay(LAG);
    let large = "x".repeat(256 << 10);
    let mut pending = Vec::new();
    for _ in 0..200 {
        pending.push(amqp.publish(message("rejected", &large)?.with_scope(scope.clone())).await?);
    }
    proxy.delay(Duration::ZERO);
    for outcome in soon("the fate of each", join_all(pending)).await? {
        let err = refused(outcome, ErrorKind::NotFound, Sent::Maybe)?;
        check(!err.is_transient(), &err)?;
    }
    amqp.send(message("rejected", "another exchange")?).await?;
    let now = watch.next().now_or_never();
    check(now.is_none(), format!("the connection was kept, yet {now:?}"))
}

pub(crate) async fn not_permitted(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    broker.ctl(&["add_user", "rejected", "rejected"]).await?;
    broker.ctl(&["set_permissions", "rejected", "^$", "^$", "^$"]).await?;
    let amqp = options(address(broker)).with_user("rejected", "rejected").connect().await?;
    let send = || async { amqp.send(message("rejected", "x")?).await };
    // By itself, and where all that is in flight shares the exchange.
    refused(send().await, ErrorKind::Denied, Sent::Maybe)?;
    for outcome in soon("the fate of each", join_all((0..3).map(|_| send()))).await? {
        let err = refused(outcome, ErrorKind::Denied, Sent::Maybe)?;
        check(!err.is_transient(), &err)?;
    }
    Ok(())
}

/// Lets `queue` get what is published to `exchange` under `key`.
async fn bind(other: &Other, queue: &str, exchange: &str, key: &str) -> Outcome {
    let [queue, exchange, key] = [queue, exchange, key].map(ShortString::from);
    let bound = QueueBindOptions::default();
    other.channel.queue_bind(queue, exchange, key, bound, FieldTable::default()).await?;
    Ok(())
}
