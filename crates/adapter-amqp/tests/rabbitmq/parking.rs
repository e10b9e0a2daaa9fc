//! Where a delayed requeue goes, and what it may cost.
use std::time::{Duration, Instant};

use futures_util::{TryStreamExt as _, stream::FuturesUnordered};
use sinew_adapter_amqp::{
    DelayLayout, ExchangePolicy,
    lapin::{
        BasicProperties, ExchangeKind,
        options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions},
        types::{AMQPValue, FieldTable, ShortString},
    },
};
use sinew_core::{
    Attempt, Consume as _, ErrorKind, Message, Publish as _, PublishExt as _, Sent, Value, Verdict,
};
use sinew_testkit::harness::rabbitmq::Tap;
use tokio::time::interval;

use crate::support::{
    Other, Outcome, Shared, check, connect, delivery, message, options, queue, refused, soon,
};

/// The broker routes by some headers and counts in others, and a delivery shows them all.
pub(crate) async fn obeyed_headers(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("obeyed")?).await?;
    other.declare("obeyed.copies", true).await?;

    let text = |text: &str| AMQPValue::LongString(text.into());
    let list = |value: AMQPValue| AMQPValue::FieldArray(vec![value].into());
    let mut death = FieldTable::default();
    death.insert("queue".into(), text("obeyed"));
    death.insert("reason".into(), text("expired"));
    death.insert("exchange".into(), text(""));
    death.insert("routing-keys".into(), list(text("obeyed")));
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), list(text("obeyed.copies")));
    headers.insert("x-death".into(), list(AMQPValue::FieldTable(death)));
    headers.insert("mine".into(), text("kept"));
    let sent = other.channel.basic_publish(
        ShortString::default(),
        "obeyed".into(),
        BasicPublishOptions::default(),
        b"x",
        BasicProperties::default().with_headers(headers),
    );
    sent.await?.await?;
    other.until_waiting("obeyed.copies", 1).await?;

    // The broker would take this for a message that goes round in a circle, and drop it.
    let held = delivery(&mut intake, "x").await?;
    held.settle(Verdict::RequeueAfter(Duration::from_millis(10))).await?;
    let again = delivery(&mut intake, "x").await?;
    check(again.message.headers.value("mine").is_some(), "the publisher's own are kept")?;
    let id = again.message.properties().and_then(|it| it.id.as_deref());
    check(id.is_none(), format!("its publisher gave it no id, and it has {id:?}"))?;
    check(other.waiting("obeyed.copies").await? == 1, "the copy went nowhere else")?;
    again.ack().await?;
    Ok(())
}

/// What Python declares and counts by, as `nameko-amqp-retry` 0.7.1 has it on the wire.
pub(crate) async fn as_python(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    // From 4 on RabbitMQ takes no deaths from clients, Python's neither: there it counts one at most.
    let is_3 = shared.broker().await?.ctl(&["version"]).await?.starts_with("3.");
    let counted = |deaths: u32| if is_3 { deaths } else { deaths.min(1) };
    let other = Other::connect(address).await?;
    let options = options(address).with_delays(DelayLayout::NamekoAmqpRetry);
    let amqp = options.with_exchanges(ExchangePolicy::declare()).connect().await?;
    let mut intake = amqp.consume(queue("as-python")?).await?;
    let sent = message("as-python", "x")?.with_header("mine", "kept")?;
    amqp.send(sent.clone()).await?;
    for deaths in 0..4_u32 {
        let held = delivery(&mut intake, "x").await?;
        let attempt = match deaths {
            0 => Attempt::Unknown,
            _ => Attempt::Number(deaths + 1),
        };
        check(held.attempt == attempt, format!("{:?}", held.attempt))?;
        let by_python = counted_by_python(&held.message);
        check(by_python == i64::from(counted(deaths)), format!("Python counts {by_python}"))?;
        check(held.message.address == sent.address, format!("{:?}", held.message.address))?;
        check(held.message.headers.value("mine").is_some(), "the publisher's own are kept")?;
        // Another one makes another queue, and another entry.
        let wait = Duration::from_millis(if deaths < 2 { 40 } else { 50 });
        held.settle(Verdict::RequeueAfter(wait)).await?;
    }
    delivery(&mut intake, "x").await?.ack().await?;

    // Whoever says the same again is let in.
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(5040));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    other.channel.queue_declare("backoff--40ms".into(), durable, arguments).await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (kind, none) = (ExchangeKind::Headers, FieldTable::default());
    other.channel.exchange_declare("backoff".into(), kind, durable, none).await?;
    Ok(())
}

