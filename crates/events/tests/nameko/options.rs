//! D, E: what an emit says of itself, beside its payload and its context.
use std::{collections::BTreeMap, time::Duration};

use libtest_mimic::Trial;
use serde_json::{Value as Json, json};
use sinew_core::{ErrorKind, Receipt, Sent};
use sinew_events::{ContextData, EmitOptions, EventDispatcher, Profile};
use sinew_testkit::harness::Proxy;

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{
        Generation, Outcome, Scene, address, at, check, equal, options, python_handler, soon,
        url_through,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend(stage.trials(
        Generation::ALL,
        "e8_d5_what_an_emit_says_of_itself_is_the_frame_of_nameko",
        frames,
    ));
    trials.extend([
        stage.trial("e11_what_a_context_says_beats_a_header_of_the_same_name", collisions),
        stage.trial("e8_what_an_emit_says_beats_what_its_dispatcher_says", merged),
        stage.trial("d1_an_emit_without_confirms_fails_at_the_next_flush", unconfirmed),
        stage.trial("d1_what_a_link_takes_with_it_is_told_by_the_next_flush", broken_off),
    ]);
}

/// One option, or some, as Python's dispatcher takes them and as ours does; and what is to be seen of it.
async fn frames(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("billing"), [handler]).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?.with_profile(Profile::Nameko);
    let new = EmitOptions::new;
    let all = new()
        .with_priority(9)
        .with_durable(false)
        .with_correlation_id("c-2")
        .with_expiration(Duration::from_secs(5))
        .with_header("shop", "north")?;
    for (theirs, ours, seen) in [
        (json!({ "priority": 7 }), new().with_priority(7), ("/properties/priority", json!(7))),
        (
            json!({ "delivery_mode": 1 }),
            new().with_durable(false),
            ("/properties/delivery_mode", json!(1)),
        ),
        (
            json!({ "delivery_mode": 2 }),
            new().with_durable(true),
            ("/properties/delivery_mode", json!(2)),
        ),
        (
            json!({ "correlation_id": "c-1" }),
            new().with_correlation_id("c-1"),
            ("/properties/correlation_id", json!("c-1")),
        ),
        (
            json!({ "headers": { "shop": "north", "till": 3 } }),
            new().with_header("shop", "north")?.with_header("till", 3)?,
            ("/headers/till", json!(3)),
        ),
        (
            json!({ "use_confirms": false }),
            new().with_confirm(false),
            ("/properties/delivery_mode", json!(2)),
        ),
        (
            json!({
                "priority": 9, "delivery_mode": 1, "correlation_id": "c-2", "expiration": 5,
                "headers": { "shop": "north" },
            }),
            all,
            ("/properties/expiration", json!("5000")),
        ),
    ] {
        let mut emit = json!({ "source": source, "type": "created", "payload": "1" });
        if let (Json::Object(emit), Json::Object(theirs)) = (&mut emit, &theirs) {
            emit.extend(theirs.clone());
        }
        python.ask("emit", emit).await?;
        let of_python = python.received("on").await?;
        dispatcher.emit_with("created", &1, &ours).await?;
        let of_ours = python.received("on").await?;
        let (pointer, value) = seen;
        equal(format!("{theirs} of Python's"), at(&of_python, pointer), &value)?;
        for part in ["/properties", "/headers"] {
            equal(format!("{part} of {theirs}"), at(&of_ours, part), at(&of_python, part))?;
        }
    }
    // What may come back has an id, by which its emit is known: the one thing that Python does not send.
    let emit = json!({ "source": source, "type": "created", "payload": "1", "mandatory": true });
    python.ask("emit", emit).await?;
    let mut of_python = python.received("on").await?;
    dispatcher.emit_with("created", &1, &new().with_must_route(true)).await?;
    let of_ours = python.received("on").await?;
    let id = at(&of_ours, "/properties/message_id").clone();
    check(id.is_string(), "it has an id")?;
    if let Some(Json::Object(properties)) = of_python.pointer_mut("/properties") {
        properties.insert("message_id".to_owned(), id);
    }
    equal("what must be routed", at(&of_ours, "/properties"), at(&of_python, "/properties"))?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// In either language, of what a worker emits and of what our dispatcher says of itself.
