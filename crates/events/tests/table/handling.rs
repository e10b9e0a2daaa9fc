//! Handlers whose events are kept for them while they are away.
use std::sync::Arc;

use sinew_core::{Attempt, Consume as _, Consumption, ErrorKind, Lifetime, Pattern, Result};
use sinew_events::{
    Context, EmitOptions, EventHandler, HandlerError, HandlerKind, HandlerName, MemoryDedupStore,
    Profile, Service, SettledAs, Source,
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    behaviours, failed, is,
    scene::{SOON, Scene, Started, emit, service, soon, until},
};

behaviours! {
    members_of_a_pool_share_its_events_and_lose_none,
    what_was_emitted_while_nobody_ran_is_handled,
    a_reliable_broadcast_keeps_what_its_instance_missed,
    what_is_to_be_requeued_comes_to_somebody_at_once,
    a_drain_finishes_what_runs_and_gives_the_rest_to_others,
    a_second_copy_is_not_handled_again,
}

/// What takes a broker that tells who consumes a queue.
pub(crate) const COUNTED: &[crate::Behaviour] = &[
    ("a_second_instance_of_one_identifier_is_refused", |scene| {
        Box::pin(a_second_instance_of_one_identifier_is_refused(scene))
    }),
    ("a_start_that_is_refused_leaves_no_queue_consumed", |scene| {
        Box::pin(a_start_that_is_refused_leaves_no_queue_consumed(scene))
    }),
];

async fn members_of_a_pool_share_its_events_and_lose_none(scene: Scene) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut members = Vec::new();
    for member in 0..2_u64 {
        let tell = tell.clone();
        let handler = scene.handler(move |_: Context, id: u64| {
            let told = tell.send((member, id)).map_err(|err| HandlerError::new(err.to_string()));
            async move { told }
        });
        members.push(scene.start(&service("billing", handler)?).await?);
    }
    emit(&scene.orders().await?, 0..500_u64).await?;
    let mut seen = Vec::new();
    while seen.len() < 500 {
        seen.extend(soon("each is handled", told.recv()).await?);
    }
    for member in 0..2 {
        is(seen.iter().any(|it| it.0 == member), format!("{member} had none"))?;
    }
    seen.sort_unstable_by_key(|it| it.1);
    is(seen.iter().map(|it| it.1).eq(0..500), "each once")?;
    for member in members {
        member.running.drain(SOON).await?;
    }
    is(told.try_recv().is_err(), "and none twice")
}

async fn what_was_emitted_while_nobody_ran_is_handled(scene: Scene) -> Result<()> {
    let service = service("billing", scene.handler(|_: Context, _: u64| async { Ok(()) }))?;
    scene.start(&service).await?.running.drain(SOON).await?;
    emit(&scene.orders().await?, 0..20_u64).await?;
    let mut started = scene.start(&service).await?;
    is(started.outcomes(20).await? == [SettledAs::Handled; 20], "all are handled")
}

async fn a_reliable_broadcast_keeps_what_its_instance_missed(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let broadcast = |id| {
        let handler =
            handler.clone().with_kind(HandlerKind::Broadcast).with_broadcast_identifier(id);
        service("billing", handler)
    };
    let (one, two) = (broadcast("h1")?, broadcast("h2")?);
    let mut here = scene.start(&one).await?;
    scene.start(&two).await?.running.drain(SOON).await?;
    emit(&scene.orders().await?, 0..3_u64).await?;
    let mut back = scene.start(&two).await?;
    is(back.outcomes(3).await? == [SettledAs::Handled; 3], "it has what it missed")?;
    is(here.outcomes(3).await? == [SettledAs::Handled; 3], "so has the other")
}

async fn a_second_instance_of_one_identifier_is_refused(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let handler = handler.with_kind(HandlerKind::Broadcast).with_broadcast_identifier("h1");
    let service = service("billing", handler)?;
    let _first = scene.start(&service).await?;
    match scene.start(&service).await {
        Ok(_) => Err(failed("two share one queue")),
        Err(err) => is(err.kind() == ErrorKind::Conflict, err),
    }
}

