//! What is recorded is what the README lists, name by name.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use sinew_events::{HandlerError, MemoryDedupStore, Profile, SettledAs};
use tokio::runtime::Builder;

use crate::support::{Scene, billing, counting, outcomes};

#[derive(Default)]
struct Names(Mutex<BTreeSet<String>>);

impl Names {
    fn note(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.name().to_owned());
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

async fn scene() {
    let scene = Scene::new();
    let (handler, _) = counting(|run| if run < 3 { Err(HandlerError::new("x")) } else { Ok(()) });
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default());
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
    let orders = scene.orders().with_profile(Profile::Nameko);
    orders.emit("created", "no number").await.unwrap();
    orders.emit("created", &1).await.unwrap();
    outcomes(&mut events, 2).await;
    scene.broker.kill();
    while !matches!(events.next().await, Some(Ok(sinew_events::ServiceEvent::Down { .. }))) {}
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let names = Arc::new(Names::default());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&names, || runtime.block_on(scene()));
    let readme = include_str!("../../README.md");
    let table = readme.split_once("| metric | what |").unwrap().1.split_once("\n\n").unwrap().0;
    let names_of = |line: &str| -> Vec<String> {
        let cell = line.split('|').nth(1).unwrap_or_default();
        let codes = cell.split('`').skip(1).step_by(2);
        codes.map(|it| it.split('{').next().unwrap_or_default().to_owned()).collect()
    };
    let mut listed: BTreeSet<String> = table.lines().flat_map(names_of).collect();
    // A broker that takes no verdict, an error queue that takes no copy, a buffer that is full: shown elsewhere.
    for rare in ["events_unsettled_total", "events_unkept_total", "events_lost_total"] {
        assert!(listed.remove(rare), "{rare}");
    }
    assert_eq!(*names.0.lock().unwrap(), listed);
}