async fn collisions(scene: Scene) -> Outcome {
    let (source, relay) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let mut python = scene.peer().await?;
    let handlers =
        [&source, &relay].map(|it| python_handler("on", it, "created", "pool", Json::Null));
    for (name, handler) in ["p", "q"].into_iter().zip(handlers) {
        python.start(name, &scene.name(name), [handler]).await?;
    }
    let context = json!({ "language": "en", "user_id": 7, "tenant": "acme" });
    let headers = [
        ("nameko.language", "other"),
        ("nameko.user_id", "other"),
        ("nameko.tenant", "other"),
        // Nobody else says this.
        ("nameko.user_agent", "mine"),
    ];
    let mut options = EmitOptions::new();
    for (name, value) in headers {
        options = options.with_header(name, value)?;
    }
    let seen = |it: &Json| {
        let names = ["language", "user_id", "tenant", "user_agent"];
        names.map(|name| at(it, &format!("/headers/nameko.{name}")).clone())
    };
    let context_wins = [json!("en"), json!(7), json!("acme"), json!("mine")];

    let emit = json!({
        "source": source, "type": "created", "payload": "1", "context": context,
        "headers": headers.into_iter().collect::<BTreeMap<_, _>>(),
    });
    python.ask("emit", emit).await?;
    equal("of a worker of Python's", seen(&python.received("on").await?), context_wins.clone())?;

    let mut data = ContextData::default();
    data.insert("language", "en")?;
    data.insert("user_id", 7)?;
    data.insert("tenant", "acme")?;
    let dispatcher = EventDispatcher::new(&backend, &source)?.with_context(data.clone());
    dispatcher.emit_with("created", &1, &options).await?;
    let of_dispatcher = seen(&python.received("on").await?);
    equal("of our dispatcher", of_dispatcher, context_wins.clone())?;

    let extra = options.clone();
    let act = move |context: sinew_events::Context, payload: Json| {
        let extra = extra.clone();
        async move {
            context.emit_with("created", &payload, &extra).await?;
            Ok(())
        }
    };
    let cast = Cast::new(&relay)?.acts(&source, "paid", "on", act, as_it_is)?;
    let mut ours = cast.with(|it| it.with_emit_options(options)).start(&backend).await?;
    EventDispatcher::new(&backend, &source)?.with_context(data).emit("paid", &1).await?;
    let call_id = ours.seen().await?.context.call_id().as_str().to_owned();
    let received = python.received("on").await?;
    equal("of our handler", seen(&received), context_wins)?;
    equal("its stack", at(&received, "/headers/nameko.call_id_stack"), &json!([call_id]))?;
    for _ in 0..3 {
        let handled = python.handled("on").await?;
        let seen =
            json!({ "language": "en", "user_id": 7, "tenant": "acme", "user_agent": "mine" });
        equal("to a worker of Python's", at(&handled, "/context"), &seen)?;
    }
    for name in ["p", "q"] {
        python.ask("kill", json!({ "name": name })).await?;
    }
    Ok(())
}

async fn merged(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let backend = scene.backend().await?;
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("billing"), [handler]).await?;
    let whole = EmitOptions::new()
        .with_priority(3)
        .with_durable(false)
        .with_confirm(false)
        .with_must_route(true)
        .with_correlation_id("all")
        .with_message_id("all")
        .with_expiration(Duration::from_secs(9))
        .with_header("shop", "south")?
        .with_header("till", 3)?;
    let own = EmitOptions::new()
        .with_priority(7)
        .with_durable(true)
        .with_confirm(true)
        .with_must_route(false)
        .with_correlation_id("own")
        .with_message_id("own")
        .with_expiration(Duration::from_secs(5))
        .with_header("shop", "north")?;
    let dispatcher = EventDispatcher::new(&backend, &source)?.with_options(whole);
    let said = async |python: &mut crate::peer::Desk| {
        let it = python.received("on").await?;
        let properties = at(&it, "/properties");
        let names = ["priority", "delivery_mode", "correlation_id", "message_id", "expiration"];
        let of = |name: &str| properties.get(name).cloned().unwrap_or_default();
        Outcome::Ok((names.map(of), at(&it, "/headers").clone()))
    };
    let receipt = dispatcher.emit("created", &1).await?;
    equal("without confirms", receipt, Receipt::Buffered)?;
    let ([priority, mode, correlation, id, expiration], headers) = said(&mut python).await?;
    let dispatchers = [json!(3), json!(1), json!("all"), json!("9000")];
    equal("the dispatcher's", [priority, mode, correlation, expiration], dispatchers)?;
    // It is of one event.
    check(id.is_string() && id != "all", format!("the id of all is that of one: {id}"))?;
    equal("its headers", headers, json!({ "shop": "south", "till": 3 }))?;
    let receipt = dispatcher.emit_with("created", &1, &own).await?;
    equal("with confirms", receipt, Receipt::Accepted)?;
    let (properties, headers) = said(&mut python).await?;
    equal(
        "the emit's",
        properties,
        [json!(7), json!(2), json!("own"), json!("own"), json!("5000")],
    )?;
    equal("its headers and the dispatcher's", headers, json!({ "shop": "north", "till": 3 }))?;
    // Nobody wants it, and an emit may say that this is well.
    dispatcher.flush().await?;
    dispatcher.emit_with("unknown", &1, &own).await?;
    dispatcher.emit("unknown", &1).await?;
    let told = dispatcher.flush().await.err().map(|it| it.kind());
    equal("where the dispatcher has it otherwise", told, Some(ErrorKind::Unroutable))?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// Once, and by nothing else.
