//! E10: whatever headers ours can send, a container of nameko's lives on and has each event.
use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use libtest_mimic::Trial;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value as Json, json};
use sinew_core::{AnyBackend, ErrorKind, Message, PublishExt as _, Value};
use sinew_events::{ContextData, EmitOptions, EventDispatcher, Source};
use tokio::{runtime::Handle, sync::Mutex, task::block_in_place, time::timeout};

use crate::{
    Stage,
    peer::Desk,
    world::{Generation, Outcome, Scene, check, equal, python_handler, text},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    let both = Generation::NAMEKOS;
    trials.extend(stage.trials(both, "e10_no_header_of_ours_ends_a_container", headers));
    trials.push(stage.trial("e10_a_stack_that_is_null_does_end_one", poison));
}

/// What one event says beside its payload: of its context, and as headers.
#[derive(Clone, Debug)]
struct Said {
    context: Vec<(String, Value)>,
    headers: Vec<(String, Value)>,
}

/// Names that mean something to somebody on the way.
const KNOWN: &[&str] = &[
    "call_id_stack",
    "nameko.call_id_stack",
    "language",
    "nameko.language",
    "user_id",
    "auth_token",
    "traceparent",
    "nameko.traceparent",
    "x-death",
    "nameko.x-death",
    "compression",
    "nameko.compression",
    "content_type",
    "content-encoding",
    "nameko.",
];

fn said() -> impl Strategy<Value = Said> {
    let name = || prop_oneof![select(KNOWN).prop_map(str::to_owned), "[!-9;-~]{1,40}"];
    let named = || vec((name(), value()), 0..3);
    (named(), named()).prop_map(|(context, headers)| Said { context, headers })
}

fn value() -> impl Strategy<Value = Value> {
    let since = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let time = prop_oneof![0..5_000_000_000_u64, 0..=u64::MAX >> 1];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[\0-\u{1f}\u{fffe}\u{10ffff}]{0,5}".prop_map(Value::from),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
        time.prop_map(move |seconds| since(seconds).map_or(Value::Null, Value::Time)),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec(("\\PC{0,12}", inner), 0..6).prop_map(Value::Map),
        ]
    })
}

async fn headers(scene: Scene) -> Outcome {
    let is_long = env::var_os("SINEW_LONG").is_some_and(|value| value == "1");
    let config = Config {
        cases: if is_long { 150 } else { 6 },
        max_shrink_iters: 30,
        failure_persistence: None,
        ..Config::default()
    };
    let backend = scene.backend().await?;
    let python = Mutex::new(scene.peer().await?);
    let (rounds, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ran = block_in_place(|| {
        TestRunner::new(config).run(&vec(said(), 20..60), |batch| {
            let round = scene.name(&rounds.fetch_add(1, Ordering::Relaxed).to_string());
            let case = async {
                let python = &mut *python.lock().await;
                // One that cannot read a frame connects again and again.
                timeout(BATCH, survives(&round, &backend, python, &batch)).await?
            };
            let count = Handle::current().block_on(case);
            let count = count.map_err(|err| TestCaseError::fail(err.to_string()))?;
            sent.fetch_add(count, Ordering::Relaxed);
            Ok(())
        })
    });
    ran?;
    let (rounds, sent) = (rounds.into_inner(), sent.into_inner());
    check(
        sent >= 8 * rounds,
        format!("{sent} were sent in {rounds} rounds: too few to say anything"),
    )
}

/// How long a batch takes at most.
const BATCH: Duration = Duration::from_secs(20);

/// Emits the batch to a container of its own, which takes one event at a time; how many were not refused.
async fn survives(
    round: &str,
    backend: &AnyBackend,
    python: &mut Desk,
    batch: &[Said],
) -> Outcome<usize> {
    let handler = python_handler(round, round, "created", "pool", Json::Null);
    let spec = json!({
        "name": round, "service": round, "handlers": [handler], "config": { "max_workers": 1 },
    });
    python.ask("start", spec).await?;
    let mut sent = Vec::new();
    for (number, said) in batch.iter().enumerate() {
        match emit(round, backend, said, number).await {
            Ok(()) => sent.push(json!(number)),
            // What is refused is not sent, which is as good.
            Err(err) if err.kind() == ErrorKind::InvalidHeader => {}
            Err(err) => return Err(err.into()),
        }
    }
    EventDispatcher::new(backend, round)?.emit("created", &"last").await?;
    let mut handled = Vec::new();
    loop {
        let news =
            |it: &Json| text(it, "name") == round && matches!(text(it, "told"), "handled" | "died");
        let it = python.until(format!("{round} goes on"), news).await?;
        match (text(&it, "told"), it.get("json")) {
            ("handled", Some(last)) if last == "last" => break,
            ("handled", Some(number)) => handled.push(number.clone()),
            _ => return Err(format!("it died: {it}").into()),
        }
    }
    equal("what is handled", &handled, &sent)?;
    python.ask("kill", json!({ "name": round })).await?;
    Ok(sent.len())
}

async fn emit(
    source: &str,
    backend: &AnyBackend,
    said: &Said,
    number: usize,
) -> sinew_core::Result<()> {
    let mut context = ContextData::default();
    for (key, value) in &said.context {
        context.insert(key, value.clone())?;
    }
    let mut options = EmitOptions::new();
    for (name, value) in &said.headers {
        options = options.with_header(name, value.clone())?;
    }
    let dispatcher = EventDispatcher::new(backend, source)?.with_context(context);
    dispatcher.emit_with("created", &number, &options).await.map(drop)
}

/// What the trial above would see of one.
async fn poison(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let mut python = scene.peer().await?;
    let handler = python_handler("on", &source, "created", "pool", Json::Null);
    python.start("p", &scene.name("billing"), [handler]).await?;
    let null = Message::to(Source::parse(&source)?.address("created")?, "1")
        .with_content_type("application/json")
        .with_header("nameko.call_id_stack", Value::Null)?;
    scene.amqp().await?.send(null).await?;
    python.until("its end", |it| text(it, "told") == "died").await.map(drop)
}
