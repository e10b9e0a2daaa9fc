//! C: connections that are closed, freeze, come late or are refused, and queues that changed meanwhile.
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_adapter_amqp::{
    AmqpOptions,
    lapin::{
        Connection, ConnectionProperties,
        options::{QueueDeclareOptions, QueueDeleteOptions},
        types::{AMQPValue, FieldTable, ShortString},
    },
};
use sinew_core::{AnyBackend, ErrorKind, Sent};
use sinew_events::{EventDispatcher, HandlerError, ServiceEvent};
use sinew_testkit::harness::{Proxy, rabbitmq::Tap};
use tokio::{sync::Semaphore, time::interval};

use crate::{
    Stage, is_long,
    peer::Desk,
    rust::{Cast, Rust, as_it_is},
    world::{
        AT_ONCE, Outcome, Scene, address, at, check, equal, options, python_handler, soon,
        url_through,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("c1_each_queue_is_bound_once_for_each_closed_connection", closed),
        stage.trial("c2_a_frozen_broker_is_left_within_three_heartbeats", frozen),
        stage.trial("c2_a_drain_beside_a_frozen_broker_ends_in_time", drained_while_frozen),
        stage.trial("c4_a_queue_that_changed_ends_its_handler_and_no_other", changed),
        stage.trial("c5_a_broker_that_is_not_there_yet_is_waited_for_where_asked_to", late),
        stage.trial("c6_who_may_not_is_told_at_once", refused),
    ]);
}

/// One that comes back soon.
fn through(address: std::net::SocketAddr) -> AmqpOptions {
    options(&url_through(address)).with_reconnect_wait(Duration::from_millis(200))
}

/// A handler each of `created` and `paid`.
async fn two_handlers(backend: &AnyBackend, source: &str, service: &str) -> Outcome<Rust> {
    let cast = Cast::new(service)?.handles(source, "created", "on", as_it_is)?;
    cast.handles(source, "paid", "on_paid", as_it_is)?.start(backend).await
}

/// Waits until that is so of both of its handlers.
async fn both(ours: &mut Rust, wanted: fn(&ServiceEvent) -> Option<&str>) -> Outcome {
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        let event = ours.event().await?;
        seen.extend(wanted(&event).map(str::to_owned));
    }
    Ok(())
}

fn up(event: &ServiceEvent) -> Option<&str> {
    match event {
        ServiceEvent::Up { handler, .. } => Some(handler.as_str()),
        _ => None,
    }
}

fn down(event: &ServiceEvent) -> Option<&str> {
    match event {
        ServiceEvent::Down { handler, .. } => Some(handler.as_str()),
        _ => None,
    }
}

async fn emit_until_confirmed(dispatcher: &EventDispatcher, event_type: &str, what: &Json) {
    let mut again = interval(Duration::from_millis(20));
    loop {
        again.tick().await;
        if dispatcher.emit(event_type, what).await.is_ok() {
            return;
        }
    }
}

/// As an administrator closes them, with a member in Python beside ours.
async fn closed(scene: Scene) -> Outcome {
    let rounds = if is_long() { 20 } else { 3 };
    let victim = scene.victim().await?;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let tap = Tap::start(address(&victim)).await?;
    let backend = through(tap.address()).connect().await?.into_any();
    let mut ours = two_handlers(&backend, &source, &service).await?;
    let (_peer, mut python) = scene.python_of(&victim).await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let queues = ["created", "paid"].map(|it| {
        let method = if it == "paid" { "on_paid" } else { "on" };
        format!("evt-{source}-{it}--{service}.{method}")
    });
    let binds = |round| {
        for queue in &queues {
            equal(format!("binds of {queue}"), tap.binds(queue), round + 1)?;
        }
        equal("binds of any", tap.count(Tap::QUEUE_BIND), 2 * (round + 1))
    };
    binds(0)?;
    for round in 1..=rounds {
        victim.close_all_connections("trial").await?;
        both(&mut ours, up).await?;
        soon("an emit", emit_until_confirmed(&dispatcher, "paid", &json!([round, "paid"]))).await?;
        soon("both members", both_handle(&dispatcher, &mut ours, &mut python, round)).await??;
        binds(round)?;
    }
    python.ask("kill", json!({ "name": "p" })).await
}

