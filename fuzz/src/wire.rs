//! What peers and people write: beats, and addresses of brokers.
use sinew_beat::{Beat, MAX_PROMISE, Process, Snapshot};
use sinew_connect::{BrokerUrl, ConnectOptions};
use sinew_core::Error;

/// A payload that is a beat promises no more than it may, and is written as one that reads the same.
pub(crate) fn beat(data: &[u8]) {
    if let Ok(beat) = Beat::parse(data) {
        assert!(beat.promise().is_none_or(|promise| promise <= MAX_PROMISE));
        assert_eq!(Beat::parse(beat.to_string().as_bytes()), Ok(beat), "{beat}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(process) = Process::parse(text) {
        assert_eq!(process.as_str(), text);
        if let Ok(subject) = process.subject() {
            assert_eq!(subject.strip_prefix("heartbeat."), Some(text));
        }
    }
}

/// A snapshot that can be read is written as one that reads the same.
pub(crate) fn snapshot(data: &[u8]) {
    if let Ok(snapshot) = Snapshot::decode(data) {
        assert_eq!(Snapshot::decode(&snapshot.encode()).ok(), Some(snapshot));
    }
}

fn shown(err: Error) -> String {
    format!("{err} {err:?}")
}

/// Nothing that can be written shows a password, be it parsed or refused.
pub(crate) fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (before, after) = text.split_once('\n').unwrap_or(("ann", text));
    for scheme in ["nats", "nats+js", "amqp", "amqps", "pyamqp"] {
        let text = format!("{scheme}://{before}:s3cret-of-url@{after}");
        let url = BrokerUrl::parse(&text).map_or_else(shown, |url| format!("{url} {url:?}"));
        let options =
            ConnectOptions::new(&text).map_or_else(shown, |options| format!("{options:?}"));
        assert!(!url.contains("s3cret-of-url"), "{url}");
        assert!(!options.contains("s3cret-of-url"), "{options}");
    }
    if let Err(err) = BrokerUrl::parse(&format!("{text}s3cret-of-url")) {
        assert!(!format!("{err} {err:?}").contains("s3cret-of-url"), "{err}");
    }
}