async fn unconfirmed(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let limits = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let pattern = format!("^evt-{source}-created-");
    let policy = ["set_policy", &source, &pattern, limits, "--apply-to", "queues"];
    scene.broker().await?.ctl(&policy).await?;
    let backend = scene.backend().await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?
        .with_options(EmitOptions::new().with_confirm(false));
    let must = EmitOptions::new().with_must_route(true);
    let flushed = async || dispatcher.flush().await.err().map(|it| (it.kind(), it.sent()));

    // The broker refuses each of two; the first is told, and the second is no news.
    for event_type in ["unknown", "unheard"] {
        let receipt = dispatcher.emit_with(event_type, &1, &must).await?;
        equal("what nobody wants", receipt, Receipt::Buffered)?;
    }
    equal("told", flushed().await.map(|it| it.0), Some(ErrorKind::Unroutable))?;
    equal("told once", flushed().await, None)?;

    let act = |_, _| std::future::pending();
    let cast = Cast::new(&scene.name("billing"))?.acts(&source, "created", "on", act, as_it_is)?;
    let mut ours = cast.with(|it| it.with_max_workers(1)).start(&backend).await?;
    // One is in hand, one waits, and there is no room for a third.
    dispatcher.emit("created", &1).await?;
    equal("what is in hand", ours.seen().await?.payload, json!(1))?;
    dispatcher.emit("created", &2).await?;
    equal("while there is room", flushed().await, None)?;
    equal("one too many", dispatcher.emit("created", &3).await?, Receipt::Buffered)?;
    equal("told", flushed().await.map(|it| it.0), Some(ErrorKind::Overloaded))?;
    // Its answer is its own where it waits for it.
    let confirmed = EmitOptions::new().with_confirm(true);
    let refused = dispatcher.emit_with("created", &4, &confirmed).await.err();
    equal("of an emit that waits", refused.map(|it| it.kind()), Some(ErrorKind::Overloaded))?;
    equal("and is told by it alone", flushed().await, None)
}

async fn broken_off(scene: Scene) -> Outcome {
    let proxy = Proxy::start(address(scene.broker().await?)).await?;
    let through = options(&url_through(proxy.address()));
    let through = through.with_reconnect_wait(Duration::from_millis(200));
    let backend = through.connect().await?.into_any();
    let dispatcher = EventDispatcher::new(&backend, &scene.name("orders"))?;
    dispatcher.emit("created", &1).await?;
    // From here on the broker hears nothing.
    proxy.half_open();
    let blind = EmitOptions::new().with_confirm(false);
    let emitted = soon("an emit without confirms", dispatcher.emit_with("created", &2, &blind));
    equal("an emit without confirms", emitted.await??, Receipt::Buffered)?;
    let cut = async { proxy.cut() };
    let flushing = async { tokio::join!(dispatcher.flush(), cut) };
    let told = soon("the end of the flush", flushing).await?.0.err();
    let told = told.ok_or("the broker has confirmed what it never had")?;
    equal("it may have arrived", told.sent(), Sent::Maybe)?;
    check(told.is_transient(), format!("a later one may succeed: {told}"))?;
    proxy.heal();
    let again = async { while dispatcher.emit("created", &3).await.is_err() {} };
    soon("an emit", again).await?;
    equal("told once", dispatcher.flush().await.err().map(|it| it.kind()), None)
}