async fn a_start_that_is_refused_leaves_no_queue_consumed(scene: Scene) -> Result<()> {
    const HANDLERS: usize = 40;
    let mut service = Service::new("billing")?;
    let mut wanted = Vec::new();
    let source = Source::parse(scene.source())?;
    for number in 0..HANDLERS {
        let (event_type, method) = (format!("created-{number}"), format!("on_{number}"));
        let handler =
            EventHandler::new(scene.source(), &event_type, &method, |_: Context, _: u64| async {
                Ok::<_, HandlerError>(())
            });
        service = service.with_handler(handler)?;
        let name = HandlerName::new("billing", &method)?;
        let queue = HandlerKind::ServicePool.queue(&source, &event_type, &name, None)?;
        let consumption = Consumption::new(queue, Pattern::parse(&event_type)?);
        wanted.push(consumption.with_scope(source.scope().clone()).with_prefetch(10));
    }
    // Two of them are there with other properties.
    let consumer = scene.connect().await?.consumer()?;
    let taken = [wanted.remove(25), wanted.remove(20)];
    let names = taken.each_ref().map(|it| it.queue.clone());
    let mut others = Vec::new();
    for other in taken {
        others.push(consumer.consume(other.with_lifetime(Lifetime::UntilUnused)).await?);
    }
    let backend = scene.connect().await?;
    match service.start(&backend).await {
        Ok(_) => return Err(failed("it has queues of others")),
        Err(err) => {
            is(err.kind() == ErrorKind::Conflict, &err)?;
            is(err.subject() == Some(names[1].as_str()), &err)?;
        }
    }
    until("none of its queues is consumed", async || {
        let mut consumers = 0;
        for wanted in &wanted {
            consumers += consumer.declare(wanted.clone()).await?.consumers.unwrap_or(1);
        }
        Ok(consumers == 0)
    })
    .await?;
    drop(others);
    for name in &names {
        until("it is gone", async || {
            let asked = consumer.inspect(name).await;
            Ok(asked.is_err_and(|err| err.kind() == ErrorKind::NotFound))
        })
        .await?;
    }
    // Over the same connection, too.
    service.start(&backend).await?.drain(SOON).await
}

async fn what_is_to_be_requeued_comes_to_somebody_at_once(scene: Scene) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = scene.handler(move |ctx: Context, _: u64| {
        let attempt = ctx.attempt();
        let told = tell.send(attempt).map_err(|err| HandlerError::new(err.to_string()));
        async move {
            told?;
            match attempt {
                Attempt::Number(1) | Attempt::Unknown => Err(HandlerError::new("again")),
                _ => Ok(()),
            }
        }
    });
    let service = service("billing", handler.with_requeue_on_error(true))?;
    let mut started = scene.start(&service.with_profile(Profile::Nameko)).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    let ended = started.outcomes(2).await?;
    is(ended == [SettledAs::Requeued, SettledAs::Handled], format!("{ended:?}"))?;
    let first = soon("the first", told.recv()).await?;
    is(first != soon("the second", told.recv()).await?, "it is told that it comes again")
}

async fn a_drain_finishes_what_runs_and_gives_the_rest_to_others(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let (tell, mut begun) = mpsc::unbounded_channel();
    let opened = Arc::clone(&gate);
    let handler = scene.handler(move |_: Context, id: u64| {
        let (gate, told) = (Arc::clone(&opened), tell.send(id));
        async move {
            told.map_err(|err| HandlerError::new(err.to_string()))?;
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    let pool = service("billing", handler)?.with_max_workers(2);
    let leaving = scene.start(&pool).await?;
    drop(pool);
    emit(&scene.orders().await?, 0..10_u64).await?;
    for _ in 0..2 {
        soon("two are begun", begun.recv()).await?;
    }
    let Started { running, mut events } = leaving;
    let draining = tokio::spawn(running.drain(SOON));
    let quick = service("billing", scene.handler(|_: Context, _: u64| async { Ok(()) }))?;
    let mut other = scene.start(&quick).await?;
    is(other.outcomes(8).await? == [SettledAs::Handled; 8], "the other has what waited")?;
    is(begun.try_recv().is_err(), "nothing was begun by who leaves")?;
    gate.add_permits(2);
    draining.await.map_err(failed)??;
    let mut handled = 0;
    while let Some(Ok(event)) = events.next().await {
        if let sinew_events::ServiceEvent::Settled(it) = event {
            is(it.outcome == SettledAs::Handled, format!("{it:?}"))?;
            handled += 1;
        }
    }
    is(handled == 2, "what ran is done")?;
    other.running.drain(SOON).await?;
    let mut last = scene.start(&quick).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    let settled = last.settled().await?;
    is(&settled.message.payload[..] == b"7", "and nothing else is left")
}

async fn a_second_copy_is_not_handled_again(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let service = service("billing", handler)?.with_dedup_store(MemoryDedupStore::default());
    let mut started = scene.start(&service.with_max_workers(1)).await?;
    let orders = scene.orders().await?;
    let id = EmitOptions::new().with_message_id(format!("{}-1", scene.source()));
    for _ in 0..2 {
        orders.emit_with("created", &7_u64, &id).await?;
    }
    emit(&orders, [8_u64]).await?;
    // JetStream keeps the second copy to itself.
    while &started.settled().await?.message.payload[..] != b"8" {}
    is(started.succeeded() == 2, "one copy, and what came after it")
}
