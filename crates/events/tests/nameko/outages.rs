//! D: emits that a link takes with it: what is counted of them, and whose failure each is.
use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{future::join_all, poll};
use libtest_mimic::Trial;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use sinew_core::{ErrorKind, Receipt, Sent};
use sinew_events::{EmitOptions, EventDispatcher};
use sinew_testkit::harness::Proxy;

use tokio::time::interval;

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{Outcome, Scene, address, check, equal, options, soon, url_through},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("d3_each_failure_in_an_outage_is_of_its_own_event_and_none_comes_twice", own),
        stage.trial("d4_an_emit_that_may_have_arrived_is_counted_as_unknown", counted),
    ]);
}

type Emitted = Vec<(String, sinew_core::Result<Receipt>)>;

/// Emits an event of each of these types, all at once.
async fn emit_all(dispatcher: &EventDispatcher, types: &[String]) -> Emitted {
    let emit = async |event_type: &String| {
        (event_type.clone(), dispatcher.emit(event_type, event_type).await)
    };
    join_all(types.iter().map(emit)).await
}

/// The types of twenty events.
fn types(what: &str) -> Vec<String> {
    (0..20).map(|number| format!("{what}-{number}")).collect()
}

/// Each has failed so, and says which event it was.
fn all_failed(source: &str, emitted: Emitted, kind: ErrorKind, sent: Sent) -> Outcome {
    for (event_type, outcome) in emitted {
        let Err(err) = outcome else { return Err(format!("{event_type} was confirmed").into()) };
        equal(format!("{event_type}: {err}"), (err.kind(), err.sent()), (kind, sent))?;
        let own = format!("{source}.events/{event_type}");
        equal("the event that failed", err.subject(), Some(own.as_str()))?;
    }
    Ok(())
}

fn all_confirmed(emitted: Emitted) -> Outcome {
    for (event_type, outcome) in emitted {
        outcome.map_err(|err| format!("{event_type}: {err}"))?;
    }
    Ok(())
}

async fn until_up(dispatcher: &EventDispatcher) -> Outcome {
    let up = async {
        let mut again = interval(Duration::from_millis(20));
        // Nobody hears it.
        while dispatcher.emit("up", &0).await.is_err() {
            again.tick().await;
        }
    };
    soon("a link", up).await
}

/// Emits these once the link carries nothing any more, and cuts it when they are handed over.
async fn emit_into_the_void(
    proxy: &Proxy,
    dispatcher: &EventDispatcher,
    types: &[String],
) -> Outcome<Emitted> {
    proxy.half_open();
    let mut emitting = pin!(emit_all(dispatcher, types));
    check(poll!(&mut emitting).is_pending(), "no answer comes")?;
    proxy.cut();
    soon("the end of each emit", emitting).await
}

