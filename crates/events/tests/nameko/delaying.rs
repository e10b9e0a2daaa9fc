//! X: delayed retries beside nameko-amqp-retry.
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_adapter_amqp::DelayLayout;
use sinew_core::Attempt;
use sinew_events::{EventDispatcher, EventHandler, HandlerError, RetryPolicy, SettledAs};

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let kombus = Generation::KOMBUS;
    trials.extend(stage.trials(
        kombus,
        "x1_what_python_backs_off_comes_to_ours_with_its_count",
        from_python,
    ));
    trials.extend(stage.trials(kombus, "x2_what_we_delay_in_its_layout_python_counts", to_python));
}

async fn from_python(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let mut python = scene.peer().await?;
    let then = json!({ "then": { "fail": 1_000_000, "backoff": true } });
    let handler = python_handler("on", &source, "created", "pool", then);
    python.start("p", &service, [handler]).await?;
    let backend = scene.backend().await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    let backed = |it: &Json| text(it, "told") == "backoff";
    python.until("it backs off", backed).await?;
    // Gone from there, so that it comes back to ours.
    python.ask("kill", json!({ "name": "p" })).await?;
    let cast = Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?;
    let mut ours = cast.start(&backend).await?;
    let seen = ours.seen().await?;
    equal("its payload", seen.payload, json!("x"))?;
    let attempt = seen.context.attempt();
    check(
        matches!(attempt, Attempt::Number(2..)),
        format!("{attempt:?}: as often as it failed there, and once more"),
    )?;
    // Its address is the queue's, its type is that of the handler.
    equal("its type", seen.context.event_type(), Some("created"))?;
    ours.settles_as(SettledAs::Handled).await.map(drop)
}

async fn to_python(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let options = scene.options().await?.with_delays(DelayLayout::NamekoAmqpRetry);
    let backend = options.connect().await?.into_any();
    let act = |_, _| async { Err(HandlerError::new("told to fail")) };
    let retry = RetryPolicy::none()
        .with_delays([20, 20, 3000].map(Duration::from_millis))
        .with_jitter(false);
    let with = |handler: EventHandler| handler.with_retry(retry.clone());
    let mut ours =
        Cast::new(&service)?.acts(&source, "created", "on", act, with)?.start(&backend).await?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"x").await?;
    for millis in [20, 20, 3000] {
        ours.settles_as(SettledAs::Delayed(Duration::from_millis(millis))).await?;
    }
    ours.running.drain(Duration::from_secs(20)).await?;
    let mut python = scene.peer().await?;
    let then = json!({ "then": { "fail": 2, "backoff": true } });
    let handler = python_handler("on", &source, "created", "pool", then);
    python.start("p", &service, [handler]).await?;
    // From 4 on RabbitMQ takes no deaths from clients: neither from ours nor from Python.
    let counted = match scene.rabbitmq_version().await?.starts_with("3.") {
        true => [3, 4],
        false => [1, 1],
    };
    for attempts in counted {
        let backed = python.until("it backs off", |it| text(it, "told") == "backoff").await?;
        equal("the attempts that it counts", at(&backed, "/attempts"), &json!(attempts))?;
    }
    for _ in 0..3 {
        python.handled("on").await?;
    }
    python.ask("kill", json!({ "name": "p" })).await
}
