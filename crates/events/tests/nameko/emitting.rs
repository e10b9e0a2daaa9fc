//! E, X: what we emit, and what of a context comes with it.
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{Message, PublishExt as _, Value};
use sinew_events::{EmitOptions, EventDispatcher, HeaderPrefix, Profile, Source};

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let (all, both) = (Generation::ALL, Generation::NAMEKOS);
    trials.extend(stage.trials(
        both,
        "e7_e11_a_context_goes_through_ours_and_what_must_not_go_on_stays",
        passed_on,
    ));
    trials.extend(stage.trials(all, "e8_e13_d5_what_we_emit_is_the_frame_of_nameko", frames));
    trials.extend(stage.trials(
        all,
        "e9_the_calls_of_a_chain_grow_to_eleven_and_the_oldest_goes_first",
        chain,
    ));
    trials.extend(stage.trials(
        both,
        "e12_what_python_would_take_for_its_own_type_is_refused",
        envelopes,
    ));
    trials.push(stage.trial("x5_another_prefix_on_both_sides_carries_the_context", prefixes));
}

/// Python to ours to Python, of each kind.
async fn passed_on(scene: Scene) -> Outcome {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (source, relay) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let act = |context: sinew_events::Context, payload: Json| async move {
        context.emit("billed", &payload).await?;
        Ok(())
    };
    let mut ours =
        Cast::new(&relay)?.acts(&source, "created", "on", act, as_it_is)?.start(&backend).await?;
    let mut python = scene.peer().await?;
    let loose = json!({ "reliable": false });
    let handlers = [
        python_handler("pool", &relay, "billed", "pool", Json::Null),
        python_handler("one", &relay, "billed", "singleton", Json::Null),
        python_handler("all", &relay, "billed", "broadcast", loose),
    ];
    python.start("p", &scene.name("mailing"), handlers).await?;
    let context = json!({
        "language": "en", "user_id": 7, "custom": [1, { "a": null }], "traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"),
        // As they leak out of Python's own contexts.
        "x-death": "leaked", "x-delivery-count": 3, "content_type": "leaked",
    });
    python.emit(&source, "created", "'paid'", context).await?;
    let seen = ours.seen().await?;
    equal("the language", seen.context.language(), Some("en"))?;
    equal("the user", seen.context.user_id(), Some(&Value::Integer(7)))?;
    let emitter = format!("{source}.emit.");
    check(
        seen.context.parent_call_id().is_some_and(|it| it.starts_with(&emitter)),
        format!("{:?} is the parent", seen.context.parent_call_id()),
    )?;
    let origin = seen.context.origin_call_id().unwrap_or_default().to_owned();
    let ours_id = seen.context.call_id().as_str().to_owned();
    for method in ["pool", "one", "all"] {
        let received = python.received(method).await?;
        let headers = at(&received, "/headers");
        for kept in ["x-death", "x-delivery-count", "content_type"] {
            for name in [kept.to_owned(), format!("nameko.{kept}")] {
                check(headers.get(&name).is_none(), format!("{name} stays behind: {headers}"))?;
            }
        }
        check(
            text(headers, "nameko.traceparent").contains(TRACE),
            format!("the trace goes on: {headers}"),
        )?;
        let handled = python.handled(method).await?;
        equal("the payload", text(&handled, "payload"), "'paid'")?;
        equal("the language", at(&handled, "/context/language"), &json!("en"))?;
        equal("what is custom", at(&handled, "/context/custom"), &json!([1, { "a": null }]))?;
        equal("the origin", text(&handled, "origin"), &origin)?;
        equal("the parent", text(&handled, "parent"), &ours_id)?;
    }
    python.ask("kill", json!({ "name": "p" })).await
}

/// Table 1.4, and nothing more than what nameko sends.
async fn frames(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let amqp = scene.amqp().await?;
    let backend = amqp.clone().into_any();
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("billing"), [handler]).await?;
    let emit = json!({ "source": source, "type": "created", "payload": "1" });
    python.ask("emit", emit).await?;
    let theirs = python.received("on").await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?.with_profile(Profile::Nameko);
    dispatcher.emit("created", &1).await?;
    let ours = python.received("on").await?;
    for part in ["/properties", "/headers", "/exchange", "/key", "/redelivered"] {
        equal(part, at(&ours, part), at(&theirs, part))?;
    }

    // Seconds there, a duration here, milliseconds on the wire.
    let emit = json!({ "source": source, "type": "created", "payload": "1", "expiration": 5 });
    python.ask("emit", emit).await?;
    let theirs = python.received("on").await?;
    let five = EmitOptions::new().with_expiration(Duration::from_secs(5));
    dispatcher.emit_with("created", &1, &five).await?;
    let ours = python.received("on").await?;
    equal("five seconds", at(&theirs, "/properties/expiration"), &json!("5000"))?;
    equal("five seconds of ours", at(&ours, "/properties"), at(&theirs, "/properties"))?;

    // In the safe profile an id and a time, of which Python takes no notice.
    EventDispatcher::new(&backend, &source)?.emit("created", &1).await?;
    let safe = python.received("on").await?;
    check(at(&safe, "/properties/message_id").is_string(), "it has an id")?;

    // Nothing but the body and what it is.
    let to = Source::parse(&source)?.address("created")?;
    amqp.send(Message::to(to, "\"bare\"").with_content_type("application/json")).await?;
    for _ in 0..5 {
        python.handled("on").await?;
    }
    equal("a bare one", text(&python.handled("on").await?, "payload"), "'bare'")?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// Ours and theirs answer each other until the fourteenth hop.
