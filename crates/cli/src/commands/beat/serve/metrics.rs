//! `/metrics`: Prometheus' text format 0.0.4, written in parts, so that a large fleet takes no large buffer.
use std::{
    convert::Infallible,
    fmt::Write,
    io::{self, Write as _},
    mem,
    sync::Arc,
    time::SystemTime,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header::ACCEPT_ENCODING},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use sinew_beat::{Histogram, ProcessStatus, State, Timestamp, TransitionCount};

use super::board::{Board, Picture};

pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many processes are written at once.
const PART: usize = 500;

/// One metric of processes, those of which it says something.
struct Metric {
    head: &'static str,
    line: fn(&mut String, &Board, &str, &ProcessStatus),
}

const METRICS: [Metric; 5] = [
    Metric {
        head: "# HELP beat_state The state of a process: 1 for the one that it is in.\n\
            # TYPE beat_state gauge\n",
        line: |text, _, name, it| {
            let _ = writeln!(text, "beat_state{{process=\"{name}\",state=\"{}\"}} 1", it.state);
        },
    },
    Metric {
        head: "# HELP beat_last_seen_seconds When a process was last heard of, in seconds since 1970.\n\
            # TYPE beat_last_seen_seconds gauge\n",
        line: |text, board, name, it| {
            if let Some(at) = it.last_seen {
                let at = epoch(board, at);
                let _ = writeln!(text, "beat_last_seen_seconds{{process=\"{name}\"}} {at}");
            }
        },
    },
    Metric {
        head: "# HELP beat_deadline_seconds When the state of a process gets worse unless it is heard of, in seconds since 1970.\n\
            # TYPE beat_deadline_seconds gauge\n",
        line: |text, board, name, it| {
            if let Some(at) = it.deadline {
                let at = epoch(board, at);
                let _ = writeln!(text, "beat_deadline_seconds{{process=\"{name}\"}} {at}");
            }
        },
    },
    Metric {
        head: "# HELP beat_flapping 1 for a process that goes back and forth between states.\n\
            # TYPE beat_flapping gauge\n",
        line: |text, _, name, it| {
            if it.is_flapping {
                let _ = writeln!(text, "beat_flapping{{process=\"{name}\"}} 1");
            }
        },
    },
    Metric {
        head: "# HELP beat_conflict 1 where two instances beat under the name of a process at once.\n\
            # TYPE beat_conflict gauge\n",
        line: |text, _, name, it| {
            if it.conflict.is_some() {
                let _ = writeln!(text, "beat_conflict{{process=\"{name}\"}} 1");
            }
        },
    },
];

