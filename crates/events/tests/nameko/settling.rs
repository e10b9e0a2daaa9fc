//! A, C: what becomes of a delivery, and of who has it when its link or its queue goes.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{
    Attempt, Consume as _, Consumption, ErrorKind, Message, PublishExt as _, Queue, QueueStatus,
};
use sinew_events::{
    EmitOptions, EventDispatcher, EventHandler, HandlerError, Profile, RetryPolicy, ServiceEvent,
    SettledAs, Source,
};
use sinew_testkit::harness::rabbitmq::Tap;
use tokio::sync::Semaphore;

use crate::{
    Stage,
    payloads::route_dead_letters,
    rust::{Cast, as_it_is},
    world::{
        Generation, Outcome, SOON, Scene, address, at, check, equal, python_handler, soon, text,
        url_through,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("a1_what_we_requeue_python_has_again", requeued),
        stage.trial("a2_what_fails_is_kept_or_gone_as_its_profile_has_it", failed),
        stage.trial("a2_what_fails_in_parity_is_acknowledged_and_no_dead_letter", acknowledged),
        stage.trial("a4_no_more_is_prefetched_or_run_than_was_asked_for", prefetch),
        stage.trial("a4_more_may_be_prefetched_than_run_and_goes_back", sent_ahead),
        stage.trial("a5_what_we_had_when_we_died_python_has_again", died),
        stage.trial("a6_a_quorum_queue_of_its_virtual_host_counts_what_we_requeue", quorum),
        stage.trial("d2_a_full_queue_that_rejects_is_an_error_of_an_emit_that_is_made_once", full),
        stage.trial("c3_a_deleted_queue_is_consumed_again_and_told", deleted),
        stage.trial("d1_an_event_that_nobody_wants_is_an_error_where_it_must_not_be", unroutable),
    ]);
}

async fn status(scene: &Scene, source: &str, queue: &str) -> Outcome<QueueStatus> {
    let source = Source::parse(source)?;
    let wanted = Consumption::new(Queue::parse(queue)?, source.pattern("created")?);
    let wanted = wanted.with_scope(source.scope().clone());
    Ok(scene.amqp().await?.declare(wanted).await?)
}

fn fails() -> impl Fn(sinew_events::Context, Json) -> std::future::Ready<Result<(), HandlerError>> {
    |_, _| std::future::ready(Err(HandlerError::new("told to fail")))
}

