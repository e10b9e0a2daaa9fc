//! A, D: a broker that dies, that takes back what is held too long, and that is short of memory.
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{Attempt, ErrorKind, Sent};
use sinew_events::{
    EventDispatcher, EventHandler, HandlerError, Profile, RetryPolicy, SettledAs, TimeoutLayer,
};
use sinew_testkit::harness::{Proxy, rabbitmq::RabbitMq};
use tokio::{sync::Semaphore, time::interval};

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{
        HELD_TOO_LONG, Held, Outcome, Scene, address, check, equal, options, quorum_vhost, soon,
        until_held, url_through,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("d4_while_memory_is_short_an_emit_ends_in_time_and_handlers_go_on", alarm),
        stage.trial("a7_what_is_held_too_long_is_called_off_before_it_runs_again", taken_back),
        stage.trial("fifty_panics_and_fifty_that_are_cut_off_leave_nothing_unacknowledged", fifty),
        stage.trial("a6_what_comes_too_often_is_kept_before_a_quorum_queue_drops_it", counted),
        stage.trial("a5_what_came_back_without_a_verdict_is_kept_where_once_is_all", once),
        stage.trial_on_4("a6_what_comes_too_often_is_kept_before_rabbitmq_4_drops_it", own_limit),
    ]);
}

async fn alarm(scene: Scene) -> Outcome {
    const WAITING: u32 = 5;
    let (blocked, answer) = (Duration::from_secs(1), Duration::from_secs(3));
    let victim = scene.victim().await?;
    let options = options(&victim.url()).with_blocked_timeout(blocked).with_answer_timeout(answer);
    let backend = options.connect().await?.into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    let act = move |_, _| {
        let door = Arc::clone(&door);
        async move { door.acquire().await.map(|it| it.forget()).map_err(HandlerError::new) }
    };
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, as_it_is)?;
    let mut ours = cast.with(|it| it.with_max_workers(1)).start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for number in 0..WAITING {
        dispatcher.emit("created", &number).await?;
    }
    // From here on one is held, and the others wait.
    equal("what runs", ours.seen().await?.payload, json!(0))?;
    victim.memory_alarm(true).await?;
    // The broker says that it is short when somebody publishes; what it was given then it may take later.
    for (what, said, within) in [
        ("handed over", (ErrorKind::Timeout, Sent::Maybe), answer),
        ("held back", (ErrorKind::Overloaded, Sent::No), blocked),
    ] {
        let since = Instant::now();
        let err = soon(what, dispatcher.emit("created", &what)).await?.err();
        equal(what, err.map(|it| (it.kind(), it.sent())), Some(said))?;
        let took = since.elapsed();
        check(took < within + Duration::from_secs(20), format!("{what}: {took:?}"))?;
    }
    gate.add_permits(100);
    for _ in 0..WAITING {
        ours.settles_as(SettledAs::Handled).await?;
    }
    victim.memory_alarm(false).await?;
    soon("an emit", async {
        let mut again = interval(Duration::from_millis(20));
        while dispatcher.emit("created", &"after").await.is_err() {
            again.tick().await;
        }
    })
    .await?;
    let mut seen = BTreeSet::new();
    while !seen.contains("\"after\"") {
        seen.insert(ours.seen().await?.payload.to_string());
    }
    check(!seen.contains("\"held back\""), "what was called not sent was not sent")
}

/// Runs that are on at once, and the most of them.
#[derive(Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One that is on until it is dropped.
struct On(Arc<AtOnce>);

impl AtOnce {
    fn begin(self: &Arc<Self>) -> On {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        On(Arc::clone(self))
    }
}

impl Drop for On {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long the channels that are opened from now on may hold a delivery.
async fn set_consumer_timeout(broker: &RabbitMq, timeout: Duration) -> Outcome {
    let millis = timeout.as_millis();
    let set = format!("application:set_env(rabbit, consumer_timeout, {millis}).");
    Ok(broker.ctl(&["eval", &set]).await.map(drop)?)
}

async fn taken_back(scene: Scene) -> Outcome {
    let victim = scene.victim().await?;
    set_consumer_timeout(&victim, Duration::from_secs(2)).await?;
    // From 4.3 on the queues look, and not the channels: classic ones do not.
    let version = scene.rabbitmq_version().await?;
    let does_classic = ["3.", "4.0.", "4.1.", "4.2."].iter().any(|it| version.starts_with(it));
    let vhost = if does_classic { "/".to_owned() } else { quorum_vhost(&victim, &scene).await? };
    let backend = options(&victim.url_of(&vhost)).connect().await?.into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let (runs, is_first) = (Arc::new(AtOnce::default()), Arc::new(AtomicBool::new(true)));
    let counted = Arc::clone(&runs);
    let act = move |_, _| {
        let (on, is_first) = (counted.begin(), is_first.swap(false, Ordering::SeqCst));
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            drop(on);
            Ok(())
        }
    };
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, as_it_is)?;
    let cast = cast.handles(&source, "paid", "on_paid", as_it_is)?;
    let mut ours = cast.start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    set_consumer_timeout(&victim, HELD_TOO_LONG).await?;
    dispatcher.emit("created", &"long").await?;
    let first = ours.seen().await?;
    soon("it to be called off", first.context.cancelled()).await?;
    ours.settles_as(SettledAs::Cancelled).await?;
    let again = ours.seen().await?;
    equal("the same", again.payload, json!("long"))?;
    equal("its attempt", again.context.attempt(), Attempt::Redelivered)?;
    ours.settles_as(SettledAs::Handled).await?;
    equal("at once", runs.most.load(Ordering::SeqCst), 1)?;
    for event_type in ["created", "paid"] {
        dispatcher.emit(event_type, &event_type).await?;
        equal("goes on", ours.seen().await?.payload, json!(event_type))?;
        ours.settles_as(SettledAs::Handled).await?;
    }
    let queue = format!("evt-{source}-created--{service}.on");
    until_held(&victim, &vhost, &queue, Held::default()).await
}

