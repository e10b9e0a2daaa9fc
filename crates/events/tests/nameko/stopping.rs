//! S: how ours ends, where nameko does not drain.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{Attempt, ErrorKind};
use sinew_events::{EventDispatcher, EventHandler, HandlerError};
use tokio::sync::Semaphore;

use crate::{
    Stage,
    member::{AHEAD, Member, Spec},
    rust::{Cast, as_it_is},
    world::{
        Generation, Held, Outcome, Scene, at, check, equal, python_handler, soon, text, until_held,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("s1_a_drain_ends_what_runs_and_gives_back_what_waits", drained),
        stage.trial("s2_a_drain_that_is_too_short_gives_up_what_runs", cut_short),
        stage.trial("s1_sigterm_ends_what_runs_and_gives_back_what_was_sent_ahead", terminated),
        stage.trial("s2_a_second_sigterm_and_a_deadline_end_a_process_at_once", ended_at_once),
        stage.trial("s2_what_kills_its_process_each_time_is_kept_in_the_end", crashes),
    ]);
}

async fn drained(scene: Scene) -> Outcome {
    const BACKLOG: u32 = 9;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    let act = move |context: sinew_events::Context, payload: Json| {
        let door = Arc::clone(&door);
        async move {
            let permit = door.acquire().await.map_err(HandlerError::new)?;
            permit.forget();
            // Its context is alive to the end.
            context.emit("billed", &payload).await?;
            Ok(())
        }
    };
    // One at a time, with the others sent ahead to a second handler's place.
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, |it: EventHandler| it)?;
    let mut ours = cast.with(|it| it.with_max_workers(1)).start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for number in 0..=BACKLOG {
        dispatcher.emit("created", &number).await?;
    }
    let mut python = scene.python(Generation::Today).await?;
    let billed = python_handler("billed", &service, "billed", "pool", Json::Null);
    python.start("ear", &scene.name("mailing"), [billed]).await?;
    equal("what runs", ours.seen().await?.payload, json!(0))?;
    let drain = ours.running.drain(Duration::from_secs(50));
    let opened = async {
        tokio::task::yield_now().await;
        gate.add_permits(1);
    };
    let (drained, ()) = tokio::join!(drain, opened);
    drained?;
    check(ours.seen.try_recv().is_err(), "nothing new was begun")?;
    equal("what it emitted", text(&python.handled("billed").await?, "payload"), "0")?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    let mut left = Vec::new();
    for _ in 0..BACKLOG {
        left.push(at(&python.handled("on").await?, "/json").clone());
    }
    left.sort_by_key(Json::as_u64);
    equal("what was left", left, (1..=BACKLOG).map(|it| json!(it)).collect())?;
    check(!python.has_more("on"), "what ran was acknowledged")?;
    for name in ["p", "ear"] {
        python.ask("kill", json!({ "name": name })).await?;
    }
    Ok(())
}

