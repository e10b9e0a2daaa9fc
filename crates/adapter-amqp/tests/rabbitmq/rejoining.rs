//! Intakes that come back to a queue that is not what it was.
use std::time::Duration;

use sinew_adapter_amqp::lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions},
    types::FieldTable,
};
use sinew_core::{
    Buffer, Consume as _, Consumption, ErrorKind, Event, Lifetime, Overflow, Pattern,
    PublishExt as _, Queue, Request as _, Scope, Subscribe as _, Subscription,
};
use sinew_testkit::harness::{Proxy, rabbitmq::Tap};
use tokio::{runtime::Builder, time::interval};

use crate::support::{
    Other, Outcome, Shared, check, connect, delivery, down, event, failure, message, options,
    queue, soon, up,
};

/// One that is full does not look, and is a member of the old queue for as long.
pub(crate) async fn unread_member(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let tap = Tap::start(address).await?;
    let amqp = options(tap.address()).connect().await?;
    let group = || -> sinew_core::Result<Subscription> {
        let pattern = Pattern::parse("unread-member")?;
        Ok(Subscription::new(pattern).with_group(Queue::parse("unread-member")?))
    };
    let mut read = amqp.subscribe(group()?).await?;
    let full = Buffer::default().with_messages(1).with_overflow(Overflow::Block);
    let unread = amqp.subscribe(group()?.with_buffer(full)).await?;
    for _ in 0..8 {
        amqp.send(message("unread-member", "before")?).await?;
    }
    let name = tap.bound().ok_or("no queue was bound")?;
    other.delete(&name).await?;
    while !matches!(event(&mut read, "up").await?, Event::Up { gap: true }) {}
    // More than fit in the one that nobody reads.
    for _ in 0..8 {
        amqp.send(message("unread-member", "after")?).await?;
    }
    while !matches!(event(&mut read, "after").await?, Event::Item(it) if it.payload == "after") {}
    drop(unread);
    Ok(())
}

/// The broker deletes the queue some time between our leaving and our coming back.
pub(crate) async fn back_at_once(shared: Shared) -> Outcome {
    let amqp = connect(shared.address().await?).await?;
    for round in 0..20 {
        let wanted = queue("back-at-once")?.with_lifetime(Lifetime::UntilUnused);
        let mut intake = amqp.consume(wanted).await?;
        let text = format!("round {round}");
        amqp.send(message("back-at-once", &text)?).await?;
        delivery(&mut intake, &text).await?.ack().await?;
    }
    Ok(())
}

/// It went with the link; that somebody else has made it again does not bring back what came meanwhile.
pub(crate) async fn made_again(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let proxy = Proxy::start(address).await?;
    let (near, far) = (connect(proxy.address()).await?, connect(address).await?);
    let wanted =
        || Ok::<_, sinew_core::Error>(queue("made-again")?.with_lifetime(Lifetime::UntilUnused));
    let mut intake = near.consume(wanted()?).await?;
    proxy.cut();
    down(&mut intake).await?;
    let _again = far.consume(wanted()?).await?;
    proxy.heal();
    check(up(&mut intake).await?, "what came meanwhile went nowhere: a gap")
}

/// Its owner lost the link as well, and comes back after us.
pub(crate) async fn owner_is_later(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let other = Other::connect(address).await?;
    let declare = || {
        let (name, options) = ("owner-is-later.events".into(), ExchangeDeclareOptions::default());
        other.channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default())
    };
    declare().await?;
    let proxy = Proxy::start(address).await?;
    let tap = Tap::start(proxy.address()).await?;
    let amqp = options(tap.address()).connect().await?;
    let scope = Scope::parse("owner-is-later.events")?;
    let pattern = Pattern::parse("a")?;
    let wanted =
        Consumption::new(Queue::parse("owner-is-later")?, pattern).with_scope(scope.clone());
    let mut intake = amqp.consume(wanted).await?;
    proxy.cut();
    down(&mut intake).await?;
    let gone = ExchangeDeleteOptions::default();
    other.channel.exchange_delete("owner-is-later.events".into(), gone).await?;
    let asked = tap.count(Tap::EXCHANGE_DECLARE);
    proxy.heal();
    soon("a second attempt", async {
        let mut look = interval(Duration::from_millis(20));
        while tap.count(Tap::EXCHANGE_DECLARE) < asked + 2 {
            look.tick().await;
        }
    })
    .await?;
    declare().await?;
    check(!up(&mut intake).await?, "the queue was there")?;
    amqp.send(message("a", "bound")?.with_scope(scope)).await?;
    delivery(&mut intake, "bound").await?.ack().await?;
    Ok(())
}

pub(crate) async fn runtime_gone(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let opening = async move {
        let amqp = connect(address).await?;
        let intake = amqp.consume(queue("runtime-gone")?).await?;
        let asked = amqp.request(message("runtime-gone", "?")?).await?;
        // The link outlives its runtime in the caller's hands.
        Outcome::Ok((amqp, intake, asked))
    };
    let (_amqp, mut intake, mut asked) = home.spawn(opening).await??;
    home.shutdown_background();
    let intake = failure(&mut intake).await?;
    let asked = failure(&mut asked).await?;
    for err in [intake, asked] {
        check(err.kind() == ErrorKind::Closed, format!("{err:?} says that it is closed"))?;
    }
    Ok(())
}
