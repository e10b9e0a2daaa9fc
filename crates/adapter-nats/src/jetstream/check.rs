//! What a consumer is asked to be, and whether the one that the server has is that.
use std::{collections::HashMap, time::SystemTime};

use async_nats::{
    datetime,
    jetstream::consumer::{AckPolicy, Config, DeliverPolicy},
};
use sinew_core::{Consumption, ErrorKind, Lifetime, Position, Start};

use crate::{error::Cause, jetstream::JetStreamOptions, names::Filters};

/// Under this name a consumer keeps what its filters cannot say exactly.
const WANTED: &str = "sinew-wants";

/// The configuration of the durable consumer behind a queue.
pub(crate) fn queue(
    name: &str,
    wanted: &Consumption,
    filters: &Filters,
    options: &JetStreamOptions,
) -> Result<Config, Cause> {
    let inactive_threshold = match wanted.lifetime {
        Lifetime::Durable => std::time::Duration::ZERO,
        Lifetime::UntilUnused => options.unused_timeout.max(options.ack_wait),
        _ => return Err(Cause::plain(ErrorKind::Unsupported, "JetStream has no such lifetime")),
    };
    let filter_subjects = filters.disjoint();
    let mut metadata = HashMap::new();
    if filter_subjects != filters.sorted() {
        metadata.insert(WANTED.to_owned(), filters.sorted().join(" "));
    }
    Ok(Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: deliver(&wanted.start, &options.stream)?,
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait,
        max_deliver: -1,
        // Each member bounds itself by what it asks for.
        max_ack_pending: -1,
        filter_subjects,
        inactive_threshold,
        metadata,
        ..Config::default()
    })
}

/// The configuration of a reader's own consumer: gone with it, and without acks.
pub(crate) fn reader(deliver_policy: DeliverPolicy, filters: &Filters) -> Config {
    Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        filter_subjects: filters.disjoint(),
        inactive_threshold: READER_THRESHOLD,
        num_replicas: 1,
        memory_storage: true,
        ..Config::default()
    }
}

/// How long a reader may ask for nothing before the server forgets its consumer; it makes another then.
const READER_THRESHOLD: std::time::Duration = std::time::Duration::from_secs(60);

/// Where the server is to start.
pub(crate) fn deliver(start: &Start, stream: &str) -> Result<DeliverPolicy, Cause> {
    Ok(match start {
        Start::New => DeliverPolicy::New,
        Start::Earliest => DeliverPolicy::All,
        Start::Latest => DeliverPolicy::Last,
        Start::At(position) => at(offset_in(position, stream)?),
        Start::After(position) => at(offset_in(position, stream)?.saturating_add(1)),
        Start::Time(time) => DeliverPolicy::ByStartTime { start_time: date_time(*time)? },
        _ => return Err(Cause::plain(ErrorKind::Unsupported, "JetStream cannot start there")),
    })
}

/// From the message of that number on; they count from 1.
pub(crate) fn at(sequence: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) }
}

/// The number that a position of this stream has in it.
pub(crate) fn offset_in(position: &Position, stream: &str) -> Result<u64, Cause> {
    if *position.log == *stream {
        return Ok(position.offset);
    }
    Err(Cause::Options(format!(
        "the position is one of `{}`, and this is the stream `{stream}`",
        position.log
    )))
}

fn date_time(time: SystemTime) -> Result<datetime::DateTime, Cause> {
    let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()),
        Err(err) => i128::try_from(err.duration().as_nanos()).map(|before| -before),
    };
    nanos
        .ok()
        .and_then(|nanos| datetime::from_nanos(nanos).ok())
        .ok_or_else(|| Cause::plain(ErrorKind::InvalidOptions, "the time is beyond the calendar"))
}

