//! Life and end of a connection: clones, drains, and what is left after a close.
use std::time::Duration;

use sinew_core::{
    AnyBackend, Consume, Error, ErrorKind, Event, Link, Publish, PublishExt, Request, Sent,
    Subscribe,
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    settlement::Work,
    support::{message, numbered, poll_once, refused, text},
    tally::{Intake, Tally},
    when,
};

behaviours! { "lifecycle";
    when::always => the_capabilities_are_those_of_the_connected_backend,
    when::always => a_contract_is_there_or_refused,
    when::always => a_watch_starts_with_the_state_of_now,
    when::carries => dropping_a_clone_closes_no_other,
    when::always => closing_twice_is_closing_once,
    when::always => after_a_close_everything_is_closed,
    when::carries => a_drain_delivers_what_was_handed_over,
    when::publishes_and_subscribes => a_drain_yields_what_was_received,
    when::publishes_and_consumes => a_drain_waits_for_a_slow_handler,
    when::publishes_and_consumes => a_drain_that_runs_out_of_time_says_so,
    when::publishes_and_consumes => a_settlement_after_the_close_fails,
    when::always => a_dropped_drain_goes_on,
}

async fn the_capabilities_are_those_of_the_connected_backend(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let told = sinew_core::Backend::capabilities(&backend);
    let as_fixture = |mut it: sinew_core::Capabilities| {
        // Known only once connected.
        it.max_payload = cx.capabilities().max_payload;
        it.max_delay = cx.capabilities().max_delay;
        it
    };
    ensure_eq("the backend's", &as_fixture(told.clone()), cx.capabilities())?;
    let handles = [
        backend.publisher().ok().map(|it| sinew_core::Backend::capabilities(&it)),
        backend.subscriber().ok().map(|it| sinew_core::Backend::capabilities(&it)),
        backend.consumer().ok().map(|it| sinew_core::Backend::capabilities(&it)),
        backend.requester().ok().map(|it| sinew_core::Backend::capabilities(&it)),
        Some(sinew_core::Backend::capabilities(&backend.link())),
    ];
    handles.into_iter().flatten().try_for_each(|it| ensure_eq("a handle's", &it, &told))
}

async fn a_contract_is_there_or_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let has = cx.capabilities();
    let contracts = [
        ("publish", when::publishes(has), backend.publisher().map(drop)),
        ("subscribe", when::subscribes(has), backend.subscriber().map(drop)),
        ("consume", when::consumes(has), backend.consumer().map(drop)),
        ("request", has.request > sinew_core::Requests::None, backend.requester().map(drop)),
    ];
    for (name, promised, found) in contracts {
        if promised {
            found.during(format_args!("{name} is promised"))?;
        } else {
            super::support::unsupported(cx, name, found)?;
        }
    }
    Ok(())
}

async fn a_watch_starts_with_the_state_of_now(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    for _ in 0..2 {
        let mut watch = backend.link().watch();
        let first = cx.event(&mut watch, "the state of now").await?;
        ensure(matches!(first, Event::Up { .. }), || format!("up was promised, {first:?} came"))?;
        cx.silence(&mut watch, "while nothing happens").await?;
    }
    let mut watch = backend.link().watch();
    cx.event(&mut watch, "the state of now").await?;
    backend.link().drain(cx.pace().patience).await?;
    // It may say that the link went down before it ends.
    while let Some(event) = cx.soon("the end of the watch", watch.next()).await? {
        let event = event.during("a watch after a drain")?;
        ensure(matches!(event, Event::Down), || format!("the end was promised, {event:?} came"))?;
    }
    Ok(())
}

