//! What becomes of failures: tried again by the broker, then kept, then redriven.
use sinew_core::{Attempt, ErrorKind, Message, PublishExt as _, Result};
use sinew_events::{
    Context, EventDispatcher, HandlerError, RetryPolicy, SettledAs, Source, TimeoutLayer,
};

use crate::{
    behaviours, failed, is,
    scene::{SOON, Scene, Started, emit, service, until},
};

behaviours! {
    what_fails_is_delivered_again_and_kept_in_the_end,
    pauses_of_nothing_come_to_an_end,
    what_cannot_be_decoded_is_kept_as_it_came,
    what_is_redriven_comes_to_its_handler_alone,
    what_was_looked_at_is_there_for_the_next_look,
    an_error_queue_that_is_not_there_is_said_so_and_not_made,
    fifty_panicking_and_fifty_cancelled_handlers_leave_nothing_unacknowledged,
}

/// What takes a stream of its own.
pub(crate) const STREAMS: &[crate::Behaviour] =
    &[("what_a_stream_takes_no_copy_of_is_handed_back", |scene| {
        Box::pin(what_a_stream_takes_no_copy_of_is_handed_back(scene))
    })];

async fn what_fails_is_delivered_again_and_kept_in_the_end(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Err(HandlerError::new("on\nfire ")) });
    let mut started = scene.start(&service("billing", handler)?).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    for _ in 0..2 {
        let outcome = started.settled().await?.outcome;
        is(matches!(outcome, SettledAs::Delayed(_)), format!("{outcome:?}"))?;
    }
    is(started.settled().await?.outcome == SettledAs::DeadLettered, "the third is the last")?;
    let mut kept = scene.kept("billing", 1).await?;
    let event = kept.pop().ok_or_else(|| failed("none"))?;
    is((event.kind(), event.error()) == (Some("failed"), Some("on fire")), format!("{event:?}"))?;
    is(event.handler() == Some("billing.on_created"), "handler")?;
    is(event.source() == Some(scene.source()) && event.event_type() == Some("created"), "event")?;
    is(
        (event.deliveries(), event.runs()) == (Some(3), Some(2)),
        format!("{:?}", event.deliveries()),
    )?;
    is(&event.message().payload[..] == b"7", "payload")?;
    event.discard().await?;
    let counts = started.running.counts().map(|it| it.2).next();
    is(counts.is_some_and(|it| it.failed == 6 && it.unsettled == 0), format!("{counts:?}"))
}

async fn pauses_of_nothing_come_to_an_end(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Err(HandlerError::new("on fire")) });
    let retry = RetryPolicy::none().with_delays([std::time::Duration::ZERO; 3]);
    let mut started = scene.start(&service("billing", handler)?.with_retry(retry)).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    for _ in 0..3 {
        let outcome = started.settled().await?.outcome;
        is(matches!(outcome, SettledAs::Delayed(_)), format!("{outcome:?}"))?;
    }
    is(started.settled().await?.outcome == SettledAs::DeadLettered, "the fourth is the last")?;
    for event in scene.kept("billing", 1).await? {
        is(event.deliveries() == Some(4), format!("{:?}", event.deliveries()))?;
        event.discard().await?;
    }
    Ok(())
}

async fn what_cannot_be_decoded_is_kept_as_it_came(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let mut started = scene.start(&service("billing", handler)?).await?;
    let address = Source::parse(scene.source())?.address("created")?;
    let pickled = Message::to(address, &b"\x80\x04K\x07."[..])
        .with_content_type("application/x-python-serialize")
        .with_content_encoding("binary")
        .with_header("nameko.language", "en")?;
    scene.connect().await?.publisher()?.send(pickled).await?;
    is(started.settled().await?.outcome == SettledAs::DeadLettered, "it is kept")?;
    let mut kept = scene.kept("billing", 1).await?;
    let event = kept.pop().ok_or_else(|| failed("none"))?;
    is(event.kind() == Some("undecodable"), format!("{event:?}"))?;
    is(&event.message().payload[..] == b"\x80\x04K\x07.", "payload")?;
    let properties = event.message().properties();
    let content_type = properties.and_then(|it| it.content_type.as_deref());
    is(content_type == Some("application/x-python-serialize"), "content type")?;
    is(event.message().headers.text("nameko.language") == Some("en"), "headers")?;
    event.discard().await
}

