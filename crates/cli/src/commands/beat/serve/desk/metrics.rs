//! What `/metrics` says of alerts, where they go, and of the monitor's own upkeep.
use std::{
    fmt::{Display, Write},
    sync::atomic::Ordering::Relaxed,
    time::SystemTime,
};

use super::{Desk, DeskCounts};
use crate::commands::beat::serve::upkeep::{LastTime, Upkeep};

/// One metric and its lines: labels, and a value.
fn family<V: Display>(
    text: &mut String,
    (name, kind, what): (&str, &str, &str),
    lines: impl IntoIterator<Item = (String, V)>,
) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} {kind}");
    for (labels, value) in lines {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

pub(crate) fn text(desk: &Desk, upkeep: &Upkeep) -> String {
    let DeskCounts { alerts, open, silences, outputs, republished } = desk.counts();
    let mut text = String::new();
    let plain = |value: u64| [(String::new(), value)];
    family(
        &mut text,
        ("beat_alerts_total", "counter", "Alerts told, by kind."),
        alerts.told.iter().map(|(kind, count)| (format!("{{kind=\"{kind}\"}}"), *count)),
    );
    family(
        &mut text,
        ("beat_alerts_held_total", "counter", "Alerts held back, by cause."),
        alerts.held.iter().map(|(cause, count)| {
            let cause = cause.as_str();
            (format!("{{cause=\"{cause}\"}}"), *count)
        }),
    );
    for (name, kind, what, value) in [
        ("beat_alerts_notifications_total", "counter", "Notifications made.", alerts.notifications),
        (
            "beat_alerts_refused_total",
            "counter",
            "Incidents that were one too many, and never told.",
            alerts.refused,
        ),
        ("beat_alerts_open", "gauge", "Incidents that are open.", open as u64),
        ("beat_alerts_silences", "gauge", "Silences in force.", silences as u64),
    ] {
        family(&mut text, (name, kind, what), plain(value));
    }
    let results = outputs.iter().flat_map(|output| {
        let name = &output.name;
        output.results.iter().map(move |(result, count)| {
            (format!("{{output=\"{name}\",result=\"{result}\"}}"), *count)
        })
    });
    let what = "What became of notifications, by output.";
    family(&mut text, ("beat_alerts_outputs_total", "counter", what), results);
    let waiting = outputs.iter().map(|it| (format!("{{output=\"{}\"}}", it.name), it.waiting));
    let what = "Notifications that wait to be delivered, by output.";
    family(&mut text, ("beat_alerts_waiting", "gauge", what), waiting);
    let kept = outputs.iter().map(|it| (format!("{{output=\"{}\"}}", it.name), it.kept));
    let what = "Alerts that wait beyond the queue of an output.";
    family(&mut text, ("beat_alerts_kept", "gauge", what), kept);
    let what = "Transitions told on the bus, by what became of them.";
    let results = republished
        .into_iter()
        .flat_map(|it| [("told", it.told), ("failed", it.failed), ("dropped", it.refused)]);
    let results = results.map(|(result, count)| (format!("{{result=\"{result}\"}}"), count));
    family(&mut text, ("beat_republished_total", "counter", what), results);
    let what = "Events that were not printed, as nobody read them in time.";
    let unprinted = upkeep.unprinted.load(Relaxed);
    family(&mut text, ("beat_unprinted_total", "counter", what), plain(unprinted));
    last_time(&mut text, "beat_config_reload", "reading the file anew", &upkeep.reload);
    last_time(&mut text, "beat_snapshot", "writing the snapshot", &upkeep.snapshot);
    text
}

/// Whether something went well the last time, and when it did; nothing where it was never done.
fn last_time(text: &mut String, name: &str, what: &str, last: &LastTime) {
    let is_well = last.is_well().map(|it| (String::new(), u8::from(it)));
    let told = format!("Whether {what} went well the last time.");
    family(text, (&format!("{name}_success"), "gauge", &told), is_well);
    let seconds = last.succeeded().map(|at| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (String::new(), since.as_secs())
    });
    let told = format!("When {what} went well last, in seconds since 1970.");
    family(text, (&format!("{name}_seconds"), "gauge", &told), seconds);
}