/// Refuses a consumer that would do something else than what was asked: deliver other messages, or lose some.
///
/// Where it started is not asked of one that was there before.
pub(crate) fn compare(asked: &Config, found: &Config, made_now: bool) -> Result<(), Cause> {
    let mut differ = Vec::new();
    let mut check = |field: &'static str, same: bool| {
        if !same {
            differ.push(field);
        }
    };
    check("durable_name", asked.durable_name == found.durable_name);
    check("deliver_subject", found.deliver_subject.is_none());
    check("ack_policy", asked.ack_policy == found.ack_policy);
    check("ack_wait", asked.ack_policy == AckPolicy::None || asked.ack_wait == found.ack_wait);
    check("max_deliver", asked.max_deliver == found.max_deliver);
    check("filter_subjects", filters_of(asked) == filters_of(found));
    check("inactive_threshold", asked.inactive_threshold == found.inactive_threshold);
    check("headers_only", !found.headers_only);
    check("rate_limit_bps", found.rate_limit == 0);
    check("max_batch", found.max_batch == 0 && found.max_bytes == 0 && found.max_expires.is_zero());
    check("priority_groups", found.priority_groups.is_empty());
    check("metadata", asked.metadata.get(WANTED) == found.metadata.get(WANTED));
    check("deliver_policy", !made_now || asked.deliver_policy == found.deliver_policy);
    if differ.is_empty() {
        return Ok(());
    }
    Err(Cause::Api {
        kind: ErrorKind::Conflict,
        detail: format!(
            "the consumer is there, but not as asked: {} differ; ask for the same, or delete it",
            differ.join(", ")
        ),
        sent: sinew_core::Sent::No,
    })
}

/// Both fields that a filter may stand in, as one. 2.9 ignores the second one without a word.
fn filters_of(config: &Config) -> Vec<&str> {
    let mut filters: Vec<_> = config.filter_subjects.iter().map(String::as_str).collect();
    if !config.filter_subject.is_empty() {
        filters.push(&config.filter_subject);
    }
    filters.sort_unstable();
    filters.dedup();
    filters
}

#[cfg(test)]
mod tests {
    use sinew_core::{Pattern, Queue, Subject};

    use super::*;
    use crate::names::Names;

    fn asked(patterns: &[&str]) -> Config {
        let mut wanted =
            Consumption::new(Queue::parse("q").unwrap(), Subject::parse("unused").unwrap());
        wanted.patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let filters = Names::new("_INBOX").filters(None, &wanted.patterns).unwrap();
        queue("q", &wanted, &filters, &JetStreamOptions::new("S")).unwrap()
    }

    fn conflict(asked: &Config, found: &Config) -> Option<ErrorKind> {
        compare(asked, found, false).err().map(|cause| cause.kind())
    }

    #[test]
    fn a_filter_that_the_server_ignored_is_noticed() {
        let asked = asked(&["a", "b"]);
        assert_eq!(conflict(&asked, &asked), None);
        let found = Config { filter_subjects: Vec::new(), ..asked.clone() };
        assert_eq!(conflict(&asked, &found), Some(ErrorKind::Conflict));
    }

    #[test]
    fn one_filter_may_stand_in_either_field() {
        let asked = asked(&["a"]);
        let found =
            Config { filter_subject: "a".into(), filter_subjects: Vec::new(), ..asked.clone() };
        assert_eq!(conflict(&asked, &found), None);
    }

    #[test]
    fn a_consumer_that_would_lose_messages_is_refused() {
        let asked = asked(&["a"]);
        for found in [
            Config { max_deliver: 3, ..asked.clone() },
            Config { ack_policy: AckPolicy::None, ..asked.clone() },
            Config { headers_only: true, ..asked.clone() },
            Config { ack_wait: std::time::Duration::from_secs(1), ..asked.clone() },
        ] {
            assert_eq!(conflict(&asked, &found), Some(ErrorKind::Conflict));
        }
    }

    #[test]
    fn overlapping_patterns_are_told_apart_though_their_filter_is_the_same() {
        let (one, other) = (asked(&["a.*.c", "a.b.*"]), asked(&["a.*.c", "a.x.*"]));
        assert_eq!(one.filter_subjects, other.filter_subjects);
        assert_eq!(conflict(&one, &other), Some(ErrorKind::Conflict));
    }

    #[test]
    fn a_position_of_another_stream_is_refused() {
        let elsewhere = Start::At(Position::new("OTHER", 1));
        let err = deliver(&elsewhere, "S").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidOptions);
        assert!(deliver(&Start::After(Position::new("S", u64::MAX)), "S").is_ok());
    }
}
