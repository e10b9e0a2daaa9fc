//! What becomes of deliveries when their channel, their link or their queue does not stay.
use std::time::Duration;

use sinew_adapter_amqp::AmqpOptions;
use sinew_core::{
    Attempt, Consume as _, ErrorKind, Event, Link as _, Message, PublishExt as _, Scope, Sent,
    Value, Verdict,
};
use sinew_testkit::harness::{
    Proxy,
    rabbitmq::{RabbitMqOptions, Tap},
};

use crate::support::{
    Other, Outcome, Shared, address, check, connect, delivery, down, message, options, queue,
    refused, soon, told, up,
};

/// A broker of its own, which is impatient.
pub(crate) async fn consumer_timeout() -> Outcome {
    let broker =
        RabbitMqOptions::new().with_consumer_timeout(Duration::from_secs(3)).start().await?;
    let amqp = connect(address(&broker)).await?;
    let mut watch = amqp.watch();
    told(&mut watch, Event::Up { gap: false }).await?;
    let mut slow = amqp.consume(queue("consumer-timeout.slow")?).await?;
    let mut sibling = amqp.consume(queue("consumer-timeout.sibling")?).await?;
    amqp.send(message("consumer-timeout.slow", "x")?).await?;
    let late = delivery(&mut slow, "x").await?;
    // Much more than the timeout is the wait for the broker to look.
    soon("the broker to take it back", late.revoked()).await?;
    down(&mut slow).await?;
    check(!up(&mut slow).await?, "the queue has kept it")?;
    let again = delivery(&mut slow, "x").await?;
    check(again.attempt == Attempt::Redelivered, format!("{:?} is not the first", again.attempt))?;
    refused(late.ack().await, ErrorKind::Revoked, Sent::No)?;
    // The late one settled nothing: this one can be given back, and comes once more.
    again.settle(Verdict::Requeue).await?;
    delivery(&mut slow, "x").await?.ack().await?;
    amqp.send(message("consumer-timeout.slow", "goes on")?).await?;
    delivery(&mut slow, "goes on").await?.ack().await?;
    amqp.send(message("consumer-timeout.sibling", "untouched")?).await?;
    delivery(&mut sibling, "untouched").await?.ack().await?;
    Ok(())
}

pub(crate) async fn late_ack(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let proxy = Proxy::start(address).await?;
    let other = Other::connect(address).await?;
    let amqp = connect(proxy.address()).await?;
    let mut intake = amqp.consume(queue("late-ack")?.with_prefetch(1)).await?;
    amqp.send(message("late-ack", "x")?).await?;
    let first = delivery(&mut intake, "x").await?;
    proxy.cut();
    down(&mut intake).await?;
    proxy.heal();
    up(&mut intake).await?;
    // The first of its channel, as the late one was of its own.
    let second = delivery(&mut intake, "x").await?;
    check(second.attempt == Attempt::Redelivered, "it is not the first")?;
    refused(first.ack().await, ErrorKind::Revoked, Sent::No)?;
    // Were it settled, the broker would close the channel of who settles it again.
    drop(second);
    delivery(&mut intake, "x").await?.ack().await?;
    other.put("late-ack", "last").await?;
    delivery(&mut intake, "last").await?.ack().await?;
    other.until_waiting("late-ack", 0).await
}

pub(crate) async fn lost_link(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = connect(proxy.address()).await?;
    let mut watch = amqp.watch();
    told(&mut watch, Event::Up { gap: false }).await?;
    let mut intake = amqp.consume(queue("lost-link")?).await?;
    for text in ["at work", "in hand"] {
        amqp.send(message("lost-link", text)?).await?;
    }
    let at_work = delivery(&mut intake, "at work").await?;
    let in_hand = delivery(&mut intake, "in hand").await?;
    let handler = tokio::spawn(at_work.revoked());
    proxy.cut();
    down(&mut intake).await?;
    down(&mut watch).await?;
    soon("the handler to be told", handler).await??;
    soon("who asks later to be told as well", in_hand.revoked()).await
}

pub(crate) async fn prefetch(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    other.declare("prefetch", true).await?;
    for _ in 0..100 {
        other.put("prefetch", "x").await?;
    }
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("prefetch")?.with_prefetch(5)).await?;
    // Nobody reads.
    other.until_waiting("prefetch", 95).await?;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(delivery(&mut intake, "x").await?);
    }
    check(other.waiting("prefetch").await? == 95, "what is unsettled counts, read or not")?;
    for held in held.drain(..2) {
        held.ack().await?;
    }
    other.until_waiting("prefetch", 93).await
}