async fn what_is_redriven_comes_to_its_handler_alone(scene: Scene) -> Result<()> {
    let failing = scene.handler(|_: Context, _: u64| async { Err(HandlerError::permanent("no")) });
    let mut billing = scene.start(&service("billing", failing)?).await?;
    let stock = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let mut stock = scene.start(&service("stock", stock)?).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    let first = billing.settled().await?;
    is(first.outcome == SettledAs::DeadLettered, "it is kept")?;
    is(stock.settled().await?.outcome == SettledAs::Handled, "the other has handled it")?;
    billing.running.drain(SOON).await?;
    for event in scene.kept("billing", 1).await? {
        event.redrive().await?;
    }
    let mended = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let mut mended = scene.start(&service("billing", mended)?).await?;
    let second = mended.settled().await?;
    is(second.outcome == SettledAs::Handled, format!("{second:?}"))?;
    is(second.message.address == first.message.address, "under its own name")?;
    let id = |it: &Message| it.properties().and_then(|it| it.id.clone());
    is(id(&second.message) == id(&first.message), "and its own id")?;
    emit(&scene.orders().await?, [8_u64]).await?;
    until("the other has the next", async || Ok(stock.succeeded() == 2)).await?;
    is(
        scene
            .errors("billing")
            .await?
            .take(1, std::time::Duration::from_millis(200))
            .await?
            .is_empty(),
        "nothing is kept",
    )
}

async fn what_was_looked_at_is_there_for_the_next_look(scene: Scene) -> Result<()> {
    let failing = scene.handler(|_: Context, _: u64| async { Err(HandlerError::permanent("no")) });
    let mut billing = scene.start(&service("billing", failing)?).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    is(billing.settled().await?.outcome == SettledAs::DeadLettered, "it is kept")?;
    for look in 1..=3 {
        let [event] = &scene.kept("billing", 1).await?[..] else { return Err(failed("not one")) };
        let attempt = event.attempt();
        let is_so = match attempt {
            Attempt::Number(number) => number == look,
            Attempt::Redelivered => look > 1,
            _ => look == 1,
        };
        is(is_so, format!("look {look} has {attempt:?}"))?;
    }
    Ok(())
}

async fn an_error_queue_that_is_not_there_is_said_so_and_not_made(scene: Scene) -> Result<()> {
    let errors = scene.errors("billing").await?;
    for _ in 0..2 {
        let Err(err) = errors.take(1, SOON).await else { return Err(failed("it is there")) };
        is(err.kind() == ErrorKind::NotFound && err.subject() == Some(errors.place()), err)?;
    }
    Ok(())
}

async fn fifty_panicking_and_fifty_cancelled_handlers_leave_nothing_unacknowledged(
    scene: Scene,
) -> Result<()> {
    #[expect(clippy::panic, reason = "it is what is shown")]
    let handler = scene
        .handler(|_: Context, id: u64| async move {
            match id {
                0..50 => panic!("a handler fails"),
                50..100 => std::future::pending().await,
                _ => Ok(()),
            }
        })
        .layer(TimeoutLayer::new(std::time::Duration::from_millis(50)));
    let service = service("billing", handler)?.with_retry(RetryPolicy::none());
    let mut started = scene.start(&service).await?;
    let orders = scene.orders().await?;
    emit(&orders, 0..100_u64).await?;
    is(started.outcomes(100).await? == [SettledAs::DeadLettered; 100], "all are kept")?;
    emit(&orders, 100..110_u64).await?;
    is(started.outcomes(10).await? == [SettledAs::Handled; 10], "the consumer works")?;
    started.running.drain(SOON).await?;
    // Nothing comes to who starts after it but what is new.
    let mut again = scene.start(&service).await?;
    emit(&orders, [110_u64]).await?;
    let next = again.settled().await?;
    is(&next.message.payload[..] == b"110", format!("{next:?}"))?;
    let kept = scene.kept("billing", 100).await?;
    let of = |kind| kept.iter().filter(|it| it.kind() == Some(kind)).count();
    is((of("panicked"), of("failed")) == (50, 50), format!("{}", of("panicked")))?;
    for event in kept {
        event.discard().await?;
    }
    Ok(())
}

async fn what_a_stream_takes_no_copy_of_is_handed_back(scene: Scene) -> Result<()> {
    let backend = scene.broker.stream("EVENTS", &["@.>"]).await?;
    let failing = scene.handler(|_: Context, _: u64| async { Err(HandlerError::permanent("no")) });
    let failing = service("billing", failing)?;
    let (events, running) = (failing.events(), failing.start(&backend).await?);
    let mut started = Started { running, events };
    EventDispatcher::new(&backend, scene.source())?.emit("created", &7_u64).await?;
    let outcome = started.settled().await?.outcome;
    is(matches!(outcome, SettledAs::Delayed(_)), format!("{outcome:?}"))?;
    let counts = started.running.counts().map(|it| it.2).next();
    is(counts.is_some_and(|it| it.dead_letter_failed == 1), format!("{counts:?}"))?;
    started.running.drain(SOON).await?;
    let mended = service("billing", scene.handler(|_: Context, _: u64| async { Ok(()) }))?;
    let (events, running) = (mended.events(), mended.start(&backend).await?);
    let mut mended = Started { running, events };
    is(mended.settled().await?.outcome == SettledAs::Handled, "it comes again")
}
