//! P, R: who has each event.
use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value as Json, json};
use sinew_core::{AnyBackend, Consume as _, Consumption, ErrorKind, Queue};
use sinew_events::{EventDispatcher, EventHandler, HandlerKind};
use tokio::time::interval;

use crate::{
    Stage,
    rust::{Cast, Rust, as_it_is},
    world::{Generation, Outcome, Scene, at, check, equal, python_handler, soon, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let both = Generation::NAMEKOS;
    trials.extend(stage.trials(
        both,
        "p1_a_pool_of_both_handles_each_of_1000_events_once",
        shared_pool,
    ));
    trials.extend(stage.trials(
        both,
        "p2_p3_each_service_has_it_once_and_a_singleton_once_in_all",
        once_each,
    ));
    trials.extend(stage.trials(
        both,
        "p4_a_broadcast_comes_to_each_instance_and_its_queues_go",
        broadcast,
    ));
    trials.extend(stage.trials(
        both,
        "p5_a_reliable_broadcast_waits_for_who_is_away_of_either",
        awaited_broadcast,
    ));
    trials.extend(stage.trials(
        both,
        "p6_a_second_instance_of_one_identifier_is_a_conflict_where_python_splits",
        same_identifier,
    ));
    trials.extend(stage.trials(both, "p8_wildcards_want_the_same_of_either", wildcards));
    trials.push(stage.trial("r1_a_reliable_pool_keeps_what_comes_while_all_are_away", reliable));
    trials.push(Trial::test(
        "p7_a_reliable_broadcast_without_an_identifier_cannot_be_built",
        || {
            let broadcast = |handler: EventHandler| handler.with_kind(HandlerKind::Broadcast);
            let cast = Cast::new("billing").map_err(Failed::from)?;
            match cast.handles("orders", "created", "on", broadcast) {
                Err(_) => Ok(()),
                Ok(_) => Err("it was built".into()),
            }
        },
    ));
}

/// How a queue that there is, is.
async fn status(
    backend: &AnyBackend,
    source: &str,
    queue: &str,
) -> Outcome<sinew_core::QueueStatus> {
    let source = sinew_events::Source::parse(source)?;
    let wanted = Consumption::new(Queue::parse(queue)?, source.pattern("created")?);
    Ok(backend.consumer()?.declare(wanted.with_scope(source.scope().clone())).await?)
}

async fn shared_pool(scene: Scene) -> Outcome {
    const EVENTS: u32 = 1000;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    for name in ["p1", "p2"] {
        python.start(name, &service, [handler.clone()]).await?;
    }
    let mut ours = Vec::new();
    for _ in 0..2 {
        let cast = Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?;
        ours.push(cast.start(&scene.backend().await?).await?);
    }
    let backend = scene.backend().await?;
    let queue = format!("evt-{source}-created--{service}.on");
    equal("consumers", status(&backend, &source, &queue).await?.consumers, Some(4))?;

    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let emits = stream::iter(0..EVENTS).map(|number| {
        let dispatcher = dispatcher.clone();
        async move { dispatcher.emit("created", &number).await }
    });
    emits.buffered(100).try_for_each(|_| async { Ok(()) }).await?;

    let mut counts = vec![0_u32; EVENTS as usize];
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen = 0;
    while seen < EVENTS {
        let (member, number) = {
            let [first, second] = &mut *ours else { return Err("two are ours".into()) };
            tokio::select! {
                it = first.seen() => ("ours 1".to_owned(), it?.payload),
                it = second.seen() => ("ours 2".to_owned(), it?.payload),
                it = python.handled("on") => {
                    let it = it?;
                    (text(&it, "name").to_owned(), at(&it, "/json").clone())
                }
            }
        };
        let number = number.as_u64().and_then(|it| usize::try_from(it).ok()).ok_or("no number")?;
        *counts.get_mut(number).ok_or("a number that was not sent")? += 1;
        *shares.entry(member).or_default() += 1;
        seen += 1;
    }
    check(counts.iter().all(|count| *count == 1), "each is handled once")?;
    check(shares.len() == 4, format!("each member has some: {shares:?}"))?;
    soon("an empty queue", async {
        let mut look = interval(Duration::from_millis(50));
        while status(&backend, &source, &queue).await?.messages != Some(0) {
            look.tick().await;
        }
        Outcome::Ok(())
    })
    .await??;
    check(!python.has_more("on"), "Python handles none twice")?;
    for ours in &mut ours {
        check(ours.seen.try_recv().is_err(), "we handle none twice")?;
    }
    for name in ["p1", "p2"] {
        python.ask("kill", json!({ "name": name })).await?;
    }
    Ok(())
}

async fn once_each(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let mut python = scene.peer().await?;
    let handlers = [
        python_handler("pool", &source, "created", "pool", Json::Null),
        python_handler("one", &source, "created", "singleton", Json::Null),
    ];
    python.start("p", &scene.name("a"), handlers).await?;
    let one = |handler: EventHandler| handler.with_kind(HandlerKind::Singleton);
    let backend = scene.backend().await?;
    let mut pool = Cast::new(&scene.name("b"))?
        .handles(&source, "created", "pool", as_it_is)?
        .start(&backend)
        .await?;
    let mut single = Cast::new(&scene.name("b"))?
        .handles(&source, "created", "one", one)?
        .start(&backend)
        .await?;
    let queue = format!("evt-{source}-created");
    equal("consumers of one", status(&backend, &source, &queue).await?.consumers, Some(2))?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let mut numbers = Vec::new();
    for number in 0..20 {
        dispatcher.emit("created", &number).await?;
        equal("ours", pool.seen().await?.payload, json!(number))?;
        equal("theirs", at(&python.handled("pool").await?, "/json"), &json!(number))?;
        numbers.push(tokio::select! {
            it = single.seen() => it?.payload,
            it = python.handled("one") => at(&it?, "/json").clone(),
        });
    }
    equal("the singleton's", numbers, (0..20).map(|it| json!(it)).collect())?;
    python.ask("kill", json!({ "name": "p" })).await
}

/// The queues of a source's broadcasts, by the broker.
async fn queues(scene: &Scene, source: &str) -> Outcome<Vec<String>> {
    let rows = scene.broker().await?.list(&["list_queues", "name"]).await?;
    let prefix = format!("evt-{source}-");
    let names = rows.iter().map(|row| text(row, "name").to_owned());
    Ok(names.filter(|name| name.starts_with(&prefix)).collect())
}

async fn broadcast(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let mut python = scene.peer().await?;
    for name in ["p1", "p2"] {
        let loose = json!({ "reliable": false });
        let handler = python_handler("on", &source, "created", "broadcast", loose);
        python.start(name, &service, [handler]).await?;
    }
    let loose = |handler: EventHandler| {
        handler.with_kind(HandlerKind::Broadcast).with_reliable_delivery(false)
    };
    let backend = scene.backend().await?;
    let start = || async {
        Cast::new(&service)?.handles(&source, "created", "on", loose)?.start(&backend).await
    };
    let mut ours = [start().await?, start().await?];
    equal("queues", queues(&scene, &source).await?.len(), 4)?;
    EventDispatcher::new(&backend, &source)?.emit("created", &"all").await?;
    for ours in &mut ours {
        equal("to each of ours", ours.seen().await?.payload, json!("all"))?;
    }
    let mut names = [python.handled("on").await?, python.handled("on").await?]
        .map(|it| text(&it, "name").to_owned());
    names.sort();
    equal("to each of theirs", names, ["p1".to_owned(), "p2".to_owned()])?;
    for ours in ours {
        soon("the end of ours", ours.running.drain(Duration::from_secs(20))).await??;
    }
    for name in ["p1", "p2"] {
        python.ask("stop", json!({ "name": name })).await?;
    }
    soon("their queues to go", async {
        while !queues(&scene, &source).await?.is_empty() {}
        Outcome::Ok(())
    })
    .await?
}

fn kept(identifier: &str) -> impl Fn(EventHandler) -> EventHandler {
    move |handler| handler.with_kind(HandlerKind::Broadcast).with_broadcast_identifier(identifier)
}

async fn awaited_broadcast(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let start = || async {
        let cast = Cast::new(&service)?.handles(&source, "created", "on", kept("host-1"))?;
        cast.start(&backend).await
    };
    let away = async |ours: Rust| -> Outcome {
        Ok(soon("the end of ours", ours.running.drain(Duration::from_secs(20))).await??)
    };
    away(start().await?).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for number in 0..3 {
        dispatcher.emit("created", &number).await?;
    }
    let mut ours = start().await?;
    let mut waited = Vec::new();
    for _ in 0..3 {
        waited.push(ours.seen().await?.payload);
        ours.settled().await?;
    }
    // Three are handled at once.
    waited.sort_by_key(Json::as_u64);
    equal("what waited", waited, (0..3).map(|it| json!(it)).collect())?;
    away(ours).await?;
    dispatcher.emit("created", &3).await?;
    let mut python = scene.peer().await?;
    let same = json!({ "identifier": "host-1" });
    let handler = python_handler("on", &source, "created", "broadcast", same);
    python.start("p", &service, [handler]).await?;
    equal("what waited for Python", at(&python.handled("on").await?, "/json"), &json!(3))?;
    python.ask("kill", json!({ "name": "p" })).await
}

async fn same_identifier(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let cast =
        |identifier| Cast::new(&service)?.handles(&source, "created", "on", kept(identifier));
    let _first = cast("host-1")?.start(&backend).await?;
    let refused = soon("a refusal", cast("host-1")?.service.start(&backend)).await?.err();
    equal("beside ours", refused.map(|it| it.kind()), Some(ErrorKind::Conflict))?;
    let mut python = scene.peer().await?;
    let same = json!({ "identifier": "host-2" });
    let handler = python_handler("on", &source, "created", "broadcast", same);
    python.start("p", &service, [handler]).await?;
    let refused = soon("a refusal", cast("host-2")?.service.start(&backend)).await?.err();
    equal("beside theirs", refused.map(|it| it.kind()), Some(ErrorKind::Conflict))?;
    cast("host-3")?.start(&backend).await?;
    python.ask("kill", json!({ "name": "p" })).await?;

    // What two of Python's make of it: neither is refused, and each misses what the other has.
    let same = json!({ "identifier": "host-4" });
    let handler = python_handler("split", &source, "created", "broadcast", same);
    for name in ["p1", "p2"] {
        python.start(name, &service, [handler.clone()]).await?;
    }
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..4 {
        dispatcher.emit("created", &number).await?;
    }
    for _ in 0..4 {
        let handled = python.handled("split").await?;
        *shares.entry(text(&handled, "name").to_owned()).or_default() += 1;
    }
    let halves = BTreeMap::from([("p1".to_owned(), 2), ("p2".to_owned(), 2)]);
    equal("shares of a broadcast", shares, halves)?;
    check(!python.has_more("split"), "neither has more")?;
    for name in ["p1", "p2"] {
        python.ask("kill", json!({ "name": name })).await?;
    }
    Ok(())
}

async fn wildcards(scene: Scene) -> Outcome {
    const WANTED: [(&str, &str); 4] =
        [("words", "a.#"), ("word", "a.*"), ("all", "#"), ("empty", "")];
    const TYPES: [&str; 7] = ["a", "a.b", "a.b.c", "", "b", "two words", "b.a.c"];
    let source = scene.name("orders");
    let mut python = scene.peer().await?;
    let handlers =
        WANTED.map(|(method, wanted)| python_handler(method, &source, wanted, "pool", Json::Null));
    python.start("p", &scene.name("theirs"), handlers).await?;
    let mut cast = Cast::new(&scene.name("ours"))?;
    for (method, wanted) in WANTED {
        cast = cast.handles(&source, wanted, method, as_it_is)?;
    }
    let backend = scene.backend().await?;
    let mut ours = cast.start(&backend).await?;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    for event_type in TYPES {
        dispatcher.emit(event_type, &event_type).await?;
    }
    // `#` alone has all of them, and each has those that come before the last of it.
    let promised = [
        ("words", vec!["a", "a.b", "a.b.c"]),
        ("word", vec!["a.b"]),
        ("all", TYPES.to_vec()),
        ("empty", vec![""]),
    ];
    let count: usize = promised.iter().map(|(_, types)| types.len()).sum();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..count {
        let it = ours.seen().await?;
        let method = it.context.handler().method().to_owned();
        seen.entry(method).or_default().push(it.payload.as_str().unwrap_or("?").to_owned());
    }
    for (method, mut types) in promised {
        types.sort_unstable();
        let mut ours = seen.remove(method).unwrap_or_default();
        ours.sort();
        equal(format!("ours: {method}"), ours, types.iter().map(ToString::to_string).collect())?;
        let mut theirs = Vec::new();
        for _ in &types {
            theirs.push(text(&python.handled(method).await?, "json").to_owned());
        }
        theirs.sort();
        equal(
            format!("theirs: {method}"),
            theirs,
            types.iter().map(ToString::to_string).collect(),
        )?;
    }
    python.ask("kill", json!({ "name": "p" })).await
}

async fn reliable(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = scene.backend().await?;
    let start = || async {
        let loose = |handler: EventHandler| handler.with_reliable_delivery(false);
        Cast::new(&service)?
            .handles(&source, "created", "kept", as_it_is)?
            .handles(&source, "created", "loose", loose)?
            .start(&backend)
            .await
    };
    let ours = start().await?;
    soon("the end of ours", ours.running.drain(Duration::from_secs(20))).await??;
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    dispatcher.emit("created", &"away").await?;
    let mut ours = start().await?;
    dispatcher.emit("created", &"back").await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let it = ours.seen().await?;
        seen.push(format!("{} {}", it.context.handler().method(), it.payload));
    }
    seen.sort();
    equal(
        "who has what",
        seen,
        ["kept \"away\"", "kept \"back\"", "loose \"back\""].map(String::from).into(),
    )
}