/// Emits until ours and Python's have handled something of this round, and ours what it alone handles.
async fn both_handle(
    dispatcher: &EventDispatcher,
    ours: &mut Rust,
    python: &mut Desk,
    round: usize,
) -> Outcome {
    let (mut paid, mut we, mut they) = (false, false, false);
    let mut pace = interval(Duration::from_millis(20));
    let is_of_it = |payload: &Json| at(payload, "/0") == &json!(round);
    while !(paid && we && they) {
        pace.tick().await;
        dispatcher.emit("created", &json!([round, "created"])).await?;
        while let Ok(seen) = ours.seen.try_recv() {
            match at(&seen.payload, "/1").as_str() {
                Some("paid") => paid |= is_of_it(&seen.payload),
                _ => we |= is_of_it(&seen.payload),
            }
        }
        while python.has_more("on") {
            they |= is_of_it(at(&python.handled("on").await?, "/json"));
        }
    }
    Ok(())
}

/// Whatever is open then carries nothing any more, and nobody says so.
async fn frozen(scene: Scene) -> Outcome {
    const HEARTBEAT: Duration = Duration::from_secs(1);
    // The rest is for a machine that has other things to do.
    const LEFT: Duration = Duration::from_secs(3 + 17);
    let tap = Tap::start(address(scene.broker().await?)).await?;
    let backend = through(tap.address()).with_heartbeat(HEARTBEAT).connect().await?.into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let cast = Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?;
    let mut ours = cast.start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    dispatcher.emit("created", &"before").await?;
    equal("what comes", ours.seen().await?.payload, json!("before"))?;
    tap.strand(Tap::CONNECTION_OPEN);
    let since = Instant::now();
    let consuming = async {
        while up(&ours.event().await?).is_none() {}
        Outcome::Ok(since.elapsed())
    };
    let emitting = async {
        let err = dispatcher.emit("created", &"on its way").await.err();
        let said = err.map(|it| (it.kind(), it.sent()));
        equal("what is said", said, Some((ErrorKind::Disconnected, Sent::Maybe)))?;
        emit_until_confirmed(&dispatcher, "created", &json!("after")).await;
        Outcome::Ok(since.elapsed())
    };
    let (consuming, emitting) = soon("both", async { tokio::join!(consuming, emitting) }).await?;
    for (what, took) in [("consuming", consuming?), ("emitting", emitting?)] {
        check(took <= LEFT, format!("{what} goes on after {took:?}"))?;
    }
    // What was handled before may come again: its ack may have been swallowed.
    while ours.seen().await?.payload != json!("after") {}
    Ok(())
}

/// Nothing that it says is answered any more: not the end of its intake, not what it acknowledges or gives back.
async fn drained_while_frozen(scene: Scene) -> Outcome {
    const WITHIN: Duration = Duration::from_secs(2);
    // What is given up has two seconds; the rest is for a machine that has other things to do.
    const LEFT: Duration = Duration::from_secs(2 + 2 + 16);
    let tap = Tap::start(address(scene.broker().await?)).await?;
    let backend = through(tap.address()).with_heartbeat(Duration::from_secs(30));
    let backend = backend.connect().await?.into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    let act = move |_, _| {
        let door = Arc::clone(&door);
        async move { door.acquire().await.map(|it| it.forget()).map_err(HandlerError::new) }
    };
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, as_it_is)?;
    let cast = cast.with(|it| it.with_max_workers(1).with_prefetch(3));
    let mut ours = cast.start(&backend).await?;
    let emitter = EventDispatcher::new(&scene.backend().await?, &source)?;
    for number in 0..3 {
        emitter.emit("created", &number).await?;
    }
    equal("what runs", ours.seen().await?.payload, json!(0))?;
    tap.strand(Tap::CONNECTION_OPEN);
    gate.add_permits(1);
    let since = Instant::now();
    let drained = ours.running.drain(WITHIN).await;
    check(since.elapsed() < LEFT, format!("{drained:?} after {:?}", since.elapsed()))?;
    equal("it says so", drained.err().map(|it| it.kind()), Some(ErrorKind::Timeout))?;
    // Nobody has it but the broker, once that sees the connection go.
    drop((backend, tap));
    let cast = Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?;
    let mut again = cast.start(&scene.backend().await?).await?;
    let mut seen = HashSet::new();
    while seen.len() < 3 {
        seen.insert(again.seen().await?.payload.to_string());
    }
    Ok(())
}