/// A hundred emits: before an outage; as it begins, with the broker's answers lost, and again with the events themselves;
/// while it lasts; after it.
async fn own(scene: Scene) -> Outcome {
    let source = scene.name("orders");
    let cast = Cast::new(&scene.name("billing"))?;
    let cast = cast.handles(&source, "created.*", "on", as_it_is)?;
    // One at a time, so that the last one is handled last.
    let cast = cast.with(|it| it.with_max_workers(1));
    let mut ours = cast.start(&scene.backend().await?).await?;
    let proxy = Proxy::start(address(scene.broker().await?)).await?;
    let through = options(&url_through(proxy.address()));
    let through = through.with_reconnect_wait(Duration::from_millis(200));
    let dispatcher = EventDispatcher::new(&through.connect().await?.into_any(), &source)?;
    let mut handled = BTreeMap::new();
    let mut next = async |handled: &mut BTreeMap<String, usize>| {
        let seen = ours.seen().await?;
        let event_type = seen.context.event_type().unwrap_or_default().to_owned();
        *handled.entry(event_type.clone()).or_default() += 1;
        Outcome::Ok(event_type)
    };

    // In turn one that is wanted, and one that comes back.
    let before = types("created.before");
    let mixed: Vec<_> =
        before.iter().flat_map(|it| [it.clone(), it.replace("created", "unheard")]).collect();
    let must = EmitOptions::new().with_must_route(true);
    let strict = dispatcher.clone().with_options(must);
    let emitted = emit_all(&strict, &mixed).await;
    let (wanted, unwanted) = emitted.into_iter().partition(|it| it.0.starts_with("created"));
    all_confirmed(wanted)?;
    all_failed(&source, unwanted, ErrorKind::Unroutable, Sent::No)?;
    for _ in &before {
        next(&mut handled).await?;
    }

    // Whatever goes through it takes so long, either way.
    proxy.delay(Duration::from_secs(3));
    let unanswered = types("created.unanswered");
    let emitting = tokio::spawn({
        let (dispatcher, unanswered) = (dispatcher.clone(), unanswered.clone());
        async move { emit_all(&dispatcher, &unanswered).await }
    });
    next(&mut handled).await?;
    proxy.cut();
    let emitted = soon("the end of each emit", emitting).await??;
    all_failed(&source, emitted, ErrorKind::Disconnected, Sent::Maybe)?;
    let emitted = emit_all(&dispatcher, &types("created.during")).await;
    all_failed(&source, emitted, ErrorKind::Disconnected, Sent::No)?;

    proxy.heal();
    until_up(&dispatcher).await?;
    let emitted = emit_into_the_void(&proxy, &dispatcher, &types("created.lost")).await?;
    all_failed(&source, emitted, ErrorKind::Disconnected, Sent::Maybe)?;

    proxy.heal();
    until_up(&dispatcher).await?;
    let after = types("created.after");
    all_confirmed(emit_all(&dispatcher, &after).await)?;
    dispatcher.emit("created.last", &"last").await?;
    while next(&mut handled).await? != "created.last" {}
    // Nothing was emitted again: neither what may have arrived, and has or has not, nor what was not sent.
    let arrived = unanswered.into_iter().filter(|it| handled.contains_key(it)).collect();
    let once = [before, arrived, after, vec!["created.last".to_owned()]].concat();
    let once: BTreeMap<_, _> = once.into_iter().map(|it| (it, 1)).collect();
    equal("deliveries", handled, once.clone())?;
    let received: u64 = ours.running.counts().map(|(_, _, counts)| counts.received).sum();
    equal("deliveries, counted", received, once.len() as u64)
}

/// The emits that are counted, by what is told of them.
#[derive(Default)]
struct Emits(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Emits {
    fn read(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(told, count)| (told.clone(), count.load(SeqCst))).collect()
    }

    /// What `work` ends with, counted here.
    async fn of<T>(&self, work: impl Future<Output = T> + Send) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| with_local_recorder(self, || work.as_mut().poll(cx))).await
    }
}

impl Recorder for Emits {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != "events_emitted_total" {
            return Counter::noop();
        }
        let labels: Vec<_> =
            key.labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(counts.entry(labels.join(",")).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

async fn counted(scene: Scene) -> Outcome {
    let proxy = Proxy::start(address(scene.broker().await?)).await?;
    let through = options(&url_through(proxy.address()));
    let through = through.with_answer_timeout(Duration::from_secs(1));
    let backend = through.connect().await?.into_any();
    let source = scene.name("orders");
    let dispatcher = EventDispatcher::new(&backend, &source)?;
    let emits = Emits::default();
    emits.of(dispatcher.emit("created", &1)).await?;
    let one = types("created.lost").into_iter().take(1).collect::<Vec<_>>();
    let lost = emits.of(emit_into_the_void(&proxy, &dispatcher, &one)).await?;
    all_failed(&source, lost, ErrorKind::Disconnected, Sent::Maybe)?;
    let refused = emits.of(emit_all(&dispatcher, &one)).await;
    all_failed(&source, refused, ErrorKind::Disconnected, Sent::No)?;
    proxy.heal();
    until_up(&dispatcher).await?;
    // Nobody is told that it is down, and the answer does not come in time.
    proxy.half_open();
    let late = emits.of(emit_all(&dispatcher, &one)).await;
    all_failed(&source, late, ErrorKind::Timeout, Sent::Maybe)?;
    let told = [("ok", 1), ("unknown", 2), ("failed", 1)];
    let told = told.map(|(result, count)| (format!("source={source},result={result}"), count));
    equal("what is counted", emits.read(), told.into_iter().collect())
}
