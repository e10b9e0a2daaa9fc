//! E: what Python says is what we read, in both generations of kombu.
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sinew_core::{Consume as _, Consumption, Message, PublishExt as _, Queue};
use sinew_events::{
    Compression, Context, EmitOptions, EventDispatcher, EventHandler, HandlerError, Profile,
    Service, SettledAs, Source,
    python::{Bytes, Date, DateTime, Decimal, Time, Uuid},
};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, soon, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let (all, both) = (Generation::ALL, Generation::NAMEKOS);
    trials.extend(stage.trials(all, "e1_e4_what_one_emits_the_other_handles", plain));
    trials.extend(stage.trials(all, "e2_values_that_json_has_not_are_read", typed));
    trials.extend(stage.trials(both, "e3_what_json_has_not_is_an_error_and_kept", beyond_json));
    trials.extend(stage.trials(
        both,
        "e5_a3_what_cannot_be_decoded_is_kept_or_dropped_as_asked",
        undecodable,
    ));
    trials.push(stage.trial(
        "a3_what_cannot_be_decoded_goes_where_a_policy_has_it_unless_it_is_kept",
        dead_letters,
    ));
    trials.extend(stage.trials(
        both,
        "e6_an_event_without_a_context_is_handled_in_a_fresh_one",
        standalone,
    ));
}

async fn plain(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let service = scene.name("billing");
    let mut ours =
        Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?.start(&backend).await?;
    let mut python = scene.peer().await?;
    let context = json!({ "language": "en", "custom": { "a": [1, null] } });
    for (payload, value) in [
        (
            "{'a': [1, -2.5, True], 'b': {'c': None}}",
            json!({ "a": [1, -2.5, true], "b": { "c": null } }),
        ),
        ("'text'", json!("text")),
        ("None", Json::Null),
        ("7", json!(7)),
        ("'\u{e9} \u{1f600} \\u2028'", json!("\u{e9} \u{1f600} \u{2028}")),
        ("[]", json!([])),
    ] {
        python.emit(&source, "created", payload, context.clone()).await?;
        let seen = ours.seen().await?;
        equal(payload, seen.payload, value)?;
        equal("the language", seen.context.language(), Some("en"))?;
        check(seen.context.value("custom").is_some(), "what is custom comes, too")?;
        equal("its type", seen.context.event_type(), Some("created"))?;
    }
    let zipped = json!({
        "source": source, "type": "created", "payload": "'zip' * 1000", "compression": "gzip", "context": {},
    });
    python.ask("emit", zipped).await?;
    equal("what was compressed", ours.seen().await?.payload, json!("zip".repeat(1000)))?;

    // And the other way.
    let handler = python_handler("theirs", &source, "zipped", "pool", Json::Null);
    python.start("p", &service, [handler]).await?;
    let zipped = EmitOptions::new().with_compression(Compression::Gzip);
    let value = json!({ "zip": "\u{e9}zip".repeat(1000) });
    EventDispatcher::new(&backend, &source)?.emit_with("zipped", &value, &zipped).await?;
    let received = python.received("theirs").await?;
    equal("how", text(at(&received, "/headers"), "compression"), "application/x-gzip")?;
    equal("what we compressed", at(&python.handled("theirs").await?, "/json"), &value)?;
    python.ask("kill", json!({ "name": "p" })).await
}

#[derive(Debug, Deserialize, PartialEq)]
struct Typed {
    naive: DateTime,
    utc: DateTime,
    date: Date,
    time: Time,
    decimal: Decimal,
    uuid: Uuid,
    bytes: Option<Bytes>,
}

async fn typed(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let (teller, mut seen) = unbounded_channel();
    let handler = EventHandler::new(&source, "created", "on", move |_: Context, typed: Typed| {
        // A trial that is over hears nothing.
        let _ = teller.send(typed);
        async { Ok::<_, HandlerError>(()) }
    });
    let service = Service::new(&scene.name("billing"))?.with_handler(handler)?;
    let _running = service.start(&backend).await?;
    let mut python = scene.peer().await?;
    // Before 5.3 kombu refuses bytes.
    let has_bytes = scene.generation != Generation::Old;
    let bytes = if has_bytes { "b'\\x00\\xff'" } else { "None" };
    let payload = format!(
        "{{'naive': datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), \
         'utc': datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), \
         'date': datetime.date(2026, 1, 2), 'time': datetime.time(3, 4, 5), \
         'decimal': decimal.Decimal('1.20'), \
         'uuid': uuid.UUID('12345678-1234-5678-1234-567812345678'), 'bytes': {bytes}}}"
    );
    python.emit(&source, "created", &payload, json!({})).await?;
    let seen = soon("typed values", seen.recv()).await?.ok_or("it ended")?;
    let wanted = Typed {
        naive: DateTime::parse("2026-01-02T03:04:05.678901")?,
        utc: DateTime::parse("2026-01-02T03:04:05Z")?,
        date: Date::parse("2026-01-02")?,
        time: Time::parse("03:04:05")?,
        decimal: Decimal::parse("1.20")?,
        uuid: Uuid::parse("12345678-1234-5678-1234-567812345678")?,
        bytes: has_bytes.then(|| Bytes(bytes::Bytes::from_static(b"\0\xff"))),
    };
    equal("typed values", seen, wanted)
}

