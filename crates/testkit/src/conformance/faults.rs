//! Faults: a broker that is killed, frozen and restarted under the traffic.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sinew_core::{
    AnyBackend, BoxFuture, Consume, Delivery, Error, ErrorKind, Event, Incoming, Link, Message,
    Persistence, Property, Publish, PublishExt, Request, Sent, Subscribe,
};
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    settlement::Work,
    support::{RETRY, message, numbered, poll_once, refused, text},
    tally::Tally,
    when,
};
use crate::Fault;

behaviours! { "faults", with Fault::OUTAGES;
    when::always => a_killed_broker_is_told_to_watchers,
    when::publishes_and_subscribes => a_subscription_goes_on_after_a_restart,
    when::publishes_and_consumes => a_queue_goes_on_after_a_restart,
    when::keeps_what_it_confirms => no_confirmed_message_is_lost_by_a_restart,
    when::publishes => a_publish_while_the_broker_is_down_is_honest,
    when::publishes => what_was_in_flight_at_a_kill_is_answered,
    when::publishes_and_consumes => a_kill_revokes_deliveries,
    when::answers => a_request_in_flight_at_a_kill_does_not_hang,
    when::always => a_drain_while_the_broker_is_down_ends,
    when::carries => a_frozen_broker_delays_and_loses_nothing,
    when::always => nothing_hangs_for_ever_on_a_frozen_broker,
    when::always => a_drain_on_a_frozen_broker_ends,
}

async fn a_killed_broker_is_told_to_watchers(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let mut watch = backend.link().watch();
    cx.until(&mut watch, "up", is_up).await?;
    for _ in 0..2 {
        cx.fault(Fault::Kill).await?;
        cx.until(&mut watch, "down", is_down).await?;
        // Who comes later is told the same.
        let mut late = backend.link().watch();
        let first = cx.event(&mut late, "the state of now").await?;
        ensure(is_down(&first), || format!("down was promised, {first:?} came"))?;
        cx.fault(Fault::Start).await?;
        cx.until(&mut watch, "up", is_up).await?;
        cx.until(&mut late, "up", is_up).await?;
    }
    Ok(())
}

async fn a_subscription_goes_on_after_a_restart(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject) = (far.publisher()?, cx.subject("goes-on")?);
    let mut incoming = cx.subscribe(&near, cx.subscription(&subject)).await?;
    for round in 0..2 {
        let before = format!("before-{round}");
        cx.send_until_done(&publisher, message(&subject, before.clone())?).await?;
        cx.until(&mut incoming, &before, |event| is_text(event, &before)).await?;
        cx.fault(Fault::Kill).await?;
        cx.until(&mut incoming, "down", is_down).await?;
        cx.fault(Fault::Start).await?;
        let up = cx.until(&mut incoming, "up", is_up).await?;
        if cx.capabilities().persistence < Persistence::Disk {
            ensure_eq("what was missed", up_gap(&up), Some(true))?;
        }
        // Up means registered: what is published from now on arrives.
        let after = format!("after-{round}");
        cx.send_until_done(&publisher, message(&subject, after.clone())?).await?;
        cx.until(&mut incoming, &after, |event| is_text(event, &after)).await?;
    }
    Ok(())
}

async fn a_queue_goes_on_after_a_restart(cx: &Context) -> Outcome {
    let work = Work::open(cx, "goes-on").await?;
    let far = cx.connect().await?.publisher()?;
    let mut queue = work.consume().await?;
    for round in 0..2 {
        let before = format!("before-{round}");
        cx.send_until_done(&far, message(&work.subject, before.clone())?).await?;
        take_until(cx, &mut queue, &before).await?;
        cx.fault(Fault::Kill).await?;
        cx.until(&mut queue, "down", is_down).await?;
        cx.fault(Fault::Start).await?;
        cx.until(&mut queue, "up", is_up).await?;
        let after = format!("after-{round}");
        cx.send_until_done(&far, message(&work.subject, after.clone())?).await?;
        take_until(cx, &mut queue, &after).await?;
    }
    Ok(())
}

