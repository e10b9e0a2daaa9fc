//! Brokers that are killed under their services.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sinew_core::{Backend as _, Error, Property, Result};
use sinew_events::{Context, EmitOptions, EventDispatcher, HandlerError, ServiceEvent, SettledAs};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    behaviours, failed, is, is_long,
    scene::{SOON, Scene, Started, emit, service, soon},
};

behaviours! {
    a_killed_broker_cancels_what_runs_and_the_service_goes_on,
}

/// What takes a broker that keeps messages over its own end. RabbitMQ is held to more, in `tests/nameko`.
pub(crate) const DURABLE: &[crate::Behaviour] =
    &[("no_confirmed_event_is_missing_after_restarts", |scene| {
        Box::pin(no_confirmed_event_is_missing_after_restarts(scene))
    })];

async fn a_killed_broker_cancels_what_runs_and_the_service_goes_on(scene: Scene) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = scene.handler(move |ctx: Context, id: u64| {
        let told = tell.send(ctx).map_err(|err| HandlerError::new(err.to_string()));
        async move {
            told?;
            match id {
                0 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    });
    let Started { running, mut events } = scene.start(&service("billing", handler)?).await?;
    emit(&scene.orders().await?, [0_u64]).await?;
    let context = soon("it runs", told.recv()).await?.ok_or_else(|| failed("it has ended"))?;
    is(!context.is_cancelled(), "it may go on")?;
    scene.broker.kill()?;
    soon("it is told to stop", context.cancelled()).await?;
    scene.broker.start().await?;
    // What becomes of an event is told by its run, and of the link by the intake: in no order.
    let (mut was_cancelled, mut was_down, mut was_up) = (false, false, false);
    while !(was_cancelled && was_down && was_up) {
        match soon("its run, its link down, its link up", events.next()).await? {
            Some(Ok(ServiceEvent::Settled(it))) => {
                was_cancelled |= it.outcome == SettledAs::Cancelled
            }
            Some(Ok(ServiceEvent::Down { .. })) => was_down = true,
            Some(Ok(ServiceEvent::Up { .. })) => {
                is(was_down, "it was down before")?;
                was_up = true;
            }
            other => return Err(failed(format!("{other:?}"))),
        }
    }
    emit(&scene.orders().await?, [1_u64]).await?;
    loop {
        match soon("the next one is handled", events.next()).await? {
            Some(Ok(ServiceEvent::Settled(it))) if it.outcome == SettledAs::Handled => break,
            Some(Ok(_)) => {}
            other => return Err(failed(format!("{other:?}"))),
        }
    }
    drop(running);
    Ok(())
}

async fn no_confirmed_event_is_missing_after_restarts(scene: Scene) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let life = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&life);
    let handler = scene.handler(move |_: Context, id: u64| {
        let told = tell.send((id, now.load(Relaxed)));
        async move { told.map_err(|err| HandlerError::new(err.to_string())) }
    });
    let started = scene.start(&service("billing", handler)?).await?;
    let backend = scene.connect().await?;
    // RabbitMQ confirms what no queue takes, and killed, it may forget a binding that it made a moment before.
    let must_route = backend.capabilities().properties.has(Property::MustRoute);
    let options = EmitOptions::new().with_must_route(must_route);
    let orders = EventDispatcher::new(&backend, &scene.source)?.with_options(options);
    let stop = CancellationToken::new();
    let emitting = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut confirmed = Vec::new();
            // While the broker is away an emit fails at once.
            let mut pace = interval(Duration::from_millis(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for id in 0_u64.. {
                pace.tick().await;
                if stop.is_cancelled() {
                    break;
                }
                if orders.emit("created", &id).await.is_ok() {
                    confirmed.push(id);
                }
            }
            confirmed
        }
    });
    // In which lives of the broker each was handled: even ones, and odd in between.
    let mut handled = BTreeMap::<u64, Vec<u64>>::new();
    let mut next = async |handled: &mut BTreeMap<u64, Vec<u64>>| {
        let came = soon("an event is handled", told.recv()).await?;
        let (id, life) = came.ok_or_else(|| failed("it has ended"))?;
        handled.entry(id).or_default().push(life);
        Ok::<_, Error>(id)
    };
    let rounds = if is_long() { 20 } else { 2 };
    for _ in 0..rounds {
        for _ in 0..50 {
            next(&mut handled).await?;
        }
        let mut events = started.running.events();
        scene.broker.kill()?;
        let down = async {
            // Who hears slowly misses what was handled before.
            while !matches!(events.next().await, None | Some(Ok(ServiceEvent::Down { .. }))) {}
        };
        soon("the service knows", down).await?;
        // What was begun before may still run, and what comes next may do so before it is known here: that counts for neither.
        life.fetch_add(1, Relaxed);
        scene.broker.start().await?;
        life.fetch_add(1, Relaxed);
    }
    next(&mut handled).await?;
    stop.cancel();
    let confirmed = soon("the emitter ends", emitting).await?.map_err(failed)?;
    // What was emitted last came last, unless it came again.
    let emitted_last = scene.orders().await?;
    soon("one more is confirmed", emitted_last.emit("created", &u64::MAX)).await??;
    while next(&mut handled).await? != u64::MAX {}
    started.running.drain(SOON).await?;
    while let Ok((id, life)) = told.try_recv() {
        handled.entry(id).or_default().push(life);
    }
    let missing: Vec<_> = confirmed.iter().filter(|id| !handled.contains_key(id)).collect();
    is(missing.is_empty(), format!("of {} are missing {missing:?}", confirmed.len()))?;
    // At least once. A killed nats-server may forget any of its acks; one that lives forgets none.
    let is_twice = |lives: &[u64]| {
        let lives = || lives.iter().filter(|it| it.is_multiple_of(2));
        lives().collect::<BTreeSet<_>>().len() < lives().count()
    };
    let twice = handled.iter().find(|it| is_twice(it.1));
    is(twice.is_none(), format!("{twice:?}: more than once in one life of the broker"))
}