async fn beyond_json(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let amqp = scene.amqp().await?;
    let backend = amqp.clone().into_any();
    let service = scene.name("billing");
    let mut ours =
        Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?.start(&backend).await?;
    let mut python = scene.peer().await?;
    python.emit(&source, "created", "{'n': [nan]}", json!({})).await?;
    let kept = ours.settles_as(SettledAs::DeadLettered).await?;
    check(kept.error.is_some(), "it says why")?;
    python.emit(&source, "created", "2 ** 70", json!({})).await?;
    equal("a large number, as documented", ours.seen().await?.payload, json!(2_f64.powi(70)))?;
    ours.settles_as(SettledAs::Handled).await?;
    let twice = Message::to(Source::parse(&source)?.address("created")?, r#"{"a": 1, "a": 2}"#);
    amqp.send(twice.with_content_type("application/json")).await?;
    equal("the last of a repeated key", ours.seen().await?.payload, json!({ "a": 2 }))?;
    ours.settles_as(SettledAs::Handled).await.map(drop)
}

async fn undecodable(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let safe = Cast::new(&scene.name("safe"))?.handles(&source, "created", "on", as_it_is)?;
    let mut safe = safe.start(&backend).await?;
    let parity = Cast::new(&scene.name("parity"))?.handles(&source, "created", "on", as_it_is)?;
    let mut parity = parity.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    let mut python = scene.peer().await?;
    let own = json!({
        "encoder": "json.dumps", "decoder": "json.loads", "content_type": "application/x-own",
        "content_encoding": "utf-8",
    });
    for serializer in ["pickle", "yaml", "own"] {
        let emit = json!({
            "source": source, "type": "created", "payload": "{'a': 1}", "serializer": serializer, "context": {},
            "config": { "SERIALIZERS": { "own": own } },
        });
        python.ask("emit", emit).await?;
        let kept = safe.settles_as(SettledAs::DeadLettered).await?;
        check(kept.error.is_some_and(|it| it.contains("content type")), "it says why")?;
        equal("runs", kept.runs, 0)?;
        parity.settles_as(SettledAs::Dropped).await?;
    }
    // Where they were put they wait, whole.
    let queue =
        safe.running.counts().map(|(_, queue, _)| queue.clone()).next().ok_or("no queue")?;
    let errors = sinew_events::ErrorQueue::new(&backend, queue)?;
    let kept = errors.take(10, std::time::Duration::from_secs(2)).await?;
    equal("kept", kept.len(), 3)?;
    for event in kept {
        equal("its type", event.event_type(), Some("created"))?;
        let properties = event.message().properties().and_then(|it| it.content_type.clone());
        check(properties.is_some_and(|it| it != "application/json"), "as it came")?;
        event.discard().await?;
    }
    Ok(())
}

/// By a policy, gives the queues of the events of `source` a dead-letter route, to a queue that this tells how to declare.
pub(crate) async fn route_dead_letters(scene: &Scene, source: &str) -> Outcome<Consumption> {
    let dead = scene.name("dead");
    let route = json!({ "dead-letter-exchange": "", "dead-letter-routing-key": dead });
    let (pattern, route) = (format!("^evt-{source}-"), route.to_string());
    let policy = ["set_policy", source, &pattern, &route, "--apply-to", "queues"];
    scene.broker().await?.ctl(&policy).await?;
    let letters = Source::parse(source)?;
    let waits = Consumption::new(Queue::parse(&dead)?, letters.pattern("dead")?);
    Ok(waits.with_scope(letters.scope().clone()))
}

/// Python loses it, policy or not; ours rejects it in nameko's profile, and keeps it in the safe one.
async fn dead_letters(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let waits = route_dead_letters(&scene, &source).await?;
    let backend = scene.backend().await?;
    let arrived = async || Outcome::Ok(backend.consumer()?.declare(waits.clone()).await?.messages);
    equal("at first", arrived().await?, Some(0))?;

    let safe = Cast::new(&scene.name("safe"))?.handles(&source, "created", "on", as_it_is)?;
    let mut safe = safe.start(&backend).await?;
    let parity = Cast::new(&scene.name("parity"))?.handles(&source, "created", "on", as_it_is)?;
    let mut parity = parity.with(|it| it.with_profile(Profile::Nameko)).start(&backend).await?;
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("theirs"), [handler]).await?;
    let emit = json!({
        "source": source, "type": "created", "payload": "{'a': 1}", "serializer": "yaml", "context": {},
    });
    python.ask("emit", emit).await?;
    safe.settles_as(SettledAs::DeadLettered).await?;
    parity.settles_as(SettledAs::Dropped).await?;
    // In order, so that the one before is acknowledged.
    EventDispatcher::new(&backend, &source)?.emit("created", &"next").await?;
    equal("what Python handles", text(&python.handled("on").await?, "payload"), "'next'")?;
    soon("a dead letter", async {
        while arrived().await? != Some(1) {}
        Outcome::Ok(())
    })
    .await??;
    let queue =
        safe.running.counts().map(|(_, queue, _)| queue.clone()).next().ok_or("no queue")?;
    let kept = sinew_events::ErrorQueue::new(&backend, queue)?;
    let kept = kept.take(10, std::time::Duration::from_secs(2)).await?;
    equal("kept", kept.len(), 1)?;
    equal("of three, one is a dead letter", arrived().await?, Some(1))?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn standalone(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let mut ours =
        Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?.start(&backend).await?;
    let mut python = scene.peer().await?;
    // nameko's declares no exchange; it is ours here.
    python.ask("emit", json!({ "source": source, "type": "created", "payload": "1" })).await?;
    let seen = ours.seen().await?;
    equal("its context", seen.context.iter().count(), 0)?;
    equal("its parent", seen.context.parent_call_id(), None)?;
    let call_id = format!("{service}.on.");
    check(seen.context.call_id().as_str().starts_with(&call_id), "it has a call id of its own")
}