async fn fifty(scene: Scene) -> Outcome {
    let backend = scene.backend().await?;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let act = |_, payload: Json| async move {
        match payload.as_u64() {
            #[expect(clippy::panic, reason = "it is what is shown")]
            Some(0..50) => panic!("a handler fails"),
            Some(50..100) => std::future::pending().await,
            _ => Ok(()),
        }
    };
    let with = |handler: EventHandler| {
        handler.layer(TimeoutLayer::new(Duration::from_millis(50))).with_retry(RetryPolicy::none())
    };
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, with)?;
    let mut ours = cast.start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for number in 0..100 {
        dispatcher.emit("created", &number).await?;
    }
    for _ in 0..100 {
        ours.settles_as(SettledAs::DeadLettered).await?;
    }
    let (broker, queue) = (scene.broker().await?, format!("evt-{source}-created--{service}.on"));
    until_held(broker, "/", &queue, Held::default()).await?;
    let errors = Held { ready: 100, unacknowledged: 0 };
    until_held(broker, "/", &format!("{queue}.errors"), errors).await?;
    dispatcher.emit("created", &100).await?;
    ours.settles_as(SettledAs::Handled).await.map(drop)
}

/// Fails, and is given back at once, on a queue that counts.
async fn stops_before(scene: &Scene, limit: u32, policy: Option<&str>) -> Outcome {
    let broker = scene.broker().await?;
    let vhost = quorum_vhost(broker, scene).await?;
    if let Some(policy) = policy {
        broker.ctl(&["set_policy", "-p", &vhost, "limit", "^evt-", policy]).await?;
    }
    let backend = options(&broker.url_of(&vhost)).connect().await?.into_any();
    let act = |_, _| async { Err(HandlerError::new("told to fail")) };
    let requeue = |handler: EventHandler| {
        handler
            .with_requeue_on_error(true)
            .with_retry(RetryPolicy::none().with_max_deliveries(limit))
    };
    let cast = Cast::new("billing")?.acts("orders", "created", "on", act, requeue)?;
    let mut ours = cast.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    EventDispatcher::new(&backend, "orders")?.emit("created", &"x").await?;
    for _ in 0..limit {
        ours.settles_as(SettledAs::Requeued).await?;
    }
    // The broker would have dropped it, and said nothing.
    let last = ours.settles_as(SettledAs::Dropped).await?;
    equal("runs of the last", last.runs, 0)?;
    until_held(broker, &vhost, "evt-orders-created--billing.on", Held::default()).await
}

async fn counted(scene: Scene) -> Outcome {
    stops_before(&scene, 3, Some(r#"{"delivery-limit":5}"#)).await
}

/// Which is 20.
async fn own_limit(scene: Scene) -> Outcome {
    stops_before(&scene, 15, None).await
}

/// On a classic queue, which only says that it came before.
async fn once(scene: Scene) -> Outcome {
    let proxy = Proxy::start(address(scene.broker().await?)).await?;
    let near = options(&url_through(proxy.address()))
        .with_reconnect_wait(Duration::from_millis(200))
        .connect()
        .await?
        .into_any();
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let act = |_, _| std::future::pending();
    let with =
        |handler: EventHandler| handler.with_retry(RetryPolicy::default().with_max_deliveries(1));
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, with)?;
    let mut ours = cast.start(&near).await?;
    let backend = scene.backend().await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    ours.seen().await?;
    proxy.cut();
    ours.settles_as(SettledAs::Cancelled).await?;
    proxy.heal();
    let kept = ours.settles_as(SettledAs::DeadLettered).await?;
    equal("its runs", kept.runs, 0)?;
    let queue = format!("evt-{source}-created--{service}.on");
    until_held(scene.broker().await?, "/", &queue, Held::default()).await
}
