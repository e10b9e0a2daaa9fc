//! What dispatch counts, under the names that a metrics recorder sees.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use metrics::{Key, Label, Level, Metadata, Recorder, with_recorder};
use sinew_core::Subject;

use crate::{End, Ended, gather::Verdict};

/// The counters of each topic, and of all topics together.
#[derive(Debug)]
pub(crate) struct Meters {
    by_topic: Mutex<HashMap<Subject, Arc<Meter>>>,
    others: Arc<Meter>,
    total: Arc<Total>,
}

/// Since the dispatcher was built.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) asks: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) duplicate: AtomicU64,
}

/// The counters of one topic. Their keys are made once: an ask should not format names.
///
/// | metric | what |
/// |---|---|
/// | `dispatch_asks_total{topic}` | asks that were sent |
/// | `dispatch_ended_total{topic,ended}` | asks that ended, by why |
/// | `dispatch_replies_total{topic,result}` | agents of ended asks: `ok`, `failed`, `missing`, `cancelled` |
/// | `dispatch_late_total{topic}` | answers that came after their ask |
/// | `dispatch_duplicate_total{topic}` | second answers of an agent |
/// | `dispatch_fan_out{topic}` | how many agents an ask expected |
/// | `dispatch_first_seconds{topic}` | from when an ask was sent until the first answer |
/// | `dispatch_done_seconds{topic}` | from when it was sent until it ended |
#[derive(Debug)]
pub(crate) struct Meter {
    total: Arc<Total>,
    asks: Key,
    ended: [Key; Ended::ALL.len()],
    results: [Key; 4],
    late: Key,
    duplicate: Key,
    fan_out: Key,
    first: Key,
    done: Key,
}

/// More topics than this are counted together, as `other`.
const MAX_TOPICS: usize = 1024;

const METADATA: Metadata<'_> = Metadata::new("sinew_dispatch", Level::INFO, Some(module_path!()));

impl Default for Meters {
    fn default() -> Self {
        let total = Arc::default();
        let others = Arc::new(Meter::new("other", &total));
        Self { by_topic: Mutex::default(), others, total }
    }
}

impl Meters {
    pub(crate) fn of(&self, topic: &Subject) -> Arc<Meter> {
        let mut meters = self.by_topic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(topic) {
            return Arc::clone(meter);
        }
        if meters.len() >= MAX_TOPICS {
            return Arc::clone(&self.others);
        }
        let meter = Arc::new(Meter::new(topic.as_str(), &self.total));
        meters.insert(topic.clone(), Arc::clone(&meter));
        meter
    }

    pub(crate) fn total(&self) -> &Total {
        &self.total
    }
}

impl Meter {
    fn new(topic: &str, total: &Arc<Total>) -> Self {
        let topic: Arc<str> = Arc::from(topic);
        let label = || Label::new("topic", metrics::SharedString::from_shared(Arc::clone(&topic)));
        let key = |name: &'static str| Key::from_parts(name, vec![label()]);
        let with = |name: &'static str, label_name: &'static str, value: &'static str| {
            Key::from_parts(name, vec![label(), Label::new(label_name, value)])
        };
        Self {
            total: Arc::clone(total),
            asks: key("dispatch_asks_total"),
            ended: Ended::ALL.map(|it| with("dispatch_ended_total", "ended", it.as_str())),
            results: ["ok", "failed", "missing", "cancelled"]
                .map(|it| with("dispatch_replies_total", "result", it)),
            late: key("dispatch_late_total"),
            duplicate: key("dispatch_duplicate_total"),
            fan_out: key("dispatch_fan_out"),
            first: key("dispatch_first_seconds"),
            done: key("dispatch_done_seconds"),
        }
    }

    pub(crate) fn asked(&self, fan_out: usize) {
        self.total.asks.fetch_add(1, Relaxed);
        with_recorder(|to| {
            count(to, &self.asks, 1);
            #[expect(clippy::cast_precision_loss, reason = "no ask has 2^52 agents")]
            to.register_histogram(&self.fan_out, &METADATA).record(fan_out as f64);
        });
    }

    pub(crate) fn first(&self, elapsed: Duration) {
        with_recorder(|to| {
            to.register_histogram(&self.first, &METADATA).record(elapsed.as_secs_f64())
        });
    }

    /// An answer that was late or a duplicate; how many of its kind there were by now, under all topics.
    pub(crate) fn undelivered(&self, verdict: Verdict) -> u64 {
        let (total, key) = match verdict {
            Verdict::Late => (&self.total.late, &self.late),
            Verdict::Duplicate => (&self.total.duplicate, &self.duplicate),
            Verdict::Deliver | Verdict::TooLarge => return 0,
        };
        with_recorder(|to| count(to, key, 1));
        total.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn ended(&self, end: &End) {
        with_recorder(|to| {
            if let Some(key) = self.ended.get(end.ended as usize) {
                count(to, key, 1);
            }
            let results = [end.ok, end.failed, end.missing.len(), end.cancelled.len()];
            for (key, number) in self.results.iter().zip(results) {
                if number > 0 {
                    count(to, key, number);
                }
            }
            to.register_histogram(&self.done, &METADATA).record(end.elapsed.as_secs_f64());
        });
    }
}

fn count(to: &dyn Recorder, key: &Key, number: usize) {
    to.register_counter(key, &METADATA).increment(u64::try_from(number).unwrap_or(u64::MAX));
}
