//! Where a delayed requeue goes, and what it may cost.
use std::time::Duration;

use futures_util::{TryStreamExt as _, stream::FuturesUnordered};
use sinew_adapter_amqp::lapin::{
    BasicProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use sinew_core::{Attempt, Consume as _, ErrorKind, Publish as _, PublishExt as _, Sent, Verdict};
use tokio::time::interval;

use crate::{
    support::{Other, Outcome, Shared, check, connect, delivery, message, queue, refused, soon},
    tap::{CHANNEL_CLOSE, Tap},
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
    check(other.waiting("obeyed.copies").await? == 1, "the copy went nowhere else")?;
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
        check(again.attempt == Attempt::Redelivered, "it was delayed")?;
        again.ack().await?;
    }
    Ok(())
}

/// A handler that goes on keeps nothing from the others.
pub(crate) async fn held_beyond_its_queue(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let tap = Tap::start(address).await?;
    let other = Other::connect(address).await?;
    let amqp = connect(tap.address).await?;
    let mut intake = amqp.consume(queue("held-beyond")?).await?;
    amqp.send(message("held-beyond", "x")?).await?;
    let held = delivery(&mut intake, "x").await?;
    let before = tap.count(CHANNEL_CLOSE);
    other.delete("held-beyond").await?;
    soon("the handler to be told", held.revoked()).await?;
    soon("the channel to be closed", async {
        let mut look = interval(Duration::from_millis(20));
        while tap.count(CHANNEL_CLOSE) == before {
            look.tick().await;
        }
    })
    .await?;
    // Too late, and no sooner than this.
    refused(held.ack().await, ErrorKind::Revoked, Sent::No)?;
    Ok(())
}
