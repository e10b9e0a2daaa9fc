//! X3: one trace through services of both kinds, under nameko's real instrumentation by OpenTelemetry.
use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{Message, PublishExt as _};
use sinew_events::{Context, ContextData, EventDispatcher, Source};

use crate::{
    Stage,
    peer::Desk,
    rust::{Cast, Rust, as_it_is},
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let traced = &[Generation::Traced];
    trials.extend(
        [
            stage.trials(
                traced,
                "x3_from_python_through_ours_and_back_it_is_one_trace",
                from_python,
            ),
            stage.trials(traced, "x3_from_ours_through_python_and_back_it_is_one_trace", from_ours),
            stage.trials(traced, "x3_a_plain_traceparent_is_read_after_the_prefixed_one", plain),
        ]
        .into_iter()
        .flatten(),
    );
}

/// The trace and the span that a `traceparent` names.
fn ids(traceparent: Option<&str>) -> Outcome<(String, String)> {
    let parts: Vec<_> = traceparent.ok_or("no trace")?.split('-').collect();
    match *parts {
        ["00", trace, span, _] => Ok((trace.to_owned(), span.to_owned())),
        _ => Err(format!("{traceparent:?} is no trace").into()),
    }
}

/// Ours hears `created` of the trial's first service and says `billed`; Python hears that and says `mailed`; ours hears it.
async fn started(scene: &Scene) -> Outcome<(Rust, Desk)> {
    let [source, relay, last] = ["orders", "billing", "mailing"].map(|it| scene.name(it));
    let act = |context: Context, payload: Json| async move {
        context.emit("billed", &payload).await?;
        Ok(())
    };
    let cast = Cast::new(&relay)?.acts(&source, "created", "first", act, as_it_is)?;
    let cast = cast.handles(&last, "mailed", "last", as_it_is)?;
    let ours = cast.start(&scene.backend().await?).await?;
    let mut python = scene.peer().await?;
    let then = json!({ "then": { "emit": "mailed" } });
    python.start("p", &last, [python_handler("on", &relay, "billed", "pool", then)]).await?;
    Ok((ours, python))
}

/// What Python handles next is a child of `parent` in `trace`, and so is, through it, what ours hears last.
async fn goes_on(ours: &mut Rust, python: &mut Desk, trace: &str, parent: &str) -> Outcome {
    let handled = python.handled("on").await?;
    let span = at(&handled, "/span");
    equal("the trace in Python", text(span, "trace"), trace)?;
    equal("the parent of Python's span", text(span, "parent"), parent)?;
    let last = ours.seen().await?;
    equal("who is last", last.context.handler().method(), "last")?;
    let (ended, own) = ids(last.context.traceparent())?;
    equal("the trace in the end", &*ended, trace)?;
    check(own != parent && own != text(span, "id"), "its span is its own")
}

async fn from_python(scene: Scene) -> Outcome {
    let (mut ours, mut python) = started(&scene).await?;
    python.emit(&scene.name("orders"), "created", "1", json!({})).await?;
    let first = ours.seen().await?;
    let came = first.context.message().headers.text("nameko.traceparent");
    let (trace, theirs) = ids(came)?;
    let (same, own) = ids(first.context.traceparent())?;
    equal("the trace in ours", &same, &trace)?;
    check(own != theirs, "its span is its own")?;
    goes_on(&mut ours, &mut python, &trace, &own).await?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn from_ours(scene: Scene) -> Outcome {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    let (mut ours, mut python) = started(&scene).await?;
    let mut context = ContextData::default();
    context.insert("traceparent", format!("00-{TRACE}-{SPAN}-01"))?;
    let dispatcher = EventDispatcher::new(&scene.backend().await?, &scene.name("billing"))?;
    dispatcher.with_context(context).emit("billed", &1).await?;
    goes_on(&mut ours, &mut python, TRACE, SPAN).await?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// Its standalone dispatcher writes it without the prefix.
async fn plain(scene: Scene) -> Outcome {
    let (mut ours, mut python) = started(&scene).await?;
    let source = scene.name("orders");
    python.ask("emit", json!({ "source": source, "type": "created", "payload": "1" })).await?;
    let first = ours.seen().await?;
    let headers = &first.context.message().headers;
    check(headers.value("nameko.traceparent").is_none(), "it has no prefix")?;
    let (trace, _) = ids(headers.text("traceparent"))?;
    let (same, own) = ids(first.context.traceparent())?;
    equal("the trace in ours", &same, &trace)?;
    goes_on(&mut ours, &mut python, &trace, &own).await?;

    let of = |digit: &str| format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16));
    let both = Message::to(Source::parse(&source)?.address("created")?, "1")
        .with_content_type("application/json")
        .with_header("nameko.traceparent", of("a"))?
        .with_header("traceparent", of("b"))?;
    scene.amqp().await?.send(both).await?;
    let (trace, own) = ids(ours.seen().await?.context.traceparent())?;
    equal("the prefixed one is first", &trace, &"a".repeat(32))?;
    goes_on(&mut ours, &mut python, &trace, &own).await?;
    python.ask("kill", json!({ "name": "p" })).await
}
