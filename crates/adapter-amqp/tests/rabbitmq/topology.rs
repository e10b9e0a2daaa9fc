//! What is declared, how often, and what becomes of the others when it cannot be.
use std::time::Duration;

use futures_util::{FutureExt as _, future::try_join_all};
use sinew_adapter_amqp::AmqpOptions;
use sinew_core::{
    Address, Consume as _, ErrorKind, Event, Link as _, Message, Pattern, Publish as _,
    PublishExt as _, Scope, Sent, Subject, Subscribe as _, Subscription, Value,
};
use sinew_testkit::harness::{Proxy, rabbitmq::Tap};
use tokio::time;

use crate::support::{
    Other, Outcome, Shared, check, connect, delivery, down, event, failure, message, options,
    queue, refused, soon, told, up,
};

/// Needs a clock of its own, which it sets forward.
pub(crate) async fn binds_once(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let tap = Tap::start(proxy.address()).await?;
    let amqp = options(tap.address()).with_heartbeat(Duration::from_secs(600)).connect().await?;
    let names = ["binds-once.a", "binds-once.b"];
    let mut intakes = Vec::new();
    for name in names {
        intakes.push(amqp.consume(queue(name)?).await?);
    }
    for round in 1..=20 {
        // The wait before an attempt is short again after a connection that has lived.
        time::pause();
        time::advance(Duration::from_secs(6)).await;
        time::resume();
        proxy.cut();
        for intake in &mut intakes {
            down(intake).await?;
        }
        proxy.heal();
        for intake in &mut intakes {
            let gap = up(intake).await?;
            check(!gap, "a durable queue keeps what comes meanwhile")?;
        }
        for name in names {
            let binds = tap.binds(name);
            check(binds == round + 1, format!("{name} is bound once each: {binds} at {round}"))?;
        }
    }
    for (name, intake) in names.into_iter().zip(&mut intakes) {
        for payload in ["first", "second"] {
            amqp.send(message(name, payload)?).await?;
            delivery(intake, payload).await?.ack().await?;
        }
    }
    Ok(())
}

/// A handler that ends during a drain may have something to give up.
pub(crate) async fn declared_while_draining(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("draining")?).await?;
    amqp.send(message("draining", "held")?).await?;
    let held = delivery(&mut intake, "held").await?;
    let draining = tokio::spawn({
        let amqp = amqp.clone();
        async move { amqp.drain(Duration::from_secs(20)).await }
    });
    while soon("the end of the intake", intake.next()).await?.is_some() {}
    amqp.declare(queue("draining.errors")?).await?;
    amqp.send(message("draining.errors", "copy")?).await?;
    held.ack().await?;
    soon("the end of the drain", draining).await???;
    Other::connect(address).await?.until_waiting("draining.errors", 1).await
}

pub(crate) async fn bad_declaration(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    other.declare("bad-declaration.taken", false).await?;
    let amqp = connect(address).await?;
    let mut watch = amqp.watch();
    told(&mut watch, Event::Up { gap: false }).await?;
    let mut sibling = amqp.consume(queue("bad-declaration.sibling")?).await?;
    amqp.send(message("bad-declaration.sibling", "held")?).await?;
    let held = delivery(&mut sibling, "held").await?;
    let revoked = held.revoked();

    let mut pending = Vec::new();
    for number in 0..100 {
        let text = format!("message {number}");
        pending.push(amqp.publish(message("bad-declaration.sibling", &text)?).await?);
    }
    let conflict = amqp.consume(queue("bad-declaration.taken")?).await;
    refused(conflict, ErrorKind::Conflict, Sent::No)?;
    let missing = Scope::parse("bad-declaration.no-exchange")?;
    let subscription = Subscription::new(Pattern::parse("a")?).with_scope(missing);
    refused(amqp.subscribe(subscription).await, ErrorKind::NotFound, Sent::No)?;

    try_join_all(pending).await?;
    check(revoked.now_or_never().is_none(), "what the sibling holds is its own")?;
    held.ack().await?;
    for number in 0..100 {
        delivery(&mut sibling, &format!("message {number}")).await?.ack().await?;
    }
    check(watch.next().now_or_never().is_none(), "the link was up throughout")
}

pub(crate) async fn deleted_queue(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("deleted-queue")?).await?;
    for round in 0..3 {
        let text = format!("round {round}");
        amqp.send(message("deleted-queue", &text)?).await?;
        delivery(&mut intake, &text).await?.ack().await?;
        other.delete("deleted-queue").await?;
        down(&mut intake).await?;
        check(up(&mut intake).await?, "what came meanwhile went nowhere: a gap")?;
    }
    Ok(())
}

