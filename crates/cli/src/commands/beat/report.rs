//! What a monitor tells, as lines for people and objects for programs.
use clap::builder::styling::Style;
use serde::Serialize;
use sinew_beat::{BlindCause, Clock, InstancePair, MonitorEvent, Transition};

use super::painted;
use crate::{
    exit::Failure,
    json::Time,
    output::{Output, printable},
    time::clock,
    width::{padded, shortened},
};

/// Tells of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) output: Output,
    pub(crate) clock: Clock,
}

#[derive(Serialize)]
struct TransitionLine<'a> {
    time: Time,
    process: &'a str,
    from: Option<&'static str>,
    to: &'static str,
    at: Time,
    reason: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    skipped: u64,
}

#[derive(Serialize)]
struct MonitorLine<'a> {
    time: Time,
    monitor: &'static str,
    at: Time,
    #[serde(skip_serializing_if = "is_zero")]
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<[&'a str; 2]>,
    /// For how long it stood still, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Prints one event, as a line or an object.
    pub(crate) fn tell(self, event: &MonitorEvent) -> Result<(), Failure> {
        match event {
            MonitorEvent::Transition(transition) if self.output.json => {
                self.output.object(&self.transition(transition))
            }
            _ if self.output.json => match self.monitor(event) {
                Some(line) => self.output.object(&line),
                None => Ok(()),
            },
            _ => self.output.line(self.line(event, usize::MAX)),
        }
    }

    fn transition(self, it: &Transition) -> TransitionLine<'_> {
        TransitionLine {
            time: Time::now(),
            process: it.process.as_str(),
            from: it.from.map(|state| state.as_str()),
            to: it.to.as_str(),
            at: Time(self.clock.wall(it.at)),
            reason: it.reason.as_str(),
            skipped: it.skipped,
        }
    }

    fn monitor(self, event: &MonitorEvent) -> Option<MonitorLine<'_>> {
        let (monitor, count, name, reason) = match event {
            MonitorEvent::Blind { cause, .. } => ("blind", 0, None, Some(cause.as_str())),
            MonitorEvent::Sighted { .. } => ("sighted", 0, None, None),
            MonitorEvent::Stalled { .. } => ("stalled", 0, None, None),
            MonitorEvent::Flapping { process, on: true, .. } => {
                ("flapping", 0, Some(process.as_str()), None)
            }
            MonitorEvent::Flapping { process, on: false, .. } => {
                ("steady", 0, Some(process.as_str()), None)
            }
            MonitorEvent::Conflict { process, on: true, .. } => {
                ("conflict", 0, Some(process.as_str()), None)
            }
            MonitorEvent::Conflict { process, on: false, .. } => {
                ("unique", 0, Some(process.as_str()), None)
            }
            MonitorEvent::Forgotten { process, was, .. } => {
                ("forgotten", 0, Some(process.as_str()), Some(was.as_str()))
            }
            MonitorEvent::Gap { lost, .. } => ("gap", *lost, None, None),
            MonitorEvent::Malformed { name, reason, count, .. } => {
                ("malformed", *count, Some(&**name), Some(reason.as_str()))
            }
            MonitorEvent::Refused { process, count, .. } => {
                ("refused", *count, Some(process.as_str()), Some("too many processes"))
            }
            _ => return None,
        };
        let instances = match event {
            MonitorEvent::Conflict { instances: InstancePair { one, other, .. }, .. } => {
                Some([one.as_str(), other.as_str()])
            }
            _ => None,
        };
        let gap = match event {
            MonitorEvent::Stalled { gap, .. } => Some(gap.as_secs_f64()),
            _ => None,
        };
        let at = Time(self.clock.wall(event.at()));
        Some(MonitorLine { time: Time::now(), monitor, at, count, name, reason, instances, gap })
    }

    /// One event as a line for people: when it began, who (in at most `room` columns), what.
    pub(crate) fn line(self, event: &MonitorEvent, room: usize) -> String {
        let dimmed = |text: String| self.output.paint(Style::new().dimmed(), text);
        let time = dimmed(clock(self.clock.wall(event.at())));
        let MonitorEvent::Transition(it) = event else {
            return format!("{time} {}", dimmed(format!("monitor: {}", remark(event))));
        };
        let from = it.from.map_or("", |state| state.as_str());
        let name = padded(&shortened(&printable(it.process.as_str()), room), 20);
        let to = painted(self.output, it.to, 9);
        format!("{time} {name} {from:>9} -> {to} {}", dimmed(format!("({})", it.reason)))
    }
}

fn remark(event: &MonitorEvent) -> String {
    match event {
        MonitorEvent::Blind { cause: BlindCause::Silent, .. } => {
            "blind: nothing at all is heard, nobody is judged".to_owned()
        }
        MonitorEvent::Blind { .. } => "blind: the broker is gone, nobody is judged".to_owned(),
        MonitorEvent::Sighted { .. } => {
            "sighted: the broker is back, everyone has a fresh promise".to_owned()
        }
        MonitorEvent::Stalled { gap, .. } => {
            format!(
                "stalled: it stood still for {:.1}s, every deadline is later by that",
                gap.as_secs_f64()
            )
        }
        MonitorEvent::Flapping { process, on: true, .. } => {
            format!("{} flaps", printable(process.as_str()))
        }
        MonitorEvent::Flapping { process, on: false, .. } => {
            format!("{} flaps no more", printable(process.as_str()))
        }
        MonitorEvent::Conflict { process, instances, on, .. } => {
            let InstancePair { one, other, .. } = instances;
            let process = printable(process.as_str());
            match on {
                true => format!("{process} is there twice: {one} and {other}"),
                false => format!("{process} is there once: no longer {one} and {other}"),
            }
        }
        MonitorEvent::Forgotten { process, was, .. } => {
            format!("{} was {was} for so long that it is forgotten", printable(process.as_str()))
        }
        MonitorEvent::Gap { lost, .. } => format!("{lost} messages were lost on their way in"),
        MonitorEvent::Malformed { name, reason, count, .. } => {
            let times = if *count > 1 { format!(", {count} times") } else { String::new() };
            format!("{}: no beat{times}: {reason}", printable(name))
        }
        MonitorEvent::Refused { process, count, .. } => {
            format!(
                "{count} beats not taken, of {} last: there are too many processes",
                printable(process.as_str())
            )
        }
        _ => "something else happened".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sinew_beat::{Watch, WatchOptions};

    use super::*;
    use crate::output::{Chatter, Output};

    #[tokio::test]
    async fn a_stall_says_how_long_it_was() {
        let backend = sinew_connect::connect("memory:report").await.unwrap();
        let subscriber = backend.subscriber().unwrap();
        let watch = Watch::start(&subscriber, WatchOptions::default()).await.unwrap();
        let report = Report { output: Output::new(true, Chatter::Quiet), clock: watch.clock() };
        let (gap, at) = (Duration::from_millis(7500), watch.clock().now());
        let event = MonitorEvent::Stalled { gap, at };
        let line = serde_json::to_value(report.monitor(&event)).unwrap();
        assert_eq!((&line["monitor"], &line["gap"]), (&"stalled".into(), &7.5.into()));
    }
}