async fn changed(scene: Scene) -> Outcome {
    let broker = scene.broker().await?;
    let proxy = Proxy::start(address(broker)).await?;
    // After three heartbeats and an answer's time nobody holds a queue any more who was cut off.
    let near = through(proxy.address())
        .with_heartbeat(Duration::from_secs(1))
        .with_answer_timeout(Duration::from_secs(4));
    let near = near.connect().await?.into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let mut ours = two_handlers(&near, &source, &service).await?;
    let queue = format!("evt-{source}-created--{service}.on");
    proxy.cut();
    both(&mut ours, down).await?;
    declare_otherwise(&broker.url(), &queue).await?;
    proxy.heal();
    let error = loop {
        if let ServiceEvent::Ended { handler, error, .. } = ours.event().await? {
            equal("whose end", handler.as_str(), &*format!("{service}.on"))?;
            break error;
        }
    };
    check(error.as_ref().is_some_and(|it| it.contains(&queue)), format!("{error:?} names it"))?;
    let ended = soon("its end", ours.running.ended()).await?.ok_or("none has ended")?;
    equal("whose end", ended.handler.as_str(), &*format!("{service}.on"))?;
    let kind = ended.result.err().map(|it| (it.kind(), it.is_transient()));
    equal("why", kind, Some((ErrorKind::Conflict, false)))?;
    let backend = scene.backend().await?;
    EventDispatcher::new(&backend, &source)?.emit("paid", &"still").await?;
    equal("what comes to the other", ours.seen().await?.payload, json!("still"))
}

/// Somebody makes another queue of it.
async fn declare_otherwise(url: &str, queue: &str) -> Outcome {
    let connection =
        Connection::connect(&format!("{url}/%2f"), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let name = || ShortString::try_new(queue);
    channel.queue_delete(name()?, QueueDeleteOptions::default()).await?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(7));
    channel.queue_declare(name()?, options, arguments).await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn late(scene: Scene) -> Outcome {
    let victim = scene.victim().await?;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    victim.kill()?;
    let options = through(address(&victim));
    let since = Instant::now();
    let refused = options.clone().connect().await.err();
    equal("by default", refused.map(|it| it.kind()), Some(ErrorKind::Unreachable))?;
    check(since.elapsed() < AT_ONCE, format!("told after {:?}", since.elapsed()))?;
    let waiting = tokio::spawn({
        let (source, service) = (source.clone(), service.clone());
        async move {
            let backend = options.with_retry_first(true).connect().await?.into_any();
            let ours = two_handlers(&backend, &source, &service).await?;
            Outcome::Ok((backend, ours))
        }
    });
    victim.restart().await?;
    let (backend, mut ours) = soon("a start", waiting).await???;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    equal("what comes", ours.seen().await?.payload, json!("x"))
}

async fn refused(scene: Scene) -> Outcome {
    let broker = scene.broker().await?;
    let (source, user) = (scene.name("orders"), scene.name("user"));
    broker.ctl(&["add_user", &user, "secret"]).await?;
    let own = || options(&broker.url()).with_user(&user, "secret");
    for (what, options, kind) in [
        ("a wrong password", own().with_user(&user, "wrong"), ErrorKind::Denied),
        ("no virtual host", own().with_vhost("no such"), ErrorKind::NotFound),
        ("another's virtual host", own(), ErrorKind::Denied),
        // To wait for a broker is not to wait for another answer.
        ("waiting", own().with_user(&user, "wrong").with_retry_first(true), ErrorKind::Denied),
    ] {
        let since = Instant::now();
        let refused = options.connect().await.err();
        equal(what, refused.map(|it| it.kind()), Some(kind))?;
        check(since.elapsed() < AT_ONCE, format!("{what}: told after {:?}", since.elapsed()))?;
    }
    // Its exchange is there: what is refused is the rest.
    let backend = scene.backend().await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    for (what, [configure, write, read]) in [
        ("who may declare nothing", ["^$", ".*", ".*"]),
        ("who may bind nothing", [".*", "^$", ".*"]),
        ("who may read nothing", [".*", ".*", "^$"]),
    ] {
        broker.ctl(&["set_permissions", &user, configure, write, read]).await?;
        let backend = own().connect().await?.into_any();
        let since = Instant::now();
        let service = sinew_events::Service::new(&scene.name("billing"))?;
        let handler = sinew_events::EventHandler::new(
            &source,
            "created",
            "on",
            |_: sinew_events::Context, _: Json| async { Ok::<_, HandlerError>(()) },
        );
        let refused = service.with_handler(handler)?.start(&backend).await.err();
        equal(what, refused.map(|it| it.kind()), Some(ErrorKind::Denied))?;
        check(since.elapsed() < AT_ONCE, format!("{what}: told after {:?}", since.elapsed()))?;
    }
    Ok(())
}