pub(crate) async fn changed_while_away(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let proxy = Proxy::start(address).await?;
    let other = Other::connect(address).await?;
    // After three heartbeats and an answer's time nobody holds a queue any more who was cut off.
    let near = options(proxy.address()).with_answer_timeout(Duration::from_secs(4));
    let amqp = near.connect().await?;
    let mut changed = amqp.consume(queue("changed-while-away.a")?).await?;
    let mut same = amqp.consume(queue("changed-while-away.b")?).await?;
    proxy.cut();
    down(&mut changed).await?;
    down(&mut same).await?;
    other.delete("changed-while-away.a").await?;
    other.declare("changed-while-away.a", false).await?;
    proxy.heal();
    up(&mut same).await?;
    amqp.send(message("changed-while-away.b", "goes on")?).await?;
    delivery(&mut same, "goes on").await?.ack().await?;
    let err = failure(&mut changed).await?;
    check(err.kind() == ErrorKind::Conflict, format!("{err:?} is a conflict"))?;
    check(!err.is_transient(), "no matter of time")?;
    amqp.send(message("changed-while-away.b", "still")?).await?;
    delivery(&mut same, "still").await?.ack().await?;
    Ok(())
}

pub(crate) async fn exclusive_and_stranded(shared: Shared) -> Outcome {
    let tap = Tap::start(shared.address().await?).await?;
    let amqp = options(tap.address()).connect().await?;
    let wanted = queue("exclusive-and-stranded")?
        .with_lifetime(sinew_core::Lifetime::UntilUnused)
        .with_exclusive(true);
    let mut intake = amqp.consume(wanted).await?;
    amqp.send(message("exclusive-and-stranded", "before")?).await?;
    delivery(&mut intake, "before").await?.ack().await?;
    // The broker takes the connection for alive, and keeps the queue for it alone.
    tap.strand(Tap::BASIC_CONSUME);
    down(&mut intake).await?;
    check(up(&mut intake).await?, "the queue is another one")?;
    amqp.send(message("exclusive-and-stranded", "after")?).await?;
    delivery(&mut intake, "after").await?.ack().await?;
    Ok(())
}

pub(crate) async fn long_names(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("long-names")?).await?;
    let long = "x".repeat(256);
    let invalid = |message| async {
        match amqp.send(message).await {
            Err(err) if !err.is_transient() && err.sent() == Sent::No => Ok(err.kind()),
            other => Err(format!("{other:?} for a name of 256 bytes")),
        }
    };
    let foreign = Message::to(Address::Foreign(None, long.clone().into()), "");
    check(invalid(foreign).await? == ErrorKind::InvalidSubject, "a routing key")?;
    let plain = || message("long-names", "");
    check(
        invalid(plain()?.with_header(&long, "x")?).await? == ErrorKind::InvalidHeader,
        "the name of a header",
    )?;
    let inner = Value::Map(vec![(long.clone(), Value::Null)]);
    check(
        invalid(plain()?.with_header("table", inner)?).await? == ErrorKind::InvalidHeader,
        "a name in a header",
    )?;
    for message in [
        plain()?.with_id(long.clone()),
        plain()?.with_correlation_id(long.clone()),
        plain()?.with_content_type(long.clone()),
        plain()?.with_content_encoding(long.clone()),
    ] {
        check(invalid(message).await? == ErrorKind::InvalidOptions, "a property")?;
    }
    for options in [
        options(address).with_default_exchange(long.clone()),
        options(address).with_vhost(long.clone()),
        options(address).with_name(long.clone()),
        options(address).with_queue_argument(long.clone(), Value::Null),
    ] {
        refused(AmqpOptions::connect(options).await, ErrorKind::InvalidOptions, Sent::No)?;
    }
    // One byte less is carried.
    let most = "x".repeat(255);
    let longest = queue(&most)?.and(&Subject::parse("long-names.most")?);
    let mut of_longest = amqp.consume(longest).await?;
    amqp.send(message(&most, "most")?.with_header(&most, "x")?.with_id(most.clone())).await?;
    let came = delivery(&mut of_longest, "most").await?;
    check(came.message.headers.text(&most) == Some("x"), "a header's name of 255 bytes")?;
    amqp.send(message("long-names", "goes on")?).await?;
    delivery(&mut intake, "goes on").await?;
    Ok(())
}

pub(crate) async fn tables(shared: Shared) -> Outcome {
    let amqp = connect(shared.address().await?).await?;
    let mut watch = amqp.watch();
    event(&mut watch, "up").await?;
    let mut intake = amqp.consume(queue("tables")?).await?;
    let text = |text: &str| Value::Text(text.to_owned());
    let values = [
        ("empty", text("")),
        ("short", text("a")),
        ("long", text(&"long ".repeat(1000))),
        ("stack", Value::List(vec![text("a.1"), text("b.2")])),
        (
            "table",
            // Sorted, as the client keeps them.
            Value::Map(vec![
                ("a-name".to_owned(), text("value")),
                (
                    "deeper".to_owned(),
                    Value::Map(vec![("list".to_owned(), Value::List(vec![text("x")]))]),
                ),
            ]),
        ),
    ];
    let mut sent = message("tables", "x")?;
    for (name, value) in &values {
        sent = sent.with_header(name, value.clone())?;
    }
    amqp.send(sent).await?;
    let came = delivery(&mut intake, "x").await?;
    for (name, value) in &values {
        check(came.message.headers.value(name) == Some(value), format!("{name} arrives as sent"))?;
    }
    // The broker closes the connection of whoever sends it a table that it cannot read.
    check(watch.next().now_or_never().is_none(), "the link was up throughout")
}