async fn no_confirmed_message_is_lost_by_a_restart(cx: &Context) -> Outcome {
    const COUNT: u32 = 600;
    let work = Work::open(cx, "confirmed").await?;
    let mut queue = work.consume().await?;
    // RabbitMQ confirms what no queue takes, and killed, it may forget a binding that it made a moment before.
    let must_route = cx.capabilities().properties.has(Property::MustRoute);
    let publishing = async {
        let far = cx.connect().await?.publisher()?;
        for text in numbered("m", COUNT * cx.pace().rounds) {
            let message = message(&work.subject, text)?.with_must_route(must_route);
            cx.send_until_done(&far, message).await?;
        }
        Ok(())
    };
    let mut tally = Tally::new(numbered("m", COUNT * cx.pace().rounds));
    let consuming = async {
        let mut settled = 0;
        while !tally.is_complete() {
            let what = format!("one of {:?}", tally.missing());
            match cx.event(&mut queue, what).await? {
                Event::Item(delivery) => {
                    tally.count(&delivery.message);
                    // One whose answer is lost with the broker comes again.
                    drop(cx.soon("an answer to the ack", delivery.ack()).await?);
                    settled += 1;
                }
                Event::Lost(count) => {
                    return Err(Failure::new(format!("a queue lost {count} messages")));
                }
                _ => {}
            }
            if settled == COUNT / 3 || settled == COUNT * 2 / 3 {
                cx.fault(Fault::Kill).await?;
                cx.fault(Fault::Start).await?;
                settled += 1;
            }
        }
        Ok(())
    };
    tokio::try_join!(publishing, consuming).map(drop)
}

async fn a_publish_while_the_broker_is_down_is_honest(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("down")?);
    let mut watch = backend.link().watch();
    cx.until(&mut watch, "up", is_up).await?;
    cx.fault(Fault::Kill).await?;
    cx.until(&mut watch, "down", is_down).await?;
    let mut sending = tokio::task::JoinSet::new();
    for text in numbered("m", 5) {
        let (publisher, sent) = (publisher.clone(), message(&subject, text)?);
        sending.spawn(async move { publisher.send(sent).await });
    }
    cx.quiet(1).await;
    while let Some(done) = sending.try_join_next() {
        match done.map_err(|died| Failure::new(died.to_string()))? {
            Ok(receipt) => {
                return Err(Failure::new(format!("{receipt:?} came while the broker was down")));
            }
            Err(err) => is_honest(&err)?,
        }
    }
    // The others wait for the broker to come back.
    cx.fault(Fault::Start).await?;
    while let Some(done) = cx.soon("an answer after the restart", sending.join_next()).await? {
        if let Err(err) = done.map_err(|died| Failure::new(died.to_string()))? {
            is_honest(&err)?;
        }
    }
    cx.send_until_done(&publisher, message(&subject, "after")?).await.map(drop)
}