/// What its `Backoff.next` makes of `x-death`.
fn counted_by_python(message: &Message) -> i64 {
    let Some(Value::List(deaths)) = message.headers.value("x-death") else { return 0 };
    let field = |death: &Value, wanted: &str| match death {
        Value::Map(fields) => {
            fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        }
        _ => None,
    };
    let ours = deaths.iter().filter(|it| field(it, "exchange") == Some(Value::from("backoff")));
    ours.filter_map(|death| match field(death, "count") {
        Some(Value::Integer(count)) => Some(count),
        _ => None,
    })
    .sum()
}

/// Who may make no queue for delays is not sent the same delivery as fast as it comes.
pub(crate) async fn unparked(shared: Shared) -> Outcome {
    const DELAY: Duration = Duration::from_millis(700);
    let broker = shared.broker().await?;
    broker.ctl(&["add_user", "unparked", "pw"]).await?;
    broker.ctl(&["set_permissions", "unparked", "^unparked$", ".*", ".*"]).await?;
    let amqp = options(shared.address().await?).with_user("unparked", "pw").connect().await?;
    let mut intake = amqp.consume(queue("unparked")?).await?;
    amqp.send(message("unparked", "x")?).await?;
    let held = delivery(&mut intake, "x").await?;
    let since = Instant::now();
    refused(held.settle(Verdict::RequeueAfter(DELAY)).await, ErrorKind::Denied, Sent::No)?;
    let again = delivery(&mut intake, "x").await?;
    check(since.elapsed() >= DELAY, "it was held for as long as it was to be delayed")?;
    check(again.attempt == Attempt::Redelivered, format!("{:?}", again.attempt))?;
    again.ack().await?;
    Ok(())
}

/// The broker allows a connection 2,047 channels.
pub(crate) async fn many_delays(shared: Shared) -> Outcome {
    const MANY: u16 = 2100;
    let amqp = connect(shared.address().await?).await?;
    let mut intake = amqp.consume(queue("many-delays")?.with_prefetch(MANY)).await?;
    for _ in 0..MANY {
        drop(amqp.publish(message("many-delays", "x")?).await?);
    }
    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(delivery(&mut intake, "x").await?);
    }
    let delay = Verdict::RequeueAfter(Duration::from_millis(10));
    let mut settled: FuturesUnordered<_> = held.into_iter().map(|it| it.settle(delay)).collect();
    while soon("the next delay to be taken", settled.try_next()).await??.is_some() {}
    for _ in 0..MANY {
        let again = delivery(&mut intake, "x").await?;
        check(again.attempt == Attempt::Number(2), "it was delayed once")?;
        again.ack().await?;
    }
    Ok(())
}

/// A handler that goes on keeps nothing from the others.
pub(crate) async fn held_beyond_its_queue(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let tap = Tap::start(address).await?;
    let other = Other::connect(address).await?;
    let amqp = connect(tap.address()).await?;
    let mut intake = amqp.consume(queue("held-beyond")?).await?;
    amqp.send(message("held-beyond", "x")?).await?;
    let held = delivery(&mut intake, "x").await?;
    let before = tap.count(Tap::CHANNEL_CLOSE);
    other.delete("held-beyond").await?;
    soon("the handler to be told", held.revoked()).await?;
    soon("the channel to be closed", async {
        let mut look = interval(Duration::from_millis(20));
        while tap.count(Tap::CHANNEL_CLOSE) == before {
            look.tick().await;
        }
    })
    .await?;
    // Too late, and no sooner than this.
    refused(held.ack().await, ErrorKind::Revoked, Sent::No)?;
    Ok(())
}
