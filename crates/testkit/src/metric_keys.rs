//! What a program records, by name: for tests that hold a catalogue of metrics to its word.
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// A recorder that keeps the keys, names and labels, under which something was recorded, and throws the values away.
#[derive(Debug, Default)]
pub struct MetricKeys(Mutex<BTreeSet<Key>>);

impl MetricKeys {
    /// Those that it has seen, each once.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Their names alone.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.keys().iter().map(|key| key.name().to_owned()).collect()
    }

    fn note(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }
}

impl Recorder for MetricKeys {
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
