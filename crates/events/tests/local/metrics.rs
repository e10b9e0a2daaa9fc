//! What is recorded is what the README lists, name by name, and as often as it happened.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use sinew_core::{
    AnyBackend, AnyPublisher, Backend, Capabilities, Consume as _, Consumption, Lifetime, Message,
    Pending, Publish, PublishExt as _, Queue, QueueAddressing, Receipt, Result,
};
use sinew_events::{
    Context, EmitOptions, EventHandler, HandlerError, MemoryDedupStore, Profile, RetryPolicy,
    Service, ServiceEvent, SettledAs,
};
use tokio::{runtime::Builder, sync::mpsc};

use crate::support::{QUEUE, Scene, billing, counting, outcomes, settled};

/// The values of what is recorded: of a histogram how often it was.
#[derive(Default)]
struct Values(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

struct Times(Arc<AtomicU64>);

impl HistogramFn for Times {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Values {
    /// By its name, with the labels that tell apart what one handler or source has.
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let told = key.labels().filter(|it| matches!(it.key(), "outcome" | "result"));
        let told: String = told.map(|it| format!("{{{}}}", it.value())).collect();
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(values.entry(format!("{}{told}", key.name())).or_default())
    }

    /// What there is but for what is zero, and forgets it.
    fn take(&self) -> BTreeMap<String, u64> {
        let values = self.0.lock().unwrap();
        let taken = values.iter().map(|(name, it)| (name.clone(), it.swap(0, SeqCst)));
        taken.filter(|(_, value)| *value != 0).collect()
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(self.of(key))))
    }
}

/// Runs each of the scenes, and looks at what it has counted.
struct Catalogue {
    values: &'static Values,
    seen: BTreeSet<String>,
}

impl Catalogue {
    /// What was counted since the last look, handles and all.
    fn counted(&mut self, expected: &[(&str, u64)]) {
        let counted = self.values.take();
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(counted, expected);
        self.seen.extend(counted.into_keys());
    }
}

const EMITTED: &str = "events_emitted_total{ok}";
const RECEIVED: &str = "events_received_total";
const AGE: &str = "events_age_seconds";
const RUNS: &str = "events_handle_seconds";
const FAILED: &str = "events_failed_total";

/// Fails once, is handled; is copied, and not handled again; comes without an id, and unreadable.
async fn what_succeeds(catalogue: &mut Catalogue) {
    let scene = Scene::new();
    let (handler, _) = counting(|run| if run < 2 { Err(HandlerError::new("x")) } else { Ok(()) });
    let running =
        scene.start(&billing(handler).with_dedup_store(MemoryDedupStore::default())).await;
    let mut events = running.events();
    for outcome in [SettledAs::Handled, SettledAs::Duplicate] {
        let options = EmitOptions::new().with_message_id("a");
        scene.orders().emit_with("created", &1, &options).await.unwrap();
        assert_eq!(outcomes(&mut events, 1).await, [outcome]);
    }
    catalogue.counted(&[
        (EMITTED, 2),
        (RECEIVED, 2),
        (AGE, 2),
        (RUNS, 2),
        (FAILED, 1),
        ("events_rerun_total", 1),
        ("events_handled_total{succeeded}", 1),
        ("events_handled_total{duplicate}", 1),
    ]);
    let orders = scene.orders().with_profile(Profile::Nameko);
    orders.emit("created", &1).await.unwrap();
    orders.emit("created", "no number").await.unwrap();
    outcomes(&mut events, 2).await;
    catalogue.counted(&[
        (EMITTED, 2),
        (RECEIVED, 2),
        (RUNS, 1),
        ("events_without_id_total", 1),
        ("events_undecodable_total", 1),
        ("events_handled_total{succeeded}", 1),
        ("events_handled_total{dead_lettered}", 1),
    ]);
}

/// A publisher to which queues have no address.
struct Unaddressed(AnyPublisher);

impl Backend for Unaddressed {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().with_queue_addressing(QueueAddressing::None)
    }
}

impl Publish for Unaddressed {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        self.0.publish(message).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }
}

