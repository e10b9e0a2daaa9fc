//! What is in somebody else's hands: connections that he made, deliveries that he keeps, and the broker's own account of
//! what was asked for.
use std::{net::SocketAddr, time::Duration};

use sinew_adapter_amqp::{
    Amqp, AmqpOptions,
    lapin::{Connection, ConnectionProperties},
};
use sinew_core::{
    Attempt, Buffer, Consume as _, ErrorKind, Event, Lifetime, Link as _, Overflow, Pattern,
    PublishExt as _, Queue, Request as _, Sent, Subscribe as _, Subscription, Verdict,
};
use sinew_testkit::harness::{Proxy, rabbitmq::RabbitMqOptions};
use tokio::time::interval;

use crate::support::{
    Outcome, Shared, address, check, connect, delivery, failure, message, queue, refused, soon,
    told,
};

/// A broker of its own, which is impatient.
pub(crate) async fn beyond_its_intake() -> Outcome {
    let broker =
        RabbitMqOptions::new().with_consumer_timeout(Duration::from_secs(3)).start().await?;
    let amqp = connect(address(&broker)).await?;
    let mut intake = amqp.consume(queue("beyond-its-intake")?).await?;
    amqp.send(message("beyond-its-intake", "x")?).await?;
    let held = delivery(&mut intake, "x").await?;
    drop(intake);
    soon("the broker to take it back", held.revoked()).await?;
    let mut other = amqp.consume(queue("beyond-its-intake")?).await?;
    let again = delivery(&mut other, "x").await?;
    check(again.attempt == Attempt::Redelivered, format!("{:?} is not the first", again.attempt))?;
    refused(held.ack().await, ErrorKind::Revoked, Sent::No)?;
    again.ack().await?;
    Ok(())
}

/// Two connections that this one made.
async fn given(at: SocketAddr, properties: fn() -> ConnectionProperties) -> Outcome<Amqp> {
    let url = format!("amqp://guest:guest@{at}/%2f");
    let publishing = Connection::connect(&url, properties()).await?;
    let consuming = Connection::connect(&url, properties()).await?;
    Ok(Amqp::from_connections(publishing, consuming, &AmqpOptions::new("amqp://ann@h")).await?)
}

pub(crate) async fn given_connections(shared: Shared) -> Outcome {
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = given(proxy.address(), ConnectionProperties::default).await?;
    let mut watch = amqp.watch();
    told(&mut watch, Event::Up { gap: false }).await?;
    let mut intake = amqp.consume(queue("given")?).await?;
    amqp.send(message("given", "x")?).await?;
    delivery(&mut intake, "x").await?.ack().await?;

    let mut questions = amqp.subscribe(Subscription::new(Pattern::parse("given.ask")?)).await?;
    let mut replies = amqp.request(message("given.ask", "?")?).await?;
    let question = soon("the question", questions.next_item()).await?.ok_or("it ended")??;
    amqp.send(question.reply("yes").ok_or("nobody asked")?).await?;
    let reply = soon("the reply", replies.next_item()).await?.ok_or("it ended")??;
    check(reply.payload == "yes", format!("{reply:?}"))?;

    // Neither the one that the options name nor any other is known to be logged in.
    for user in ["ann", "guest"] {
        let claim = message("given", "x")?.with_user_id(user);
        refused(amqp.send(claim).await, ErrorKind::Denied, Sent::No)?;
    }

    proxy.cut();
    for err in [failure(&mut intake).await?, failure(&mut watch).await?] {
        check(err.kind() == ErrorKind::Closed, format!("{err:?} says that it is closed"))?;
    }
    check(amqp.send(message("given", "late")?).await.is_err(), "nothing is sent any more")
}

/// Heals and cuts, for ever.
async fn flap(proxy: &Proxy) {
    let mut turn = interval(Duration::from_millis(50));
    loop {
        turn.tick().await;
        proxy.heal();
        turn.tick().await;
        proxy.cut();
    }
}