pub(crate) async fn quorum(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let amqp =
        options(address).with_queue_argument("x-queue-type", Value::Text("quorum".to_owned()));
    let amqp = amqp.connect().await?;
    let mut intake = amqp.consume(queue("quorum")?).await?;
    amqp.send(message("quorum", "x")?).await?;
    let first = delivery(&mut intake, "x").await?;
    let first_attempt = first.attempt;
    check(
        matches!(first_attempt, Attempt::Unknown | Attempt::Number(1)),
        format!("{first_attempt:?} is the first"),
    )?;
    first.settle(Verdict::Requeue).await?;
    for number in 2..5 {
        let again = delivery(&mut intake, "x").await?;
        let attempt = again.attempt;
        check(attempt == Attempt::Number(number), format!("{attempt:?} is number {number}"))?;
        again.settle(Verdict::Requeue).await?;
    }
    delivery(&mut intake, "x").await?.ack().await?;
    Ok(())
}

/// What a message says beside its payload, and what there is to compare it with.
fn labelled(scope: &Scope) -> Outcome<Message> {
    Ok(message("delayed.a.b", "x")?
        .with_scope(scope.clone())
        .with_content_type("text/x-odd")
        .with_id("id-7")
        .with_header("text", "kept")?
        .with_header("number", 7)?)
}

pub(crate) async fn delayed(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let amqp = options(address)
        .with_exchanges(sinew_adapter_amqp::ExchangePolicy::declare())
        .connect()
        .await?;
    let scope = Scope::parse("delayed.events")?;
    let wanted = sinew_core::Consumption::new(
        sinew_core::Queue::parse("delayed")?,
        sinew_core::Pattern::parse("delayed.>")?,
    );
    let mut intake = amqp.consume(wanted.with_scope(scope.clone())).await?;
    let sent = labelled(&scope)?;
    amqp.send(sent.clone()).await?;
    // A classic queue counts nothing: an immediate requeue in between is one delivery more, at least.
    for number in [2, 4] {
        let held = delivery(&mut intake, "x").await?;
        let since = std::time::Instant::now();
        held.settle(Verdict::RequeueAfter(Duration::from_millis(300))).await?;
        let again = soon("the delayed one", intake.next_item()).await?.ok_or("it ended")??;
        check(since.elapsed() >= Duration::from_millis(300), "no sooner than that")?;
        check(again.attempt == Attempt::Number(number), format!("{:?}", again.attempt))?;
        check(again.message.address == sent.address, format!("{:?}", again.message.address))?;
        let (properties, original) = (again.message.properties(), sent.properties());
        check(
            properties.map(|it| (&it.id, &it.content_type))
                == original.map(|it| (&it.id, &it.content_type)),
            format!("{properties:?}"),
        )?;
        for (name, value) in sent.headers.iter() {
            check(again.message.headers.value(name) == Some(value), format!("{name} is kept"))?;
        }
        again.settle(Verdict::Requeue).await?;
    }
    delivery(&mut intake, "x").await?.ack().await?;
    Ok(())
}

/// The copy is parked, and the first one's acknowledgement is lost with the link: both come, as documented.
pub(crate) async fn delayed_twice(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let tap = Tap::start(address).await?;
    let options: AmqpOptions = options(tap.address());
    let amqp = options.connect().await?;
    let mut intake = amqp.consume(queue("delayed-twice")?).await?;
    amqp.send(message("delayed-twice", "x")?).await?;
    let held = delivery(&mut intake, "x").await?;
    // Nobody knows yet; what publishes is the other connection.
    tap.strand(Tap::BASIC_CONSUME);
    let settled = held.settle(Verdict::RequeueAfter(Duration::from_millis(500)));
    // Whatever this says: it is handed over, or the broker has taken it back.
    drop(soon("an answer", settled).await?);
    down(&mut intake).await?;
    up(&mut intake).await?;
    let mut parked = Vec::new();
    for _ in 0..2 {
        let again = delivery(&mut intake, "x").await?;
        // The broker writes there where a message has waited before.
        parked.push(again.message.headers.value("x-death").is_some());
        again.ack().await?;
    }
    parked.sort_unstable();
    check(parked == [false, true], format!("one of them was parked: {parked:?}"))
}
