//! Event types that are patterns to a handler, and those that are no subject.
use sinew_core::{ErrorKind, Result, Sent};
use sinew_events::{Context, EventHandler, HandlerError, Service};
use tokio::sync::mpsc;

use crate::{
    behaviours,
    broker::Broker,
    failed, is,
    scene::{SOON, Scene, soon},
};

behaviours! {
    a_pattern_of_types_has_those_that_it_matches_and_no_others,
    types_that_are_no_subject_and_a_hash_within_are_carried_or_refused_by_name,
}

/// What a method was given: its name, the event's type, its payload.
type Heard = (&'static str, String, u64);

/// A service with a handler for each, kept where the broker has queues.
fn listening(
    scene: &Scene,
    wanted: &[(&'static str, &str)],
) -> Result<(Service, mpsc::UnboundedReceiver<Heard>)> {
    let (tell, told) = mpsc::unbounded_channel();
    let mut service = Service::new("billing")?;
    for &(method, event_type) in wanted {
        let tell = tell.clone();
        let act = move |ctx: Context, id: u64| {
            let event_type = ctx.event_type().unwrap_or("none").to_owned();
            let told = tell.send((method, event_type, id));
            async move { told.map_err(|err| HandlerError::new(err.to_string())) }
        };
        let handler = EventHandler::new(scene.source(), event_type, method, act);
        let is_reliable = !matches!(*scene.broker, Broker::Nats(_));
        service = service.with_handler(handler.with_reliable_delivery(is_reliable))?;
    }
    Ok((service, told))
}

/// Emits these, each once, and compares what is heard of them: by whom, and under which type.
async fn compare(scene: &Scene, types: &[&str], wanted: &[(&'static str, &str)]) -> Result<()> {
    let hears = |pattern: &str, event_type: &str| match pattern {
        "a.#" => event_type == "a" || event_type.starts_with("a."),
        "a.*" => event_type.starts_with("a.") && event_type.matches('.').count() == 1,
        "a.#.z" => event_type == "a.z" || event_type == "a.b.z",
        "#" => true,
        exact => exact == event_type,
    };
    let (service, mut told) = listening(scene, wanted)?;
    let started = scene.start(&service).await?;
    let orders = scene.orders().await?;
    let mut expected = Vec::new();
    for (id, event_type) in (0_u64..).zip(types) {
        orders.emit(event_type, &id).await?;
        let hearing = wanted.iter().filter(|it| hears(it.1, event_type));
        expected.extend(hearing.map(|it| (it.0, (*event_type).to_owned(), id)));
    }
    orders.flush().await?;
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        heard.push(soon("each is heard", told.recv()).await?.ok_or_else(|| failed("it ended"))?);
    }
    // What was to come to others as well would have come before the end of a drain.
    started.running.drain(SOON).await?;
    heard.extend(std::iter::from_fn(|| told.try_recv().ok()));
    expected.sort();
    heard.sort();
    is(heard == expected, format!("{heard:?} and not {expected:?}"))
}

async fn a_pattern_of_types_has_those_that_it_matches_and_no_others(scene: Scene) -> Result<()> {
    let types = ["b", "ab", "b.a", "A", "a", "a.b", "a.b.c", "a.b.z"];
    let wanted = [("on_any", "a.#"), ("on_one", "a.*"), ("on_itself", "a.b"), ("on_all", "#")];
    compare(&scene, &types, &wanted).await
}

/// A broker of subjects has no name for an empty type, nor for one with a space; nor has NATS a `#` before the end.
async fn types_that_are_no_subject_and_a_hash_within_are_carried_or_refused_by_name(
    scene: Scene,
) -> Result<()> {
    const ODD: [(&str, &str); 3] =
        [("on_empty", ""), ("on_spaced", "order created"), ("on_within", "a.#.z")];
    if matches!(*scene.broker, Broker::Memory(_) | Broker::Amqp(_)) {
        let types = ["order", "created", "a.z", "a.b.z", "a.b", "", "order created"];
        return compare(&scene, &types, &[&ODD[..], &[("on_all", "#")]].concat()).await;
    }
    let orders = scene.orders().await?;
    for event_type in ["", "order created"] {
        match orders.emit(event_type, &7).await {
            Ok(_) => return Err(failed(format!("{event_type:?} was taken"))),
            Err(err) => is((err.kind(), err.sent()) == (ErrorKind::Unsupported, Sent::No), err)?,
        }
    }
    for (method, event_type) in ODD {
        let (service, _told) = listening(&scene, &[("on_well", "a.b"), (method, event_type)])?;
        let Err(err) = scene.start(&service).await else {
            return Err(failed(format!("{event_type:?} was taken")));
        };
        is(err.kind() == ErrorKind::Unsupported, &err)?;
        is(err.subject() == Some(format!("billing.{method}").as_str()), &err)?;
    }
    // And nothing was begun that holds up what can be carried.
    compare(&scene, &["a.b"], &[("on_well", "a.b")]).await
}
