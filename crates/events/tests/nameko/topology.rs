//! T: what is declared, whoever is first.
use std::time::Instant;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use sinew_adapter_amqp::ExchangePolicy;
use sinew_core::{AnyBackend, ErrorKind};
use sinew_events::{EventDispatcher, HandlerKind};
use sinew_testkit::harness::rabbitmq::RabbitMq;

use crate::{
    Stage,
    rust::{Cast, Rust, as_it_is},
    world::{
        AT_ONCE, Generation, Outcome, Scene, at, check, equal, options, pyamqp, python_handler,
        soon, text,
    },
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let both = Generation::NAMEKOS;
    trials.extend(stage.trials(
        both,
        "t1_t2_what_we_declare_is_what_nameko_declares_whoever_is_first",
        flags,
    ));
    trials.extend(stage.trials(
        both,
        "t3_an_exchange_of_another_kind_is_a_conflict_at_once",
        auto_delete,
    ));
    trials.push(
        stage.trial("t4_a_missing_exchange_that_is_not_ours_to_declare_is_not_found", missing),
    );
}

/// Method, type, kind, whether it is reliable, identifier.
type Row = (&'static str, &'static str, HandlerKind, bool, Option<&'static str>);

/// Every legal combination, and every sort of type.
const ROWS: &[Row] = &[
    ("pool", "created", HandlerKind::ServicePool, true, None),
    ("pool_loose", "created", HandlerKind::ServicePool, false, None),
    ("one", "single", HandlerKind::Singleton, true, None),
    ("one_loose", "loose", HandlerKind::Singleton, false, None),
    ("all", "created", HandlerKind::Broadcast, true, Some("host-1")),
    ("all_loose", "created", HandlerKind::Broadcast, false, Some("instance-1")),
    ("any", "a.#", HandlerKind::ServicePool, true, None),
    ("star", "a.*", HandlerKind::ServicePool, true, None),
    ("everything", "#", HandlerKind::Singleton, true, None),
    ("empty", "", HandlerKind::ServicePool, true, None),
    ("spaced", "two words", HandlerKind::ServicePool, true, None),
    ("dashed", "a-b.c--d", HandlerKind::ServicePool, true, None),
];

/// A broadcast's queue is for one instance.
fn is_shared(row: &Row) -> bool {
    row.2 != HandlerKind::Broadcast
}

fn in_python(rows: impl IntoIterator<Item = &'static Row>) -> Vec<Value> {
    let spec = |(method, event_type, kind, reliable, identifier): &Row| {
        let kind = match kind {
            HandlerKind::Singleton => "singleton",
            HandlerKind::Broadcast => "broadcast",
            _ => "pool",
        };
        let more = json!({ "reliable": reliable, "identifier": identifier });
        python_handler(method, "orders", event_type, kind, more)
    };
    rows.into_iter().map(spec).collect()
}

async fn in_rust(
    backend: &AnyBackend,
    rows: impl IntoIterator<Item = &'static Row>,
) -> Outcome<Rust> {
    let mut cast = Cast::new("billing")?;
    for (method, event_type, kind, reliable, identifier) in rows {
        cast = cast.handles("orders", event_type, method, |handler| {
            let handler = handler.with_kind(*kind).with_reliable_delivery(*reliable);
            match identifier {
                Some(identifier) => handler.with_broadcast_identifier(identifier),
                None => handler,
            }
        })?;
    }
    cast.start(backend).await
}

/// All queues, exchanges of events, and bindings, in order.
async fn listing(broker: &RabbitMq, vhost: &str) -> Outcome<Vec<String>> {
    let lists: [&[&str]; 3] = [
        &["list_queues", "-p", vhost, "name", "durable", "auto_delete", "exclusive", "arguments"],
        &[
            "list_exchanges",
            "-p",
            vhost,
            "name",
            "type",
            "durable",
            "auto_delete",
            "internal",
            "arguments",
        ],
        &[
            "list_bindings",
            "-p",
            vhost,
            "source_name",
            "destination_name",
            "destination_kind",
            "routing_key",
            "arguments",
        ],
    ];
    let mut listing = Vec::new();
    for list in lists {
        listing.extend(broker.list(list).await?.iter().map(Value::to_string));
    }
    listing.sort();
    Ok(listing)
}

/// In one virtual host Python is first and we join, in the other one it is the other way round: the listings are the same.
async fn flags(scene: Scene) -> Outcome {
    let broker = scene.broker().await?;
    let (python_vhost, rust_vhost) = (scene.name("python"), scene.name("rust"));
    let mut backends = Vec::new();
    for vhost in [&python_vhost, &rust_vhost] {
        broker.add_vhost(vhost).await?;
        backends.push(options(&broker.url_of(vhost)).connect().await?.into_any());
    }
    let [beside_python, alone] = &*backends else { return Err("two are ours".into()) };
    let [python_first, rust_first] = [(&*python_vhost, beside_python), (&*rust_vhost, alone)];
    let mut python = scene.peer().await?;
    let config = |vhost| json!({ "AMQP_URI": pyamqp(&broker.url_of(vhost)) });

    let spec = json!({
        "name": "first", "service": "billing", "handlers": in_python(ROWS), "config": config(python_first.0),
    });
    python.ask("start", spec).await?;
    let ours = in_rust(rust_first.1, ROWS).await?;
    // nameko's dispatcher declares the exchange of its service when it starts, ours with the first event.
    ours.running.dispatcher().emit("nobody-hears", &()).await?;
    let theirs = listing(broker, python_first.0).await?;
    check(theirs.len() > ROWS.len() * 2, format!("something is declared: {theirs:?}"))?;
    for (_, event_type, ..) in ROWS {
        let bound = json!(event_type).to_string();
        let bound = format!("\"routing_key\":{bound},\"source_name\":\"orders.events\"");
        check(theirs.iter().any(|it| it.contains(&bound)), format!("{bound} is in {theirs:?}"))?;
    }
    equal("what we declare", listing(broker, rust_first.0).await?, theirs.clone())?;

    let joining = in_rust(python_first.1, ROWS.iter().filter(|row| is_shared(row))).await?;
    let shared = in_python(ROWS.iter().filter(|row| is_shared(row)));
    let spec = json!({
        "name": "second", "service": "billing", "handlers": shared, "config": config(rust_first.0),
    });
    python.ask("start", spec).await?;
    for (vhost, _) in [python_first, rust_first] {
        equal("what is there once both are", listing(broker, vhost).await?, theirs.clone())?;
        let rows = broker.list(&["list_queues", "-p", vhost, "name", "consumers"]).await?;
        for row in rows.iter().filter(|row| !text(row, "name").contains(".all")) {
            equal(format!("consumers of {row}"), at(row, "/consumers").clone(), 2.into())?;
        }
    }
    drop((ours, joining));
    for name in ["first", "second"] {
        python.ask("kill", json!({ "name": name })).await?;
    }
    Ok(())
}

async fn auto_delete(scene: Scene) -> Outcome {
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let mut python = scene.peer().await?;
    let spec = json!({
        "name": "p", "service": service, "config": { "AUTO_DELETE_EVENT_EXCHANGES": true },
        "handlers": [python_handler("on", &source, "created", "pool", Value::Null)],
    });
    python.ask("start", spec).await?;
    let options = scene.options().await?;
    let fleeting = ExchangePolicy::declare().with_auto_delete(true);
    let matching = options.clone().with_exchanges(fleeting).connect().await?.into_any();
    let ours = || Cast::new(&service)?.handles(&source, "created", "on", as_it_is);
    let joined = ours()?.start(&matching).await?;
    EventDispatcher::new(&matching, &source)?.emit("created", &1).await?;

    let other = options.connect().await?.into_any();
    let since = Instant::now();
    let refused = soon("a refusal", ours()?.service.start(&other)).await?.err();
    equal("a queue's exchange is another", refused.map(|it| it.kind()), Some(ErrorKind::Conflict))?;
    check(since.elapsed() < AT_ONCE, format!("to handle: told after {:?}", since.elapsed()))?;
    let since = Instant::now();
    let refused = EventDispatcher::new(&other, &source)?.emit("created", &1).await.err();
    equal("an exchange is another", refused.map(|it| it.kind()), Some(ErrorKind::Conflict))?;
    check(since.elapsed() < AT_ONCE, format!("to emit: told after {:?}", since.elapsed()))?;
    drop(joined);
    python.ask("kill", json!({ "name": "p" })).await
}

async fn missing(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let options = scene.options().await?.with_exchanges(ExchangePolicy::assume());
    let backend = options.connect().await?.into_any();
    let refused = EventDispatcher::new(&backend, &source)?.emit("created", &1).await.err();
    equal("to emit", refused.map(|it| it.kind()), Some(ErrorKind::NotFound))?;
    let ours = Cast::new(&scene.name("billing"))?.handles(&source, "created", "on", as_it_is)?;
    let refused = soon("a refusal", ours.service.start(&backend)).await?.err();
    equal("to handle", refused.map(|it| it.kind()), Some(ErrorKind::NotFound))
}
