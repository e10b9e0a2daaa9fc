//! What names an incident, and a second one of the same moment.
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Condition;
use crate::Timestamp;

/// What names an incident to whoever receives its alerts: `billing/down/1767225600`.
///
/// That is the name, what was wrong first, and when that began: seconds since 1970 UTC, rounded down to
/// [`AlertOptions::with_key_granularity`](super::AlertOptions::with_key_granularity). The second incident that is
/// told under the same key has `-2` behind it, and so on. A name may hold slashes, what stands behind it does not. Every
/// alert of an incident carries the key with which it began: what escalates it, what repeats it, and what ends it.
///
/// Monitors that watch the same fleet give one incident the same key without speaking to each other, and a receiver
/// that knows keys tells it once. They share the name, the state and, as all heard the same last beat, the deadline
/// that passed, but for the network's delay and the difference of their clocks. Rounding hides these unless the edge
/// of a minute falls between: some 1 of 600 incidents with clocks 0.1 s apart. The same goes for a monitor that was
/// blind or began meanwhile, as its deadlines and what it counted are its own, and for one with other options: its key
/// differs, and the incident is told twice rather than not at all. What a monitor tells of itself bears its own name,
/// and is shared with none.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AlertKey(Arc<str>);

impl AlertKey {
    pub(super) fn new(
        name: &str,
        condition: Condition,
        began: SystemTime,
        granularity: Duration,
    ) -> Self {
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let step = granularity.as_secs().max(1);
        Self(format!("{name}/{condition}/{}", began - began % step).into())
    }

    /// One that was made before.
    pub(super) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the first incident of its moment, and which one this is.
    fn numbered(&self) -> (Self, u32) {
        let (head, tail) = self.0.rsplit_once('/').unwrap_or_default();
        let numbered =
            tail.split_once('-').and_then(|(began, nth)| Some((began, nth.parse().ok()?)));
        match numbered {
            Some((began, nth)) => (Self(format!("{head}/{began}").into()), nth),
            None => (self.clone(), 1),
        }
    }
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The keys of this step of time and of the one before, so that no two incidents share one.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// How many incidents had this key.
    current: BTreeMap<AlertKey, u32>,
    previous: BTreeMap<AlertKey, u32>,
    /// When the current ones become the previous ones.
    until: Timestamp,
}

impl Keys {
    /// The key of an incident that is told first: as it is, or with a number behind it. No more than `most` are
    /// remembered of a step.
    pub(super) fn next(
        &mut self,
        key: &AlertKey,
        step: Duration,
        now: Timestamp,
        most: usize,
    ) -> AlertKey {
        if self.until <= now {
            self.previous = std::mem::take(&mut self.current);
            self.until = now.after(step.max(Duration::from_secs(1)));
        }
        let nth = self.used(key).saturating_add(1);
        if self.current.len() < most || self.current.contains_key(key) {
            self.current.insert(key.clone(), nth);
        }
        match nth {
            1 => key.clone(),
            _ => AlertKey(format!("{key}-{nth}").into()),
        }
    }

    /// Notes a key that an earlier run gave.
    pub(super) fn note(&mut self, key: &AlertKey) {
        let (key, nth) = key.numbered();
        let nth = nth.max(self.used(&key));
        self.current.insert(key, nth);
    }

    fn used(&self, key: &AlertKey) -> u32 {
        self.current.get(key).or_else(|| self.previous.get(key)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    const DOWN: Condition = Condition::State(State::Down);
    const MINUTE: Duration = Duration::from_secs(60);

    fn wall(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    fn next(keys: &mut Keys, second: u64) -> String {
        let now = Timestamp::from_start(Duration::from_secs(second));
        let began = UNIX_EPOCH + Duration::from_secs(second);
        let key = AlertKey::new("a", DOWN, began, MINUTE);
        keys.next(&key, MINUTE, now, 2).to_string()
    }

    #[test]
    fn a_key_is_the_same_for_clocks_that_differ_within_a_minute() {
        let key = |seconds| AlertKey::new("eu/billing", DOWN, wall(seconds), MINUTE);
        assert_eq!(key(120.0).as_str(), "eu/billing/down/120");
        assert_eq!(key(120.0), key(179.9));
        assert_ne!(key(120.0), key(119.9));
    }

    #[test]
    fn the_second_incident_of_a_minute_has_a_number() {
        let mut keys = Keys::default();
        assert_eq!(next(&mut keys, 30), "a/down/0");
        assert_eq!(next(&mut keys, 50), "a/down/0-2");
        // A step of the monitor's own is none of the wall's.
        assert_eq!(next(&mut keys, 59), "a/down/0-3");
        assert_eq!(next(&mut keys, 100), "a/down/60");
        assert_eq!(next(&mut keys, 110), "a/down/60-2");
        assert_eq!(next(&mut keys, 400), "a/down/360");
        assert!(keys.current.len() + keys.previous.len() <= 3, "{keys:?}");
    }

    #[test]
    fn what_an_earlier_run_gave_is_not_given_again() {
        let mut keys = Keys::default();
        for known in ["a/down/0-2", "a/down/0", "no key", "a/down/60-4294967295"] {
            keys.note(&AlertKey::known(known));
        }
        assert_eq!(next(&mut keys, 1), "a/down/0-3");
        // Nobody tells so often, but a file may say so.
        assert_eq!(next(&mut keys, 60), "a/down/60-4294967295");
    }
}