/// Goes back at once or later, is given up, is not taken by the error queue, is another one's.
async fn what_fails(catalogue: &mut Catalogue) {
    let scene = Scene::new();
    let once = || counting(|run| if run == 1 { Err(HandlerError::new("x")) } else { Ok(()) }).0;
    let retry = RetryPolicy::none().with_delays([Duration::from_secs(1)]);
    let running = scene.start(&billing(once()).with_retry(retry)).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    outcomes(&mut events, 2).await;
    drop(running);
    catalogue.counted(&[
        (EMITTED, 1),
        (RECEIVED, 2),
        (AGE, 2),
        (RUNS, 2),
        (FAILED, 1),
        ("events_handled_total{delayed}", 1),
        ("events_handled_total{succeeded}", 1),
    ]);
    for (requeues, becomes, deliveries) in [(true, "requeued", 2), (false, "dropped", 1)] {
        let service = billing(once().with_requeue_on_error(requeues));
        let running = scene.start(&service.with_profile(Profile::Nameko)).await;
        let mut events = running.events();
        scene.emit("created", 1).await;
        outcomes(&mut events, deliveries).await;
        let becomes = format!("events_handled_total{{{becomes}}}");
        let mut expected = vec![(EMITTED, 1), (FAILED, 1), (becomes.as_str(), 1)];
        let came = u64::try_from(deliveries).unwrap();
        expected.extend([(RECEIVED, came), (AGE, came), (RUNS, came)]);
        if requeues {
            expected.push(("events_handled_total{succeeded}", 1));
        }
        catalogue.counted(&expected);
    }
    // Somebody has a queue of the error queue's name, with other properties.
    let queue = Queue::parse(&format!("{QUEUE}.errors")).unwrap();
    let other = Consumption::unbound(queue).with_lifetime(Lifetime::UntilUnused);
    let _taken = scene.connect().consumer().unwrap().consume(other).await.unwrap();
    // Redriven by its subject, as where queues have no address.
    let backend = scene.connect();
    let publisher = AnyPublisher::new(Unaddressed(backend.publisher().unwrap()));
    let service = billing(counting(|_| Err(HandlerError::permanent("x"))).0);
    let running = service.start(&backend.with_publisher(publisher)).await.unwrap();
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert!(matches!(settled(&mut events).await.outcome, SettledAs::Delayed(_)));
    let address = sinew_events::Source::parse("orders").unwrap().address("created").unwrap();
    let message = Message::to(address, "1").with_header("sinew-redrive", "another");
    scene.connect().publisher().unwrap().send(message.unwrap()).await.unwrap();
    assert_eq!(settled(&mut events).await.outcome, SettledAs::PassedOver);
    catalogue.counted(&[
        (EMITTED, 1),
        (RECEIVED, 2),
        (AGE, 1),
        (RUNS, 1),
        (FAILED, 1),
        ("events_dead_letter_failed_total", 1),
        ("events_handled_total{delayed}", 1),
        ("events_handled_total{passed_over}", 1),
    ]);
}

/// Is in hand, is taken back, is handled and not acknowledged; cannot be emitted.
async fn what_the_link_does(catalogue: &mut Catalogue) {
    let scene = Scene::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let broker = scene.broker.clone();
    let handler =
        EventHandler::new("orders", "created", "on_created", move |_: Context, id: u64| {
            let (told, broker) = (tell.send(id), broker.clone());
            async move {
                told?;
                if id == 0 {
                    std::future::pending::<()>().await;
                }
                broker.kill();
                Ok::<_, HandlerError>(())
            }
        });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 0).await;
    told.recv().await.unwrap();
    let in_hand = 1_f64.to_bits();
    catalogue.counted(&[(EMITTED, 1), (RECEIVED, 1), (AGE, 1), ("events_in_flight", in_hand)]);
    scene.emit("created", 1).await;
    // Whichever is told first.
    let (mut ended, mut is_down) = (Vec::new(), false);
    while ended.len() < 2 || !is_down {
        match events.next().await.unwrap().unwrap() {
            ServiceEvent::Settled(it) => ended.push(it.outcome),
            ServiceEvent::Down { .. } => is_down = true,
            _ => {}
        }
    }
    ended.sort_by_key(|it| *it == SettledAs::Cancelled);
    assert_eq!(ended, [SettledAs::Handled, SettledAs::Cancelled]);
    scene.orders().emit("created", &1).await.unwrap_err();
    let counted = catalogue.values.take();
    let count = |name: &str| counted.get(name).copied();
    assert_eq!(count("events_handled_total{cancelled}"), Some(1));
    assert_eq!(count("events_handled_total{succeeded}"), Some(1));
    assert_eq!(count("events_unsettled_total"), Some(1));
    assert_eq!(count("events_down_total"), Some(1));
    assert_eq!(count("events_emitted_total{failed}"), Some(1));
    catalogue.seen.extend(counted.into_keys());
}