/// Whether whoever asks takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|it| it.to_str().ok());
    all.flat_map(|it| it.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|it| it.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// All of them, part by part as the client takes them.
pub(super) fn body(
    board: Arc<Board>,
    picture: Arc<Picture>,
    listeners: usize,
    alerts: &str,
    gzip: bool,
) -> Body {
    let start = std::iter::once(monitor(&board, &picture, listeners) + alerts);
    let metrics = METRICS.into_iter().flat_map(move |Metric { head, line }| {
        let (board, picture) = (Arc::clone(&board), Arc::clone(&picture));
        let parts = picture.processes.len().div_ceil(PART);
        let lines = (0..parts).map(move |part| {
            let mut text = String::new();
            for it in picture.processes.iter().skip(part * PART).take(PART) {
                line(&mut text, &board, &label(it.process.as_str()), it);
            }
            text
        });
        std::iter::once(head.to_owned()).chain(lines)
    });
    let texts = start.chain(metrics);
    match gzip {
        true => Body::from_stream(stream::iter(zipped(texts))),
        false => {
            let parts = texts.map(|text| Ok::<_, Infallible>(Bytes::from(text)));
            Body::from_stream(stream::iter(parts))
        }
    }
}

/// The same by gzip, which makes some ten times less of names that are alike.
fn zipped(texts: impl Iterator<Item = String>) -> impl Iterator<Item = io::Result<Bytes>> {
    let zip = GzEncoder::new(Vec::new(), Compression::fast());
    let texts = texts.map(Some).chain([None]);
    let parts = texts.scan(Some(zip), |zip, text| {
        let part = match (zip.as_mut(), text) {
            (Some(zip), Some(text)) => {
                zip.write_all(text.as_bytes()).map(|()| mem::take(zip.get_mut()))
            }
            _ => zip.take()?.finish(),
        };
        Some(part.map(Bytes::from))
    });
    // What is not full yet is no part.
    parts.filter(|part| part.as_ref().map_or(true, |it| !it.is_empty()))
}

/// What is true of the monitor itself.
fn monitor(board: &Board, picture: &Picture, listeners: usize) -> String {
    let (counts, happened) = (board.counts(), board.happened());
    let mut text = format!(
        "# HELP sinew_build_info Which sinew this is.\n# TYPE sinew_build_info gauge\n\
         sinew_build_info{{version=\"{}\"}} 1\n\
         # HELP beat_processes How many processes are in each state.\n# TYPE beat_processes gauge\n",
        env!("CARGO_PKG_VERSION")
    );
    for (state, count) in picture.tally.iter() {
        let _ = writeln!(text, "beat_processes{{state=\"{state}\"}} {count}");
    }
    let _ = writeln!(
        text,
        "# HELP beat_transitions_total Transitions of all processes, none from one that was not known.\n\
         # TYPE beat_transitions_total counter"
    );
    for TransitionCount { from, to, count, .. } in board.transitions() {
        let from = from.map_or("none", State::as_str);
        let _ = writeln!(text, "beat_transitions_total{{from=\"{from}\",to=\"{to}\"}} {count}");
    }
    let listeners = u64::try_from(listeners).unwrap_or(u64::MAX);
    for (name, what, kind, value) in [
        ("beat_page_listeners", "Pages that listen to what changes.", "gauge", listeners),
        (
            "beat_monitor_blind",
            "1 while the link to the broker is down or silent.",
            "gauge",
            u64::from(board.is_blind()),
        ),
        (
            "beat_monitor_heart",
            "1 if the monitor hears itself, and so notices a broker that hangs.",
            "gauge",
            u64::from(board.hears_itself()),
        ),
        ("beat_heard_total", "Beats taken.", "counter", counts.beats),
        ("beat_malformed_total", "Messages that were no beats.", "counter", counts.malformed),
        (
            "beat_refused_total",
            "Beats of processes that were one too many.",
            "counter",
            counts.refused,
        ),
        ("beat_lost_total", "Messages lost on their way in.", "counter", counts.lost),
        (
            "beat_stale_total",
            "Beats that were too old when they came to say anything of now.",
            "counter",
            counts.stale,
        ),
        (
            "beat_missed_total",
            "Beats that were published and did not come, by the numbers of those that did.",
            "counter",
            counts.missed,
        ),
        (
            "beat_conflicts_total",
            "How often two instances were there at once under one name.",
            "counter",
            counts.conflicts,
        ),
        (
            "beat_stalls_total",
            "How often the monitor itself stood still.",
            "counter",
            happened.stalls,
        ),
        ("beat_flapping_total", "How often a process began to flap.", "counter", happened.flapping),
        (
            "beat_forgotten_total",
            "Processes that were silent for so long that they were forgotten.",
            "counter",
            happened.forgotten,
        ),
    ] {
        let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} {kind}\n{name} {value}");
    }
    if let Some(own) = board.heart_counts() {
        for (name, what, value) in [
            ("beat_sent_total", "Beats that the monitor's own heart sent.", own.sent),
            (
                "beat_suppressed_total",
                "Beats of the monitor's own heart that were too early to send.",
                own.suppressed,
            ),
            ("beat_failed_total", "Beats of the monitor's own heart that failed.", own.failed),
        ] {
            let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} counter\n{name} {value}");
        }
    }
    for (name, what, histogram) in [
        (
            "beat_interval_seconds",
            "How far apart the beats of a process were, over all processes.",
            board.intervals(),
        ),
        (
            "beat_monitor_lag_seconds",
            "How late the watch was with what was due, at least one value a second.",
            board.lag(),
        ),
    ] {
        buckets(&mut text, name, what, &histogram);
    }
    text
}

fn buckets(text: &mut String, name: &str, what: &str, histogram: &Histogram) {
    let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} histogram");
    for (bound, count) in histogram.buckets() {
        let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", bound.as_secs_f64());
    }
    let (count, sum) = (histogram.count(), histogram.sum().as_secs_f64());
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
}

/// A label's value: a backslash, a quote and the end of a line are escaped.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Seconds since 1970, to the millisecond.
fn epoch(board: &Board, at: Timestamp) -> String {
    let since = board.clock().wall(at).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_takes_it_and_says_the_same() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]))
        };
        assert!(takes("gzip") && takes("deflate, GZIP;q=0.5") && takes("gzip; q=1.0"));
        assert!(!takes("gzip;q=0") && !takes("identity") && !takes("xgzip"));
        assert!(!takes_gzip(&HeaderMap::new()));
        let texts = || (0..200).map(|it| format!("{it}\n").repeat(1000));
        let mut unzipped = flate2::write::GzDecoder::new(Vec::new());
        zipped(texts()).for_each(|part| unzipped.write_all(&part.unwrap()).unwrap());
        assert_eq!(unzipped.finish().unwrap(), texts().collect::<String>().into_bytes());
    }

    #[test]
    fn a_label_cannot_leave_its_quotes() {
        assert_eq!(label("a\"} 1\\"), "a\\\"} 1\\\\");
        assert_eq!(label("a\nb"), "a\\nb");
    }
}
