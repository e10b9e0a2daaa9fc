//! What a publisher learns of each message.
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use sinew_adapter_amqp::lapin::{
    self,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions},
    types::FieldTable,
};
use sinew_core::{Consume as _, ErrorKind, Publish as _, PublishExt as _, Scope, Sent};
use sinew_testkit::harness::{Proxy, rabbitmq::RabbitMqOptions};

use crate::{
    handing::gives_up,
    support::{
        Other, Outcome, Shared, address, check, connect, delivery, message, options, queue,
        refused, soon,
    },
};

pub(crate) async fn own_fate(shared: Shared) -> Outcome {
    const COUNT: u32 = 2000;
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let amqp = connect(address).await?;
    // Held, so that the messages stay where they can be counted.
    let mut intake = amqp.consume(queue("own-fate.heard")?.with_prefetch(1)).await?;
    let is_heard = |number| number % 3 != 0;
    let mut pending = Vec::new();
    for number in 0..COUNT {
        let subject = if is_heard(number) { "own-fate.heard" } else { "own-fate.unheard" };
        let mut message = message(subject, &number.to_string())?.with_must_route(true);
        if number % 2 == 0 {
            // All of one id: it says nothing about whose a returned message is.
            message = message.with_id("the same");
        }
        pending.push(amqp.publish(message).await?);
    }
    let outcomes = soon("the fate of each", join_all(pending)).await?;
    let mut heard = 0;
    for (number, outcome) in (0..COUNT).zip(outcomes) {
        if is_heard(number) {
            heard += 1;
            outcome.map_err(|err| format!("{number} was routed, and called {err}"))?;
        } else {
            refused(outcome, ErrorKind::Unroutable, Sent::No)?;
        }
    }
    let _held = delivery(&mut intake, "1").await?;
    other.until_waiting("own-fate.heard", heard - 1).await
}

pub(crate) async fn unconfirmed(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = options(proxy.address()).with_heartbeat(Duration::from_secs(60)).connect().await?;
    amqp.send(message("unconfirmed", "before")?).await?;
    proxy.half_open();
    let mut pending = Vec::new();
    for _ in 0..10 {
        pending.push(amqp.publish(message("unconfirmed", "lost?")?).await?);
    }
    proxy.cut();
    for outcome in soon("an answer to each", join_all(pending)).await? {
        refused(outcome, ErrorKind::Disconnected, Sent::Maybe)?;
    }
    let down = amqp.send(message("unconfirmed", "during")?).await;
    refused(down, ErrorKind::Disconnected, Sent::No)?;
    Ok(())
}

/// What stalls is what has to be done before the first publish to an exchange.
pub(crate) async fn unopened(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = options(proxy.address())
        .with_heartbeat(Duration::from_secs(60))
        .with_answer_timeout(Duration::from_secs(1))
        .connect()
        .await?;
    proxy.half_open();
    refused(amqp.publish(message("unopened", "late")?).await, ErrorKind::Timeout, Sent::No)?;
    let breaks = async { proxy.cut() };
    let (broken, ()) = tokio::join!(amqp.publish(message("unopened", "broken")?), breaks);
    refused(broken, ErrorKind::Disconnected, Sent::No)?;
    Ok(())
}

/// A broker of its own: an alarm stops all who publish.
pub(crate) async fn blocked() -> Outcome {
    let broker = RabbitMqOptions::new().start().await?;
    let amqp = options(address(&broker))
        .with_heartbeat(Duration::from_secs(10))
        .with_answer_timeout(Duration::from_secs(5))
        .with_blocked_timeout(Duration::from_secs(1))
        .connect()
        .await?;
    let mut intake = amqp.consume(queue("blocked")?.with_prefetch(1)).await?;
    for text in ["first", "second"] {
        amqp.send(message("blocked", text)?).await?;
    }
    broker.memory_alarm(true).await?;
    // The broker says that it is blocked when somebody publishes; what it was given then it takes later.
    let handed_over = amqp.send(message("blocked", "handed over")?).await;
    refused(handed_over, ErrorKind::Timeout, Sent::Maybe)?;
    let held_back = amqp.send(message("blocked", "held back")?).await;
    refused(held_back, ErrorKind::Overloaded, Sent::No)?;
    gives_up(amqp.publish(message("blocked", "given up")?)).await?;
    // Who consumes does not publish.
    delivery(&mut intake, "first").await?.ack().await?;
    delivery(&mut intake, "second").await?.ack().await?;
    // Whoever waits while the alarm is lifted is served.
    let patient = options(address(&broker)).connect().await?;
    let waiting = tokio::spawn(async move { patient.send(message("blocked", "patient")?).await });
    broker.memory_alarm(false).await?;
    soon("the patient one's answer", waiting).await???;
    let mut came = Vec::new();
    for _ in 0..2 {
        let delivery = soon("a delivery", intake.next_item()).await?.ok_or("it ended")??;
        came.push(delivery.message.payload.clone());
        delivery.ack().await?;
    }
    // Each by a connection of its own, so in any order.
    came.sort();
    check(came == ["handed over", "patient"], format!("{came:?}"))?;
    amqp.send(message("blocked", "after")?).await?;
    delivery(&mut intake, "after").await?.ack().await?;
    Ok(())
}

pub(crate) async fn missing_exchange(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("missing-exchange")?).await?;
    let scope = Scope::parse("missing-exchange.gone")?;
    let mut number = 0;
    let mut siblings = async || {
        let mut pending = Vec::new();
        for _ in 0..50 {
            pending.push(amqp.publish(message("missing-exchange", &number.to_string())?).await?);
            number += 1;
        }
        Ok::<_, sinew_core::Error>(pending)
    };
    let astray = || Ok::<_, sinew_core::Error>(message("a", "astray")?.with_scope(scope.clone()));

    // One that never was there.
    let before = siblings().await?;
    refused(amqp.send(astray()?).await, ErrorKind::NotFound, Sent::No)?;
    try_join_all(before).await?;

    // One that goes while it is used.
    let exchange = || lapin::types::ShortString::from("missing-exchange.gone");
    let declare = async || {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = lapin::ExchangeKind::Topic;
        other.channel.exchange_declare(exchange(), kind, durable, FieldTable::default()).await
    };
    declare().await?;
    amqp.send(astray()?).await?;
    other.channel.exchange_delete(exchange(), ExchangeDeleteOptions::default()).await?;
    let before = siblings().await?;
    let lost = [amqp.publish(astray()?).await?, amqp.publish(astray()?).await?];
    let after = siblings().await?;
    for outcome in join_all(lost).await {
        refused(outcome, ErrorKind::NotFound, Sent::Maybe)?;
    }
    try_join_all(before.into_iter().chain(after)).await?;
    refused(amqp.send(astray()?).await, ErrorKind::NotFound, Sent::No)?;
    declare().await?;
    amqp.send(astray()?).await?;

    // The siblings kept their order.
    for number in 0..150 {
        delivery(&mut intake, &number.to_string()).await?.ack().await?;
    }
    Ok(())
}
