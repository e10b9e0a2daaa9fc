//! What beat counts, under the names that a metrics recorder sees.
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{Beat, MonitorEvent, State, monitor::Heard, trace};

/// Passes events on; counts them on their way, and says them to `tracing`.
///
/// | metric | what |
/// |---|---|
/// | `beat_transitions_total{from,to}` | transitions; `from` is `none` for a process that was not known |
/// | `beat_malformed_total{reason}` | messages that were no beats |
/// | `beat_refused_total` | beats of processes that were one too many |
/// | `beat_lost_total` | messages lost on their way in |
/// | `beat_stalls_total` | how often the monitor itself stood still |
/// | `beat_forgotten_total` | processes that were silent for so long that they were forgotten |
/// | `beat_flapping_total` | how often a process began to flap |
/// | `beat_conflicts_total` | how often two instances were there at once under one name |
/// | `beat_monitor_blind` | 1 while the link is down or silent |
pub(crate) struct Counted<'a, T> {
    to: &'a mut T,
    any: bool,
}

impl<'a, T> Counted<'a, T> {
    pub(crate) fn new(to: &'a mut T) -> Self {
        Self { to, any: false }
    }

    /// Whether anything was passed on.
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

impl<T: Extend<MonitorEvent>> Extend<MonitorEvent> for Counted<'_, T> {
    fn extend<I: IntoIterator<Item = MonitorEvent>>(&mut self, events: I) {
        self.to.extend(events.into_iter().inspect(|event| {
            self.any = true;
            count(event);
            trace::event(event);
        }));
    }
}

fn count(event: &MonitorEvent) {
    match event {
        MonitorEvent::Transition(it) => {
            let from = it.from.map_or("none", State::as_str);
            counter!("beat_transitions_total", "from" => from, "to" => it.to.as_str()).increment(1);
        }
        MonitorEvent::Malformed { reason, count, .. } => {
            counter!("beat_malformed_total", "reason" => reason.as_str()).increment(*count);
        }
        MonitorEvent::Refused { count, .. } => counter!("beat_refused_total").increment(*count),
        MonitorEvent::Gap { lost, .. } => counter!("beat_lost_total").increment(*lost),
        MonitorEvent::Stalled { .. } => counter!("beat_stalls_total").increment(1),
        MonitorEvent::Forgotten { .. } => counter!("beat_forgotten_total").increment(1),
        MonitorEvent::Flapping { on: true, .. } => counter!("beat_flapping_total").increment(1),
        MonitorEvent::Flapping { on: false, .. } => {}
        MonitorEvent::Conflict { on: true, .. } => counter!("beat_conflicts_total").increment(1),
        MonitorEvent::Conflict { on: false, .. } => {}
        MonitorEvent::Blind { .. } => gauge!("beat_monitor_blind").set(1.0),
        MonitorEvent::Sighted { .. } => gauge!("beat_monitor_blind").set(0.0),
    }
}

/// One message that a watch heard: `beat_interval_seconds`, `beat_stale_total`, `beat_missed_total`.
pub(crate) fn heard(heard: Heard) {
    if let Some(interval) = heard.interval {
        histogram!("beat_interval_seconds").record(interval);
    }
    if heard.is_stale {
        counter!("beat_stale_total").increment(1);
    }
    if heard.missed > 0 {
        counter!("beat_missed_total").increment(heard.missed);
    }
}

/// One turn of a watch that something was due in: `beat_monitor_lag_seconds`.
pub(crate) fn lag(late: Duration) {
    histogram!("beat_monitor_lag_seconds").record(late);
}

/// One call of a heart: `beat_sent_total`, `beat_suppressed_total` or `beat_failed_total`, each `{verb}`.
pub(crate) fn pulse(beat: Beat, outcome: Option<crate::Pulse>) {
    let verb = beat.verb();
    match outcome {
        Some(crate::Pulse::Sent) => counter!("beat_sent_total", "verb" => verb),
        Some(crate::Pulse::Suppressed) => counter!("beat_suppressed_total", "verb" => verb),
        None => counter!("beat_failed_total", "verb" => verb),
    }
    .increment(1);
}