/// What only passes by, and has not been begun when the service ends, is lost.
async fn what_is_not_kept(catalogue: &mut Catalogue) {
    let memory = Scene::new().connect();
    let passing = AnyBackend::new(memory.link())
        .with_publisher(memory.publisher().unwrap())
        .with_subscriber(memory.subscriber().unwrap());
    let (tell, mut told) = mpsc::unbounded_channel();
    let slow = EventHandler::new("orders", "created", "on_created", move |_: Context, id: u64| {
        let _ = tell.send(id);
        std::future::pending::<Result<(), HandlerError>>()
    });
    let service = Service::new("billing").unwrap().with_max_workers(1);
    let service = service.with_handler(slow.with_reliable_delivery(false)).unwrap();
    let running = service.start(&passing).await.unwrap();
    let orders = sinew_events::EventDispatcher::new(&memory, "orders").unwrap();
    for id in 0..3 {
        orders.emit("created", &id).await.unwrap();
    }
    told.recv().await.unwrap();
    running.drain(Duration::from_secs(1)).await.unwrap_err();
    let counted = catalogue.values.take();
    assert_eq!(counted.get("events_lost_total"), Some(&2), "{counted:?}");
    catalogue.seen.extend(counted.into_keys());
}

/// Takes nothing, and says so.
struct Broken;

impl Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("no counter");
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("no gauge");
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("no histogram");
    }
}

/// The same of spans.
impl tracing::Subscriber for Broken {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        panic!("no span");
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// One event, to its end: what became of it, how often it was delivered and run.
async fn one_event() -> (SettledAs, u64, usize) {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    let settled = loop {
        let settled = settled(&mut events).await;
        if !settled.comes_again {
            break settled;
        }
    };
    assert_eq!(scene.waiting(QUEUE).await, 0);
    let counts = running.counts().next().unwrap().2;
    assert_eq!(counts.in_flight, 0);
    (settled.outcome, counts.received, runs.load(SeqCst))
}

fn in_virtual_time<T>(run: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(run)
}

#[test]
fn a_recorder_that_panics_has_no_event_delivered_or_run_again() {
    let ended = with_local_recorder(&Broken, || in_virtual_time(one_event()));
    assert_eq!(ended, (SettledAs::Handled, 1, 1));
}

#[test]
fn a_subscriber_that_panics_has_no_event_delivered_or_run_again() {
    let ended = tracing::subscriber::with_default(Broken, || in_virtual_time(one_event()));
    assert_eq!(ended, (SettledAs::Handled, 1, 1));
}

#[test]
fn what_is_recorded_is_what_the_readme_lists_as_often_as_it_happened() {
    let values: &'static Values = Box::leak(Box::default());
    let mut catalogue = Catalogue { values, seen: BTreeSet::new() };
    with_local_recorder(values, || {
        in_virtual_time(async {
            what_succeeds(&mut catalogue).await;
            what_fails(&mut catalogue).await;
            what_the_link_does(&mut catalogue).await;
            what_is_not_kept(&mut catalogue).await;
        });
    });
    let readme = include_str!("../../README.md");
    let table = readme.split_once("| metric | what |").unwrap().1.split_once("\n\n").unwrap().0;
    let codes_of = |line: &str, cell: usize| -> Vec<String> {
        let cell = line.split('|').nth(cell).unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut listed = BTreeSet::new();
    for line in table.lines() {
        for name in codes_of(line, 1) {
            let plain = name.split('{').next().unwrap().to_owned();
            if name.contains("outcome") || name.contains("result") {
                listed.extend(codes_of(line, 2).iter().map(|it| format!("{plain}{{{it}}}")));
            } else {
                listed.insert(plain);
            }
        }
    }
    // An emit whose answer is lost: not in this process, but of RabbitMQ in `tests/nameko`.
    assert!(listed.remove("events_emitted_total{unknown}"));
    assert_eq!(catalogue.seen, listed);
}