async fn cut_short(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let act = |_, _| std::future::pending();
    let cast = Cast::new(&service)?.acts(&source, "created", "on", act, |it: EventHandler| it)?;
    let mut ours = cast.start(&backend).await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    ours.seen().await?;
    let drained = soon("its end", ours.running.drain(Duration::from_millis(100))).await?;
    equal("it says so", drained.err().map(|it| it.kind()), Some(ErrorKind::Timeout))?;
    let mut python = scene.python(Generation::Today).await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    equal("flagged", at(&python.received("on").await?, "/redelivered"), &json!(true))?;
    equal("handled", text(&python.handled("on").await?, "payload"), "'x'")?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// A service in a process of its own, and what it is told by.
struct Act {
    spec: Spec,
    dispatcher: EventDispatcher,
    queues: [String; 2],
}

/// How many events of each type there are.
const EACH: u64 = 5;

impl Act {
    async fn new(scene: &Scene, within: Duration) -> Outcome<Self> {
        let (source, service) = (scene.name("orders"), scene.name("billing"));
        let queues = ["created", "paid"].map(|it| format!("evt-{source}-{it}--{service}.{it}"));
        let dispatcher = EventDispatcher::new(&scene.backend().await?, &source)?;
        let url = scene.broker().await?.url();
        let spec = Spec { url, source, service, within, crashes: false, max_deliveries: None };
        Ok(Self { spec, dispatcher, queues })
    }

    /// A member that has begun one event, with others of both types sent ahead, and more that wait.
    async fn busy(&self, scene: &Scene) -> Outcome<Member> {
        // Both queues are there from now on.
        let service = sinew_events::Service::new(&self.spec.service)?;
        let idle = |it: &str| {
            EventHandler::new(
                &self.spec.source,
                it,
                it,
                |_: sinew_events::Context, _: Json| async { Ok::<_, HandlerError>(()) },
            )
        };
        let service = service.with_handler(idle("created"))?.with_handler(idle("paid"))?;
        service.start(&scene.backend().await?).await?.drain(Duration::from_secs(20)).await?;
        for event_type in ["created", "paid"] {
            for number in 0..EACH {
                self.dispatcher.emit(event_type, &format!("{event_type} {number}")).await?;
            }
        }
        let mut member = Member::start(&self.spec)?;
        check(member.begun().await?.is_some(), "it has begun one")?;
        let unacknowledged = u64::from(AHEAD);
        let sent_ahead = Held { ready: EACH - unacknowledged, unacknowledged };
        self.until(scene, [sent_ahead; 2]).await?;
        Ok(member)
    }

    /// Waits until the queues hold that, in either order.
    async fn until(&self, scene: &Scene, [some, other]: [Held; 2]) -> Outcome {
        let broker = scene.broker().await?;
        let [first, second] = &self.queues;
        let either = async |one: Held, two: Held| {
            until_held(broker, "/", first, one).await?;
            until_held(broker, "/", second, two).await
        };
        tokio::select! {
            Ok(()) = either(some, other) => Ok(()),
            Ok(()) = either(other, some), if some != other => Ok(()),
            else => Err(format!("the queues hold neither {some:?} nor {other:?}").into()),
        }
    }
}

/// All of a type that waits, and what runs of the other one.
const DRAINING: [Held; 2] =
    [Held { ready: EACH - 1, unacknowledged: 1 }, Held { ready: EACH, unacknowledged: 0 }];

async fn terminated(scene: Scene) -> Outcome {
    let act = Act::new(&scene, Duration::from_secs(600)).await?;
    let backend = scene.backend().await?;
    let ear = Cast::new(&scene.name("mailing"))?;
    let ear = ear.handles(&act.spec.service, "billed", "on", as_it_is)?;
    let mut ear = ear.start(&backend).await?;
    let mut member = act.busy(&scene).await?;
    member.terminate()?;
    act.until(&scene, DRAINING).await?;
    member.go_on().await?;
    let (status, said) = member.ended().await?;
    check(status.success(), format!("{status}: {said}"))?;
    equal("begun after it", member.begun().await?, None)?;
    let billed = ear.seen().await?.payload;
    check(billed == "created 0" || billed == "paid 0", format!("{billed} was emitted"))?;
    let done = Held { ready: EACH - 1, unacknowledged: 0 };
    act.until(&scene, [done, Held { ready: EACH, unacknowledged: 0 }]).await
}

async fn ended_at_once(scene: Scene) -> Outcome {
    let act = Act::new(&scene, Duration::from_secs(600)).await?;
    let mut member = act.busy(&scene).await?;
    member.terminate()?;
    act.until(&scene, DRAINING).await?;
    let since = Instant::now();
    member.terminate()?;
    let (status, said) = member.ended().await?;
    check(since.elapsed() < Duration::from_secs(10), format!("after {:?}", since.elapsed()))?;
    check(!status.success() && said.contains("a second signal"), format!("{status}: {said}"))?;
    let all = Held { ready: EACH, unacknowledged: 0 };
    act.until(&scene, [all; 2]).await?;
    // Nor does it wait for longer than it was told to.
    let within = Duration::from_millis(500);
    let mut member = Member::start(&Spec { within, ..act.spec.clone() })?;
    let begun: Json = serde_json::from_str(&member.begun().await?.ok_or("it has begun none")?)?;
    member.terminate()?;
    let (status, said) = member.ended().await?;
    check(!status.success() && said.contains("given up"), format!("{status}: {said}"))?;
    act.until(&scene, [all; 2]).await?;
    // And what it had comes again.
    let cast = Cast::new(&act.spec.service)?;
    let cast = cast.handles(&act.spec.source, "created", "created", as_it_is)?;
    let cast = cast.handles(&act.spec.source, "paid", "paid", as_it_is)?;
    let mut ours = cast.start(&scene.backend().await?).await?;
    for _ in 0..2 * EACH {
        let seen = ours.seen().await?;
        if seen.payload == begun {
            return equal("flagged", seen.context.attempt(), Attempt::Redelivered);
        }
    }
    Err(format!("{begun} has not come again").into())
}

/// On a queue that counts: RabbitMQ's classic ones do not.
async fn crashes(scene: Scene) -> Outcome {
    const MAX: u32 = 2;
    let broker = scene.broker().await?;
    let vhost = crate::world::quorum_vhost(broker, &scene).await?;
    let url = broker.url_of(&vhost);
    let act = Act::new(&scene, Duration::from_secs(60)).await?;
    let backend = crate::world::options(&url).connect().await?.into_any();
    let spec = Spec { url, crashes: true, max_deliveries: Some(MAX), ..act.spec };
    let [queue, _] = &act.queues;
    let emitter = EventDispatcher::new(&backend, &spec.source)?;
    for number in 0..MAX {
        let mut member = Member::start(&spec)?;
        if number == 0 {
            until_held(broker, &vhost, queue, Held::default()).await?;
            emitter.emit("created", &"poison").await?;
        }
        equal("begun", member.begun().await?.as_deref(), Some("\"poison\""))?;
        let (status, _) = member.ended().await?;
        check(!status.success(), format!("{status}: it was killed"))?;
    }
    let _survivor = Member::start(&spec)?;
    let errors = Held { ready: 1, unacknowledged: 0 };
    until_held(broker, &vhost, &format!("{queue}.errors"), errors).await?;
    until_held(broker, &vhost, queue, Held::default()).await?;
    let errors = sinew_events::ErrorQueue::new(&backend, sinew_core::Queue::parse(queue)?)?;
    let mut kept = errors.take(1, Duration::from_secs(20)).await?;
    let kept = kept.pop().ok_or("none is kept")?;
    equal("why", kept.kind(), Some("redelivered"))?;
    equal("its deliveries", kept.deliveries(), Some(i64::from(MAX) + 1))?;
    kept.discard().await?;
    Ok(())
}
