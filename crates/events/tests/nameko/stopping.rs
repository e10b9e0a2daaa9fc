//! S: how ours ends, where nameko does not drain.
use std::{sync::Arc, time::Duration};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::ErrorKind;
use sinew_events::{EventDispatcher, EventHandler, HandlerError};
use tokio::sync::Semaphore;

use crate::{
    Stage,
    rust::Cast,
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, soon, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("s1_a_drain_ends_what_runs_and_gives_back_what_waits", drained),
        stage.trial("s2_a_drain_that_is_too_short_gives_up_what_runs", cut_short),
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