/// The client says nothing of it, so it is found out when it happens: late, or when it is over already.
pub(crate) async fn given_recovering(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    let at = address(broker);
    let recovering = || {
        ConnectionProperties::default()
            .with_connection_name("given-recovering".into())
            .configure_backoff(|it| it.with_min_delay(Duration::from_millis(1)).with_max_times(99))
            .enable_auto_recover()
    };
    let refuses = |err: sinew_core::Error| {
        check(
            err.kind() == ErrorKind::InvalidOptions && err.to_string().contains("auto-recovery"),
            format!("{err:?} names it"),
        )
    };
    for stays_away in [true, false] {
        // Each round its own: an ack that the cut takes along lets the message come again.
        let name = &format!("given-recovering.{stays_away}");
        let proxy = Proxy::start(at).await?;
        let amqp = given(proxy.address(), recovering).await?;
        let mut intake = amqp.consume(queue(name)?).await?;
        // Some time passes: what is told of the first connection must not be taken for the second one.
        amqp.send(message(name, "x")?).await?;
        let first = delivery(&mut intake, "x").await?;
        first.settle(Verdict::RequeueAfter(Duration::from_millis(500))).await?;
        delivery(&mut intake, "x").await?.ack().await?;
        proxy.cut();
        let ended = async {
            refuses(failure(&mut amqp.watch()).await?)?;
            refuses(failure(&mut intake).await?)
        };
        tokio::select! {
            ended = ended => ended?,
            () = flap(&proxy), if !stays_away => {}
        }
        proxy.heal();
        soon("the end of what was made again", async {
            let columns = ["list_connections", "client_properties"];
            while broker.list(&columns).await?.iter().any(|it| it.to_string().contains("given-rec"))
            {
            }
            Outcome::Ok(())
        })
        .await??;
    }
    Ok(())
}

pub(crate) async fn flags(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    let amqp = connect(address(broker)).await?;
    let unused =
        |name| Ok::<_, sinew_core::Error>(queue(name)?.with_lifetime(Lifetime::UntilUnused));
    let _intakes = [
        amqp.consume(queue("flags.durable")?).await?,
        amqp.consume(unused("flags.unused")?).await?,
        amqp.consume(unused("flags.exclusive")?.with_exclusive(true)).await?,
    ];
    let columns = ["list_queues", "name", "durable", "auto_delete", "exclusive", "arguments"];
    let queues = broker.list(&columns).await?;
    // The broker says of an exclusive one that it is not durable, whatever was declared.
    for (name, durable, auto_delete, exclusive) in [
        ("flags.durable", true, false, false),
        ("flags.unused", true, true, false),
        ("flags.exclusive", false, true, true),
    ] {
        let shown = queues.iter().find(|it| it["name"] == name).ok_or(name)?;
        // From 4 on the broker names the type that it chose; nobody is refused for that.
        let is_bare = shown["arguments"].as_object().is_some_and(|it| it.is_empty())
            || shown["arguments"].as_array().is_some_and(|it| {
                it.iter().all(|it| it[0] == "x-queue-type" && it[2] == "classic")
            });
        check(
            shown["durable"] == durable
                && shown["auto_delete"] == auto_delete
                && shown["exclusive"] == exclusive
                && is_bare,
            shown,
        )?;
    }
    Ok(())
}

pub(crate) async fn subscribers_prefetch(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    let amqp = connect(address(broker)).await?;
    let mut intakes = Vec::new();
    for (group, messages) in [("prefetch-7", 7), ("prefetch-all", usize::MAX)] {
        let few = Buffer::default().with_messages(messages).with_overflow(Overflow::Block);
        let wanted = Subscription::new(Pattern::parse("subscribers-prefetch")?)
            .with_group(Queue::parse(group)?)
            .with_buffer(few);
        intakes.push(amqp.subscribe(wanted).await?);
    }
    let consumers = broker.list(&["list_consumers", "queue_name", "prefetch_count"]).await?;
    for (group, prefetch) in [("prefetch-7", 7), ("prefetch-all", 1024)] {
        let of_group = |name: &str| name.starts_with("sinew.group.") && name.ends_with(group);
        let shown = consumers.iter().find(|it| it["queue_name"].as_str().is_some_and(of_group));
        let shown = shown.ok_or(group)?;
        check(shown["prefetch_count"] == prefetch, shown)?;
    }
    Ok(())
}