async fn requeued(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let requeue = |handler: EventHandler| handler.with_requeue_on_error(true);
    let cast = Cast::new(&service)?.acts(&source, "created", "on", fails(), requeue)?;
    let mut ours = cast.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    // Alone it has it again and again.
    for _ in 0..3 {
        ours.settles_as(SettledAs::Requeued).await?;
    }
    let mut python = scene.python(Generation::Today).await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    equal("flagged", at(&python.received("on").await?, "/redelivered"), &json!(true))?;
    equal("handled", text(&python.handled("on").await?, "payload"), "'x'")?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn failed(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let services = [scene.name("parity"), scene.name("safe")];
    let [parity, safe] = &services;
    let cast = Cast::new(parity)?.acts(&source, "created", "on", fails(), as_it_is)?;
    let mut parity = cast.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    let once = |handler: EventHandler| handler.with_retry(RetryPolicy::none().with_immediate(1));
    let cast = Cast::new(safe)?.acts(&source, "created", "on", fails(), once)?;
    let mut safe = cast.start(&backend).await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    equal("runs in parity", parity.settles_as(SettledAs::Dropped).await?.runs, 1)?;
    equal("runs, safely", safe.settles_as(SettledAs::DeadLettered).await?.runs, 2)?;
    for service in &services {
        let queue = format!("evt-{source}-created--{service}.on");
        equal("left", status(&scene, &source, &queue).await?.messages, Some(0))?;
    }
    let queue = format!("evt-{source}-created--{}.on", services[1]);
    let errors = sinew_events::ErrorQueue::new(&backend, Queue::parse(&queue)?)?;
    let kept = errors.take(1, Duration::from_secs(20)).await?;
    equal("kept", kept.len(), 1)?;
    for event in kept {
        equal("its payload", &*event.message().payload, &b"\"x\""[..])?;
        check(event.error().is_some_and(|it| it.contains("told to fail")), "it says why")?;
        event.redrive().await?;
    }
    // Once more it comes to the handler that failed, and to no other.
    safe.settles_as(SettledAs::DeadLettered).await?;
    let more = tokio::time::timeout(Duration::from_millis(300), parity.settled()).await;
    check(more.is_err(), "the other service has it no second time")
}

/// A policy has a dead-letter route: what is rejected goes there, and what fails does not, of ours as of Python's.
async fn acknowledged(scene: Scene) -> Outcome {
    let (source, theirs) = (scene.name("orders"), scene.name("theirs"));
    let waits = route_dead_letters(&scene, &source).await?;
    let amqp = scene.amqp().await?;
    let mut dead = amqp.consume(waits).await?;
    let cast =
        Cast::new(&scene.name("parity"))?.acts(&source, "created", "on", fails(), as_it_is)?;
    let cast = cast.with(|it| it.with_profile(Profile::Nameko).with_max_workers(1));
    let mut ours = cast.start(&amqp.clone().into_any()).await?;
    let mut python = scene.python(Generation::Today).await?;
    let fails = json!({ "then": { "fail": 3 } });
    let spec = json!({
        "name": "p", "service": theirs, "config": { "max_workers": 1 },
        "handlers": [python_handler("on", &source, "created", "pool", fails)],
    });
    python.ask("start", spec).await?;
    let dispatcher = EventDispatcher::new(&amqp.clone().into_any(), &source)?;
    for number in 0..3 {
        dispatcher.emit("created", &number).await?;
        equal("its runs", ours.settles_as(SettledAs::Dropped).await?.runs, 1)?;
        equal("in Python", at(&python.handled("on").await?, "/json"), &json!(number))?;
    }
    let to = Source::parse(&source)?.address("created")?;
    amqp.send(Message::to(to, "unreadable").with_content_type("application/x-own")).await?;
    equal("its runs", ours.settles_as(SettledAs::Dropped).await?.runs, 0)?;
    // With one worker it comes when what failed before it is settled.
    dispatcher.emit("created", &"next").await?;
    equal("in Python", text(&python.handled("on").await?, "payload"), "'next'")?;
    let letter = soon("a dead letter", dead.next_item()).await?.ok_or("it ended")??;
    equal("the first that was rejected", &*letter.message.payload, &b"unreadable"[..])?;
    letter.ack().await?;
    ours.settles_as(SettledAs::Dropped).await?;
    let more = tokio::time::timeout(Duration::from_millis(300), dead.next_item()).await;
    check(more.is_err(), "and no other")?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn prefetch(scene: Scene) -> Outcome {
    limits(scene, 3, None).await
}

async fn sent_ahead(scene: Scene) -> Outcome {
    limits(scene, 2, Some(5)).await
}

/// Five prefetches of events wait: no more than one of them is unsettled, and no more than `workers` run at once. When the
/// service ends, what did not run is in the queue.
async fn limits(scene: Scene, workers: usize, prefetch: Option<u16>) -> Outcome {
    let sent = prefetch.map_or(workers, usize::from);
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let (gate, running, most) =
        (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (door, within, peak) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&most));
    let act = move |_, _| {
        let (door, within, peak) = (Arc::clone(&door), Arc::clone(&within), Arc::clone(&peak));
        async move {
            peak.fetch_max(within.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let opened = door.acquire().await;
            within.fetch_sub(1, Ordering::SeqCst);
            opened.map(|permit| permit.forget()).map_err(HandlerError::new)
        }
    };
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, as_it_is)?;
    let cast = cast.with(|it| it.with_max_workers(workers).with_prefetch(prefetch));
    let mut ours = cast.start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for number in 0..5 * sent {
        dispatcher.emit("created", &number).await?;
    }
    let queue = format!("evt-{source}-created--{service}.on");
    let ready = async || Outcome::Ok(status(&scene, &source, &queue).await?.messages);
    for handled in 0..=2 * sent {
        let left = (5 * sent - handled - sent) as u64;
        let settled = async {
            loop {
                match ready().await? {
                    Some(now) if now > left => {}
                    now => return equal("what is not sent", now, Some(left)),
                }
            }
        };
        soon("the broker sends one for one that is settled", settled).await??;
        gate.add_permits(1);
        ours.settles_as(SettledAs::Handled).await?;
    }
    let handled = 2 * sent + 1;
    for _ in 0..handled + workers {
        ours.seen().await?;
    }
    let drain = ours.running.drain(SOON);
    let opened = async {
        tokio::task::yield_now().await;
        gate.add_permits(workers);
    };
    let (drained, ()) = tokio::join!(drain, opened);
    drained?;
    let left = (5 * sent - handled - workers) as u64;
    equal("what goes back", ready().await?, Some(left))?;
    equal("at once", most.load(Ordering::SeqCst), workers)
}

/// Without a word: its connections are cut.
async fn died(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let broker = std::net::SocketAddr::from(([127, 0, 0, 1], scene.broker().await?.port()));
    let proxy = sinew_testkit::harness::Proxy::start(broker).await?;
    let dying = crate::world::options(&format!("amqp://guest:guest@{}", proxy.address()));
    let dying = dying.connect().await?.into_any();
    let act = |_, _| std::future::pending();
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, as_it_is)?;
    let mut ours = cast.start(&dying).await?;
    let backend = scene.backend().await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    let held = ours.seen().await?;
    let mut python = scene.python(Generation::Today).await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    proxy.cut();
    equal("flagged", at(&python.received("on").await?, "/redelivered"), &json!(true))?;
    equal("handled", text(&python.handled("on").await?, "payload"), "'x'")?;
    // And ours is told to stop.
    soon("ours to be called off", held.context.cancelled()).await?;
    ours.settles_as(SettledAs::Cancelled).await?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// The virtual host makes it one: neither side says so.
async fn quorum(scene: Scene) -> Outcome {
    let broker = scene.broker().await?;
    let vhost = crate::world::quorum_vhost(broker, &scene).await?;
    let backend = crate::world::options(&broker.url_of(&vhost)).connect().await?.into_any();
    let requeue = |handler: EventHandler| handler.with_requeue_on_error(true);
    let cast = Cast::new("billing")?.acts("orders", "created", "on", fails(), requeue)?;
    let mut ours = cast.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    EventDispatcher::new(&backend, "orders")?.emit("created", &"x").await?;
    for number in 1..6 {
        let attempt = ours.seen().await?.context.attempt();
        let is_counted = match attempt {
            Attempt::Number(seen) => seen == number,
            // The first one it does not count.
            _ => number == 1,
        };
        check(is_counted, format!("{attempt:?} is number {number}"))?;
        ours.settles_as(SettledAs::Requeued).await?;
    }
    drop(ours);
    let mut python = scene.python(Generation::Today).await?;
    let spec = json!({
        "name": "p", "service": "billing",
        "handlers": [python_handler("on", "orders", "created", "pool", Json::Null)],
        "config": { "AMQP_URI": crate::world::pyamqp(&broker.url_of(&vhost)) },
    });
    python.ask("start", spec).await?;
    equal("handled", text(&python.handled("on").await?, "payload"), "'x'")?;
    let types = broker.list(&["list_queues", "-p", &vhost, "type"]).await?;
    check(types.iter().all(|it| text(it, "type").contains("quorum")), format!("{types:?}"))?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// Such a limit comes from a policy: a queue that is shared with Python has no arguments.
async fn full(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let limits = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let pattern = format!("^evt-{source}-");
    let policy = ["set_policy", &source, &pattern, limits, "--apply-to", "queues"];
    scene.broker().await?.ctl(&policy).await?;
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    let act = move |_, _| {
        let door = Arc::clone(&door);
        async move { door.acquire().await.map(|it| it.forget()).map_err(HandlerError::new) }
    };
    let cast = Cast::new(&scene.name("billing"))?.acts(&source, "created", "on", act, as_it_is)?;
    let cast = cast.with(|it| it.with_max_workers(1));
    let mut ours = cast.start(&scene.backend().await?).await?;
    let tap = Tap::start(address(scene.broker().await?)).await?;
    let emitter = crate::world::options(&url_through(tap.address())).connect().await?;
    let dispatcher = EventDispatcher::new(&emitter.into_any(), &source)?;
    // One is in hand, one waits.
    dispatcher.emit("created", &1).await?;
    equal("what is in hand", ours.seen().await?.payload, json!(1))?;
    dispatcher.emit("created", &2).await?;
    for _ in 0..3 {
        let refused = dispatcher.emit("created", &3).await.err();
        equal("one too many", refused.map(|it| it.kind()), Some(ErrorKind::Overloaded))?;
    }
    equal("on the wire", tap.count(Tap::BASIC_PUBLISH), 5)?;
    // Where there is room again, it is not for what was refused.
    gate.add_permits(3);
    for _ in 0..2 {
        ours.settles_as(SettledAs::Handled).await?;
    }
    dispatcher.emit("created", &4).await?;
    ours.settles_as(SettledAs::Handled).await?;
    for payload in [2, 4] {
        equal("what comes", ours.seen().await?.payload, json!(payload))?;
    }
    equal("on the wire", tap.count(Tap::BASIC_PUBLISH), 6)?;
    let received: u64 = ours.running.counts().map(|(_, _, counts)| counts.received).sum();
    equal("deliveries", received, 3)
}

async fn deleted(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let cast = Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?;
    let mut ours = cast.start(&backend).await?;
    let queue = format!("evt-{source}-created--{service}.on");
    scene.broker().await?.delete_queue("/", &queue).await?;
    loop {
        if let ServiceEvent::Up { gap, .. } = ours.event().await? {
            check(gap, "something may be missing")?;
            break;
        }
    }
    EventDispatcher::new(&backend, &source)?.emit("created", &"again").await?;
    equal("what comes", ours.seen().await?.payload, json!("again"))
}

async fn unroutable(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    dispatcher.emit("created", &1).await?;
    let must = EmitOptions::new().with_must_route(true);
    let refused = dispatcher.emit_with("created", &1, &must).await.err();
    equal("nobody wants it", refused.map(|it| it.kind()), Some(ErrorKind::Unroutable))?;
    let cast = Cast::new(&scene.name("billing"))?.handles(&source, "created", "on", as_it_is)?;
    let _ours = cast.start(&backend).await?;
    dispatcher.emit_with("created", &1, &must).await?;
    Ok(())
}