async fn chain(scene: Scene) -> Outcome {
    let (ours, theirs) = (scene.name("ours"), scene.name("theirs"));
    let backend = scene.backend().await?;
    let act = |context: sinew_events::Context, payload: Json| async move {
        let left = payload.as_i64().unwrap_or_default();
        if left > 0 {
            context.emit("hop", &(left - 1)).await?;
        }
        Ok(())
    };
    let _ours =
        Cast::new(&ours)?.acts(&theirs, "hop", "on", act, as_it_is)?.start(&backend).await?;
    let mut python = scene.peer().await?;
    let then = json!({ "then": { "emit": "hop" } });
    python.start("p", &theirs, [python_handler("on", &ours, "hop", "pool", then)]).await?;
    EventDispatcher::new(&backend, &ours)?.emit("hop", &7).await?;
    let mut before: Vec<Json> = Vec::new();
    // Every second call is Python's, its own id the last: 1, 3, 5, ...
    for length in [1, 3, 5, 7, 9, 11, 11, 11] {
        let handled = python.handled("on").await?;
        let stack = at(&handled, "/stack").as_array().cloned().unwrap_or_default();
        equal("calls", stack.len(), length)?;
        // Two more each time; what is beyond eleven goes from the front.
        let oldest = (before.len() + 2).saturating_sub(length);
        let kept = before.get(oldest..).unwrap_or_default();
        equal("the oldest go first", stack.get(..kept.len()).unwrap_or_default(), kept)?;
        before = stack;
    }
    python.ask("kill", json!({ "name": "p" })).await
}

async fn envelopes(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let amqp = scene.amqp().await?;
    let backend = amqp.clone().into_any();
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("billing"), [handler]).await?;
    let user = json!({ "rows": [{ "__type__": "invoice", "__value__": 7 }] });
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let refused = dispatcher.emit("created", &user).await.err().map(|it| it.kind());
    equal("our refusal", refused, Some(sinew_core::ErrorKind::InvalidPayload))?;

    // What would become of it there: nothing.
    let to = Source::parse(&source)?.address("created")?;
    let there = Message::to(to, user.to_string()).with_content_type("application/json");
    amqp.send(there).await?;
    dispatcher.emit("created", &"next").await?;
    equal("what is handled", text(&python.handled("on").await?, "payload"), "'next'")?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn prefixes(scene: Scene) -> Outcome {
    let (source, relay) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let act = |context: sinew_events::Context, payload: Json| async move {
        context.emit("billed", &payload).await?;
        Ok(())
    };
    let prefix = HeaderPrefix::parse("acme")?;
    let cast = Cast::new(&relay)?.acts(&source, "created", "on", act, as_it_is)?;
    let mut ours = cast.with(|it| it.with_header_prefix(prefix)).start(&backend).await?;
    let mut plain = Cast::new(&scene.name("plain"))?
        .handles(&source, "created", "on", as_it_is)?
        .start(&backend)
        .await?;
    let mut python = scene.peer().await?;
    let same = json!({ "prefix": "acme" });
    let handlers = [
        python_handler("same", &relay, "billed", "pool", same),
        python_handler("other", &relay, "billed", "pool", Json::Null),
    ];
    python.start("p", &scene.name("mailing"), handlers).await?;
    let emit = json!({
        "source": source, "type": "created", "payload": "1", "context": { "language": "en" }, "prefix": "acme",
    });
    python.ask("emit", emit).await?;
    equal("the language", ours.seen().await?.context.language(), Some("en"))?;
    let other = plain.seen().await?;
    equal("to who expects another", other.context.language(), None)?;
    equal("as it came", other.context.text("acme.language"), Some("en"))?;
    let same = python.handled("same").await?;
    equal("in Python", at(&same, "/context/language"), &json!("en"))?;
    let other = python.handled("other").await?;
    equal("as it came to Python", at(&other, "/context/acme.language"), &json!("en"))?;
    python.ask("kill", json!({ "name": "p" })).await
}