async fn dropping_a_clone_closes_no_other(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (subject, other) = (cx.subject("clones")?, cx.subject("others")?);
    let publisher = backend.publisher()?;
    let mut intakes = cx.intakes_of(&backend.clone(), &subject).await?;
    drop((backend.publisher()?, publisher.clone(), backend.link(), backend.link().watch()));
    drop((backend.subscriber().ok(), backend.consumer().ok(), backend.requester().ok()));
    drop(backend.clone());
    let mut others = cx.intakes_of(&backend, &other).await?;
    drop(backend);
    cx.send_all(&publisher, &subject, numbered("m", 20)).await?;
    cx.send_all(&publisher.clone(), &other, numbered("o", 20)).await?;
    let promised = Tally::new(numbered("m", 20)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await?;
    let promised = Tally::new(numbered("o", 20)).fenced(&publisher, &other);
    cx.each_exactly(&mut others, promised).await
}

async fn closing_twice_is_closing_once(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (one, two) = (backend.link(), backend.link());
    let within = cx.pace().patience;
    let (first, second) = cx
        .soon("both drains", async { tokio::join!(one.drain(within), two.drain(within)) })
        .await?;
    first.during("drain")?;
    second.during("a drain at the same time")?;
    cx.soon("another drain", one.drain(within)).await?.during("drain a closed link")?;
    drop(backend);
    cx.soon("another drain", two.drain(Duration::ZERO)).await?.during("drain a closed link")
}

async fn after_a_close_everything_is_closed(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let clone = backend.clone();
    let publisher = backend.publisher().ok();
    backend.link().drain(cx.pace().patience).await.during("drain")?;
    for backend in [&backend, &clone] {
        is_closed(cx, backend).await?;
    }
    // Handles taken before are no better.
    if let Some(publisher) = publisher {
        let sent = publisher.send(message(cx.subject("closed")?, "x")?).await;
        refused("a publish after the close", sent, &[ErrorKind::Closed])?;
    }
    Ok(())
}

async fn is_closed(cx: &Context, backend: &AnyBackend) -> Outcome {
    let subject = cx.subject("closed")?;
    let closed = |what: &str, err: Option<Error>| match err {
        Some(err) => refused::<()>(what, Err(err), &[ErrorKind::Closed]),
        None => Err(Failure::new(format!("{what} after the close is Ok"))),
    };
    if let Ok(publisher) = backend.publisher() {
        let sent = cx.soon("an answer", publisher.send(message(&subject, "x")?)).await?;
        let err = closed("publish", sent.err())?;
        ensure_eq("sent", err.sent(), Sent::No)?;
        closed("flush", cx.soon("an answer", publisher.flush()).await?.err())?;
    }
    if let Ok(subscriber) = backend.subscriber() {
        let opened = subscriber.subscribe(cx.subscription(&subject));
        closed("subscribe", cx.soon("an answer", opened).await?.err())?;
    }
    if let Ok(consumer) = backend.consumer() {
        let opened = consumer.consume(cx.consumption("closed", &subject)?);
        closed("consume", cx.soon("an answer", opened).await?.err())?;
    }
    if let Ok(requester) = backend.requester() {
        let asked = requester.request(message(&subject, "x")?);
        closed("request", cx.soon("an answer", asked).await?.err())?;
    }
    let mut watch = backend.link().watch();
    while let Some(event) = cx.soon("the end of the watch", watch.next()).await? {
        let event = event.during("a watch after the close")?;
        ensure(matches!(event, Event::Down), || format!("a closed link says {event:?}"))?;
    }
    Ok(())
}

async fn a_drain_delivers_what_was_handed_over(cx: &Context) -> Outcome {
    let far = cx.connect().await?;
    let subject = cx.subject("flushed")?;
    let mut intakes = cx.intakes_of(&far, &subject).await?;
    let mut pendings = Vec::new();
    for by in 0..10 {
        let leaving = cx.connect().await?;
        let texts = numbered(format!("by-{by}"), 100);
        pendings.extend(cx.hand_over(&leaving.publisher()?, &subject, texts).await?);
        leaving.link().drain(cx.pace().patience).await.during("drain")?;
    }
    cx.answers(pendings).await.during("handed over before a drain")?;
    let promised = (0..10).flat_map(|by| numbered(format!("by-{by}"), 100));
    let promised = Tally::new(promised).fenced(&far.publisher()?, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn a_drain_yields_what_was_received(cx: &Context) -> Outcome {
    let far = cx.connect().await?;
    let (publisher, subject) = (far.publisher()?, cx.subject("received")?);
    let promised: Vec<_> = numbered("m", 20).collect();
    // Nobody can see from outside when all is received; who gives it ever more time must see all of it.
    for turn in 0..6 {
        let near = cx.connect().await?;
        let mut incoming = cx.subscribe(&near, cx.subscription(&subject)).await?;
        cx.send_all(&publisher, &subject, promised.clone()).await?;
        cx.quiet(turn).await;
        near.link().drain(cx.pace().patience).await.during("drain")?;
        let mut seen = Vec::new();
        while let Some(event) = cx.soon("the end of the intake", incoming.next()).await? {
            seen.extend(event.during("after the drain")?.item().as_ref().map(text));
        }
        ensure(promised.starts_with(&seen), || format!("received, then drained: {seen:?}"))?;
        if seen.len() == promised.len() {
            return Ok(());
        }
    }
    Err(Failure::new("messages that had time to be received are not yielded after a drain"))
}

async fn a_drain_waits_for_a_slow_handler(cx: &Context) -> Outcome {
    let work = Work::open(cx, "handler").await?;
    let mut queue = cx.consume(&work.backend, work.wanted.clone().with_prefetch(4)).await?;
    work.publish(8).await?;
    let held = work.take(&mut queue, 4).await?;
    // Another connection sees what the handlers publish.
    let far = cx.connect().await?;
    let results = cx.subject("results")?;
    let mut seen = cx.intakes_of(&far, &results).await?;

    let link = work.backend.link();
    let mut drain = std::pin::pin!(link.drain(cx.pace().patience));
    let early = tokio::time::timeout(cx.pace().quiet, &mut drain).await;
    ensure(early.is_err(), || format!("a drain ended with four deliveries unsettled: {early:?}"))?;
    let opened = work.backend.consumer()?.consume(work.wanted.clone()).await;
    refused("an intake while draining", opened, &[ErrorKind::Closed])?;
    let handlers = async {
        for delivery in held {
            let name = text(&delivery.message);
            let result = message(&results, name.clone())?;
            cx.send(&work.publisher, result).await.during("a handler publishes while draining")?;
            cx.soon("the ack", delivery.ack()).await?.during("a handler acks while draining")?;
        }
        Ok::<(), Failure>(())
    };
    let (drained, handled) = tokio::join!(cx.soon("the end of the drain", drain), handlers);
    handled?;
    drained?.during("drain")?;
    // What was on its way is yielded still, but cannot be settled; then the intake ends.
    while let Some(event) = cx.soon("the end of the intake", queue.next()).await? {
        drop(event);
    }
    let publisher = far.publisher()?;
    let promised = Tally::new(numbered("m", 4)).fenced(&publisher, &results);
    cx.each_exactly(&mut seen, promised).await?;
    let again = cx.consume(&far, work.wanted.clone()).await?;
    let rest = (4..8).map(|number| format!("m-{number}"));
    let rest = Tally::new(rest).fenced(&publisher, &work.subject);
    Intake::Queue(again).exactly(cx, rest).await.during("what no handler had")
}

async fn a_drain_that_runs_out_of_time_says_so(cx: &Context) -> Outcome {
    let work = Work::open(cx, "timeout").await?;
    let mut queue = work.consume().await?;
    work.publish(1).await?;
    let held = work.take(&mut queue, 1).await?;
    let drain = cx.soon("the end of the drain", work.backend.link().drain(SHORT)).await?;
    refused("a drain with a delivery unsettled", drain, &[ErrorKind::Timeout])?;
    is_closed(cx, &work.backend).await?;
    for delivery in &held {
        cx.soon("the news that the delivery is revoked", delivery.revoked()).await?;
    }
    let far = cx.connect().await?;
    let again = cx.consume(&far, work.wanted.clone()).await?;
    let promised = Tally::new(numbered("m", 1)).fenced(&far.publisher()?, &work.subject);
    Intake::Queue(again).exactly(cx, promised).await
}

async fn a_settlement_after_the_close_fails(cx: &Context) -> Outcome {
    let work = Work::open(cx, "settled-late").await?;
    let mut queue = work.consume().await?;
    work.publish(2).await?;
    let held = work.take(&mut queue, 2).await?;
    drop(cx.soon("the end of the drain", work.backend.link().drain(SHORT)).await?);
    for delivery in held {
        let answer = cx.soon("an answer", delivery.ack()).await?;
        let kinds = [ErrorKind::Closed, ErrorKind::Revoked, ErrorKind::Disconnected];
        refused("an ack after the close", answer, &kinds)?;
    }
    let far = cx.connect().await?;
    let again = cx.consume(&far, work.wanted.clone()).await?;
    let promised = Tally::new(numbered("m", 2)).fenced(&far.publisher()?, &work.subject);
    Intake::Queue(again).exactly(cx, promised).await
}

async fn a_dropped_drain_goes_on(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let mut watch = backend.link().watch();
    {
        let link = backend.link();
        // One poll starts it.
        poll_once(link.drain(cx.pace().patience)).await.transpose()?;
    }
    cx.soon("the end that a dropped drain leads to", async {
        while watch.next().await.is_some() {}
    })
    .await?;
    is_closed(cx, &backend).await
}

/// Time enough for nothing.
const SHORT: Duration = Duration::from_millis(100);
