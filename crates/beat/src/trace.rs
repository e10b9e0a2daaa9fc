//! What a watch says to `tracing`, under the target `sinew_beat`: at `warn` what an operator should know, at `info` who
//! came and went, the rest at `debug`.
use crate::{MonitorEvent, State};

const TARGET: &str = "sinew_beat";

pub(crate) fn event(event: &MonitorEvent) {
    match event {
        MonitorEvent::Transition(it) => {
            let process = it.process.as_str();
            let (from, to) = (it.from.map_or("none", State::as_str), it.to.as_str());
            let reason = it.reason.as_str();
            match it.to {
                State::Down => {
                    tracing::warn!(target: TARGET, process, from, to, reason, "a process is down");
                }
                State::Late | State::Degraded => {
                    tracing::debug!(target: TARGET, process, from, to, reason, "a process is not well");
                }
                _ => tracing::info!(target: TARGET, process, from, to, reason, "a process changed"),
            }
        }
        MonitorEvent::Blind { cause, .. } => {
            tracing::warn!(target: TARGET, cause = cause.as_str(), "blind: nobody is judged");
        }
        MonitorEvent::Sighted { .. } => tracing::warn!(target: TARGET, "the watch sees again"),
        MonitorEvent::Stalled { gap, .. } => {
            tracing::warn!(target: TARGET, ?gap, "the watch itself stood still; deadlines move");
        }
        MonitorEvent::Gap { lost, .. } => {
            tracing::warn!(target: TARGET, lost, "messages were lost on their way in");
        }
        MonitorEvent::Refused { process, count, .. } => {
            let process = process.as_str();
            tracing::warn!(target: TARGET, process, count, "one process too many: beats not taken");
        }
        MonitorEvent::Conflict { process, on, .. } => {
            let process = process.as_str();
            tracing::warn!(target: TARGET, process, on, "two instances under one name");
        }
        MonitorEvent::Flapping { process, on, .. } => {
            tracing::info!(target: TARGET, process = process.as_str(), on, "a process flaps");
        }
        MonitorEvent::Forgotten { process, .. } => {
            tracing::info!(target: TARGET, process = process.as_str(), "a process is forgotten");
        }
        MonitorEvent::Malformed { reason, count, .. } => {
            tracing::debug!(target: TARGET, reason = reason.as_str(), count, "no beats");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::{Debug, Write as _},
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use super::*;
    use crate::{Beat, Monitor, MonitorOptions, Process, Timestamp};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, " {field}={value:?}").unwrap();
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == TARGET
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn who_dies_is_a_warning_and_who_comes_is_none() {
        let second = |it| Timestamp::from_start(Duration::from_secs(it));
        let (mut monitor, mut told) = (Monitor::new(MonitorOptions::default()), Vec::new());
        let billing = Process::parse("billing").unwrap();
        monitor.beat(&billing, Beat::Beat { period: Duration::from_secs(5) }, second(0), &mut told);
        monitor.advance(second(60), &mut told);
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || told.iter().for_each(event));
        let lines = lines.0.lock().unwrap();
        let levels: Vec<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(levels, ["INFO", "DEBUG", "WARN"], "{lines:?}");
        let last = lines.last().unwrap();
        assert!(last.contains("process=\"billing\"") && last.contains("to=\"down\""), "{last}");
    }
}