async fn what_was_in_flight_at_a_kill_is_answered(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("in-flight")?);
    let mut watch = backend.link().watch();
    cx.until(&mut watch, "up", is_up).await?;
    let mut tasks = tokio::task::JoinSet::new();
    let (under_way, over) = (Arc::new(Barrier::new(5)), Arc::new(AtomicBool::new(false)));
    for by in 0..4 {
        let (cx, publisher, subject) = (cx.clone(), publisher.clone(), subject.clone());
        let (under_way, over) = (Arc::clone(&under_way), Arc::clone(&over));
        tasks.spawn(async move {
            for round in 0_u32.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let sending = publisher.send(message(&subject, format!("by-{by}-{round}"))?);
                if let Err(err) = cx.soon("an answer to what was in flight", sending).await? {
                    is_honest(&err)?;
                    // As a service would, before it tries again.
                    sleep(Duration::from_millis(2)).await;
                }
                if round == 10 {
                    under_way.wait().await;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    cx.soon("ten answers to each", under_way.wait()).await?;
    cx.fault(Fault::Kill).await?;
    cx.until(&mut watch, "down", is_down).await?;
    // Each publishes to nobody meanwhile, or waits.
    cx.quiet(1).await;
    cx.fault(Fault::Start).await?;
    cx.until(&mut watch, "up", is_up).await?;
    over.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.map_err(|died| Failure::new(died.to_string()))??;
    }
    cx.send_until_done(&publisher, message(&subject, "after")?).await?;
    // What was lost on the way was told above, or is told here, once; then there is nothing more to tell.
    drop(cx.soon("the flush", publisher.flush()).await?);
    cx.soon("the second flush", publisher.flush()).await?.during("flush after all was told")
}

async fn a_kill_revokes_deliveries(cx: &Context) -> Outcome {
    let work = Work::open(cx, "revoked").await?;
    let mut queue = work.consume().await?;
    work.publish(2).await?;
    let held = work.take(&mut queue, 2).await?;
    // After a round trip, at least, of nothing that could revoke them.
    cx.soon("the flush", work.publisher.flush()).await?.during("flush")?;
    for delivery in &held {
        let early = poll_once(delivery.revoked()).await;
        ensure(early.is_none(), || "a delivery was revoked while the link was up".to_owned())?;
    }
    cx.fault(Fault::Kill).await?;
    for delivery in &held {
        cx.soon("the news that the delivery is revoked", delivery.revoked()).await?;
    }
    cx.fault(Fault::Start).await?;
    cx.until(&mut queue, "up", is_up).await?;
    for delivery in held {
        // A later life of the link has nothing to do with it.
        let answer = cx.soon("an answer", delivery.ack()).await?;
        let kinds = [ErrorKind::Revoked, ErrorKind::Disconnected];
        refused("an ack across a restart", answer, &kinds)?;
    }
    if cx.capabilities().persistence >= Persistence::Disk {
        work.yields(queue, numbered("m", 2)).await?;
    }
    Ok(())
}

async fn a_request_in_flight_at_a_kill_does_not_hang(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let subject = cx.subject("asked")?;
    let mut desk = cx.subscribe(&far, cx.subscription(&subject)).await?;
    let requester = near.requester()?;
    let mut replies = requester.request(message(&subject, "?")?).await.during("request")?;
    cx.item(&mut desk, "the question").await?;
    cx.fault(Fault::Kill).await?;
    let told = cx.soon("news of the link, or the end", replies.next()).await?;
    if let Some(Ok(event)) = told {
        ensure(!matches!(event, Event::Item(_)), || "a reply came from a dead broker".to_owned())?;
    }
    drop(replies);
    cx.fault(Fault::Start).await?;
    cx.until(&mut desk, "up", is_up).await?;
    let publisher = far.publisher()?;
    cx.soon("a reply after the restart", async {
        loop {
            let Ok(mut replies) = requester.request(message(&subject, "again?")?).await else {
                sleep(RETRY).await;
                continue;
            };
            // Where nobody was heard yet, it is asked again.
            let asked = timeout(RETRY * 10, desk.next_item()).await;
            let Ok(Some(Ok(asked))) = asked else { continue };
            let reply = asked.reply("yes").ok_or_else(|| Failure::new("nobody asked"))?;
            publisher.send(reply).await.during("reply")?;
            match replies.next_item().await {
                Some(Ok(reply)) => return ensure_eq("the reply", text(&reply), "yes"),
                _ => continue,
            }
        }
    })
    .await?
}

async fn a_drain_while_the_broker_is_down_ends(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let mut watch = backend.link().watch();
    cx.until(&mut watch, "up", is_up).await?;
    cx.fault(Fault::Kill).await?;
    cx.until(&mut watch, "down", is_down).await?;
    drain_ends(cx, &backend).await
}

async fn a_drain_on_a_frozen_broker_ends(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    if let Ok(publisher) = backend.publisher() {
        cx.send(&publisher, message(cx.subject("frozen")?, "x")?).await?;
    }
    cx.fault(Fault::Freeze).await?;
    let ended = drain_ends(cx, &backend).await;
    cx.fault(Fault::Thaw).await?;
    ended
}

/// It takes `within` at most, and the link is closed whatever it says.
async fn drain_ends(cx: &Context, backend: &AnyBackend) -> Outcome {
    match cx.soon("the end of a drain", backend.link().drain(WITHIN)).await? {
        Ok(()) => {}
        Err(err) => {
            let kinds = [ErrorKind::Timeout, ErrorKind::Disconnected];
            refused::<()>("a drain", Err(err), &kinds)?;
        }
    }
    if let Ok(publisher) = backend.publisher() {
        let sent = cx.soon("an answer", publisher.send(message(cx.subject("x")?, "x")?)).await?;
        refused("a publish after the drain", sent, &[ErrorKind::Closed])?;
    }
    Ok(())
}

/// A pause too short for anyone to give up.
async fn a_frozen_broker_delays_and_loses_nothing(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject) = (far.publisher()?, cx.subject("frozen")?);
    let mut intakes = cx.intakes_of(&near, &subject).await?;
    cx.send_all(&publisher, &subject, numbered("before", 20)).await?;
    cx.fault(Fault::Freeze).await?;
    let sending = tokio::spawn({
        let (cx, publisher, subject) = (cx.clone(), publisher.clone(), subject.clone());
        async move { cx.send_all(&publisher, &subject, numbered("frozen", 20)).await }
    });
    cx.quiet(2).await;
    cx.fault(Fault::Thaw).await?;
    sending.await.map_err(|died| Failure::new(died.to_string()))?.during("through a freeze")?;
    cx.send_all(&publisher, &subject, numbered("after", 20)).await?;
    let promised = ["before", "frozen", "after"].into_iter().flat_map(|it| numbered(it, 20));
    let promised = Tally::new(promised).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

/// Whatever is asked meanwhile either fails, or waits and is done once the broker goes on.
async fn nothing_hangs_for_ever_on_a_frozen_broker(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("asked-of-a-frozen-one")?;
    let has = cx.capabilities();
    cx.fault(Fault::Freeze).await?;
    let mut asked = tokio::task::JoinSet::new();
    let mut spawn = |what: &'static str, asking: BoxFuture<'static, Result<(), Error>>| {
        let cx = cx.clone();
        asked.spawn(async move {
            match cx.soon(format!("an answer to a {what}"), asking).await? {
                Err(err) if !err.is_transient() => Err(err).during(format_args!("a {what}")),
                _ => Ok(()),
            }
        });
    };
    if when::publishes(has) {
        let publisher = backend.publisher()?;
        let sent = message(&subject, "x")?;
        spawn(
            "publish",
            Box::pin(async move {
                publisher.send(sent).await?;
                publisher.flush().await
            }),
        );
    }
    if when::subscribes(has) {
        let (subscriber, wanted) = (backend.subscriber()?, cx.subscription(&subject));
        spawn("subscribe", Box::pin(async move { subscriber.subscribe(wanted).await.map(drop) }));
    }
    if when::consumes(has) {
        let (consumer, wanted) = (backend.consumer()?, cx.consumption("frozen", &subject)?);
        spawn("consume", Box::pin(async move { consumer.consume(wanted).await.map(drop) }));
    }
    if when::answers(has) {
        let (requester, asking) = (backend.requester()?, message(&subject, "?")?);
        spawn("request", Box::pin(async move { requester.request(asking).await.map(drop) }));
    }
    cx.quiet(2).await;
    cx.fault(Fault::Thaw).await?;
    while let Some(done) = asked.join_next().await {
        done.map_err(|died| Failure::new(died.to_string()))??;
    }
    Ok(())
}

/// Takes and acks deliveries until one says `wanted`; others may be repeated by the restart.
async fn take_until(cx: &Context, queue: &mut Incoming<Delivery>, wanted: &str) -> Outcome {
    cx.soon(wanted, async {
        loop {
            match queue.next().await {
                Some(Ok(Event::Item(delivery))) => {
                    let found = text(&delivery.message) == wanted;
                    delivery.ack().await.during("ack")?;
                    if found {
                        return Ok(());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(err)) => return Err(err).during("take"),
                None => return Err(Failure::new("the intake ended")),
            }
        }
    })
    .await?
}

/// An error of a publish while the broker is away: worth another try, and it does not claim to have arrived.
pub(super) fn is_honest(err: &Error) -> Outcome {
    ensure(err.is_transient() && err.sent() != Sent::Yes, || {
        format!("a transient error was promised, {err:?} came")
    })
}

fn is_up<T>(event: &Event<T>) -> bool {
    up_gap(event).is_some()
}

fn up_gap<T>(event: &Event<T>) -> Option<bool> {
    match event {
        Event::Up { gap } => Some(*gap),
        _ => None,
    }
}

fn is_down<T>(event: &Event<T>) -> bool {
    matches!(event, Event::Down)
}

fn is_text(event: &Event<Message>, wanted: &str) -> bool {
    matches!(event, Event::Item(message) if text(message) == wanted)
}

/// What a drain is given where it cannot finish.
const WITHIN: Duration = Duration::from_millis(500);
