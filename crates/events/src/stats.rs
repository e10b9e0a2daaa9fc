//! What events count, under the names that a metrics recorder sees, and for whoever asks in this process.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, with_recorder};

const METADATA: Metadata<'_> = Metadata::new("sinew_events", Level::INFO, Some(module_path!()));

macro_rules! handler_counts {
    ($($(#[$doc:meta])* $field:ident = $name:literal $(, $label:literal = $value:literal)?);+ $(;)?) => {
        /// What became of the events that came to a handler, since its service was started.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct HandlerCounts {
            $($(#[$doc])* pub $field: u64,)+
            /// Being handled, or settled and not answered yet.
            pub in_flight: u64,
        }

        /// The counters of one handler. Their keys are made once: an event should not format names.
        #[derive(Debug)]
        pub(crate) struct Meter {
            keys: Keys,
            in_flight: AtomicU64,
            gauge: Key,
            seconds: Key,
            age: Key,
            $($field: AtomicU64,)+
        }

        #[derive(Debug)]
        struct Keys {
            $($field: Key,)+
        }

        impl Meter {
            pub(crate) fn new(handler: &str, event: &str) -> Self {
                let base = [("handler", handler), ("event", event)].map(|(name, value)| {
                    Label::new(name, SharedString::from_shared(Arc::from(value)))
                });
                let key = |name: &'static str, more: &[Label]| {
                    Key::from_parts(name, [&base[..], more].concat())
                };
                Self {
                    keys: Keys {
                        $($field: key($name, &[$(Label::new($label, $value))?]),)+
                    },
                    in_flight: AtomicU64::default(),
                    gauge: key("events_in_flight", &[]),
                    seconds: key("events_handle_seconds", &[]),
                    age: key("events_age_seconds", &[]),
                    $($field: AtomicU64::default(),)+
                }
            }

            pub(crate) fn read(&self) -> HandlerCounts {
                HandlerCounts {
                    $($field: self.$field.load(Relaxed),)+
                    in_flight: self.in_flight.load(Relaxed),
                }
            }

            $(pub(crate) fn $field(&self, more: u64) {
                self.$field.fetch_add(more, Relaxed);
                recorded(|to| count(to, &self.keys.$field, more));
            })+
        }
    };
}
handler_counts! {
    /// Deliveries that came.
    received = "events_received_total";
    /// Handled.
    succeeded = "events_handled_total", "outcome" = "succeeded";
    /// Runs that failed, tried again or not.
    failed = "events_failed_total";
    /// Runs that were made again at once.
    rerun = "events_rerun_total";
    /// Handed back, to be delivered again at once.
    requeued = "events_handled_total", "outcome" = "requeued";
    /// Handed back, to be delivered again later.
    delayed = "events_handled_total", "outcome" = "delayed";
    /// Put into the error queue.
    dead_lettered = "events_handled_total", "outcome" = "dead_lettered";
    /// Given up, and gone.
    dropped = "events_handled_total", "outcome" = "dropped";
    /// Not handled, as they were handled before.
    duplicate = "events_handled_total", "outcome" = "duplicate";
    /// Not handled to the end: the broker took them back, or the service was stopped.
    cancelled = "events_handled_total", "outcome" = "cancelled";
    /// Not handled: they were redriven to another handler.
    passed_over = "events_handled_total", "outcome" = "passed_over";
    /// Of those that failed: what could not be decoded.
    undecodable = "events_undecodable_total";
    /// Handled without a look whether they were handled before, though that is wanted: they have no id.
    without_id = "events_without_id_total";
    /// Verdicts that the broker did not take: it delivers those events again.
    unsettled = "events_unsettled_total";
    /// Copies that an error queue did not take; the events were handed back.
    dead_letter_failed = "events_dead_letter_failed_total";
    /// Lost on their way in.
    lost = "events_lost_total";
    /// Times that the link of its intake went down.
    down = "events_down_total";
}

impl Meter {
    /// Notes that an event is in hand until what is returned is dropped.
    pub(crate) fn in_hand(self: &Arc<Self>) -> InHand {
        self.in_flight.fetch_add(1, Relaxed);
        recorded(|to| to.register_gauge(&self.gauge, &METADATA).increment(1.0));
        InHand(Arc::clone(self))
    }

    /// How long a run took.
    pub(crate) fn took(&self, time: Duration) {
        recorded(|to| histogram(to, &self.seconds, time));
    }

    /// How long ago an event was emitted, by its emitter's clock, as it comes to be handled.
    pub(crate) fn emitted_at(&self, at: SystemTime) {
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        recorded(|to| histogram(to, &self.age, age));
    }
}

/// Counts an event as in hand.
pub(crate) struct InHand(Arc<Meter>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        recorded(|to| to.register_gauge(&self.0.gauge, &METADATA).decrement(1.0));
    }
}

/// The counters of one dispatcher.
#[derive(Debug)]
pub(crate) struct EmitMeter {
    ok: Key,
    failed: Key,
    unknown: Key,
}

impl EmitMeter {
    pub(crate) fn new(source: &str) -> Self {
        let source = SharedString::from_shared(Arc::from(source));
        let key = |result: &'static str| {
            let labels = vec![Label::new("source", source.clone()), Label::new("result", result)];
            Key::from_parts("events_emitted_total", labels)
        };
        Self { ok: key("ok"), failed: key("failed"), unknown: key("unknown") }
    }

    pub(crate) fn emitted<T>(&self, outcome: &sinew_core::Result<T>) {
        let key = match outcome {
            Ok(_) => &self.ok,
            Err(err) if err.sent() == sinew_core::Sent::No => &self.failed,
            Err(_) => &self.unknown,
        };
        recorded(|to| count(to, key, 1));
    }
}

/// A recorder that panics loses what it was told: unwound through a delivery, it would have that delivered again, for ever.
fn recorded(record: impl FnOnce(&dyn Recorder)) {
    drop(catch_unwind(AssertUnwindSafe(|| with_recorder(record))));
}

fn count(to: &dyn Recorder, key: &Key, more: u64) {
    to.register_counter(key, &METADATA).increment(more);
}

fn histogram(to: &dyn Recorder, key: &Key, time: Duration) {
    to.register_histogram(key, &METADATA).record(time.as_secs_f64());
}
