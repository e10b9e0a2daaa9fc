//! What is recorded is what the README lists, name by name.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use sinew_core::Result;
use sinew_dispatch::{Dispatcher, Until};
use tokio::runtime::Builder;

use crate::common::{failing, ms, pass, quick, silent, slow};

#[derive(Default)]
struct Keys(Mutex<BTreeSet<String>>);

impl Keys {
    fn note(&self, key: &Key) {
        let mut labels: Vec<_> = key.labels().map(metrics::Label::key).collect();
        labels.sort_unstable();
        let text = format!("{}{{{}}}", key.name(), labels.join(","));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }
}

impl Recorder for Keys {
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

async fn scene() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let late = slow("late", ms(60))?.with_grace(ms(100));
    let agents = [quick("a")?, failing("b")?, silent("c")?, late];
    let _all: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    dispatcher.ask("t", "?").deadline(ms(50)).collect::<String>().await?;
    pass(ms(50)).await;
    dispatcher.ask("t", "?").until(Until::First(1)).collect::<String>().await?;
    Ok(())
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let keys = Arc::new(Keys::default());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&keys, || runtime.block_on(scene())).unwrap();
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `dispatch_")?.split_once('`')?.0))
        .filter(|it| !it.starts_with("agent"))
        .map(|it| format!("dispatch_{it}"))
        .collect();
    let recorded = keys.0.lock().unwrap();
    let normal = |it: &String| {
        let (name, labels) = it.trim_end_matches('}').split_once('{').unwrap();
        let mut labels: Vec<_> = labels.split(',').collect();
        labels.sort_unstable();
        format!("{name}{{{}}}", labels.join(","))
    };
    let listed: BTreeSet<String> = listed.iter().map(normal).collect();
    // No local agent answers twice.
    let duplicate = "dispatch_duplicate_total{topic}".to_owned();
    let expected: BTreeSet<String> =
        listed.iter().filter(|it| **it != duplicate).cloned().collect();
    assert_eq!(*recorded, expected);
}
