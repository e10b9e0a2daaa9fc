//! What is told: one alert, and the notification that carries it.
use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{Process, Reason, State, Timestamp};

/// What names an incident to whoever receives its alerts: `billing/down/1767225600`.
///
/// That is the name, what was wrong first, and when that began: seconds since 1970 UTC, rounded down to
/// [`AlertOptions::with_key_granularity`](super::AlertOptions::with_key_granularity). A name may hold slashes, what
/// stands behind it does not. Every alert of an incident carries the key with which it began: what escalates it,
/// what repeats it, and what ends it.
///
/// Monitors that watch the same fleet give one incident the same key without speaking to each other, and a receiver
/// that knows keys tells it once. They share the name, the state and, as all heard the same last beat, the deadline
/// that passed, but for the network's delay and the difference of their clocks. Rounding hides these unless the edge
/// of a minute falls between: some 1 of 600 incidents with clocks 0.1 s apart. The same goes for a monitor that was
/// blind or began meanwhile, as its deadlines are its own, and for one with other options: its key differs, and the
/// incident is told twice rather than not at all. What a monitor tells of itself bears its own name, and is shared
/// with none.
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
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Condition {
    /// The monitor's link is down: it hears nothing, and tells nothing else.
    Blind,
    /// The monitor stood still, and goes on.
    Stalled,
    /// A process goes back and forth.
    Flapping,
    /// A process is in a state that is told.
    State(State),
}

impl Condition {
    /// It in lower case, as keys and texts show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Stalled => "stalled",
            Self::Flapping => "flapping",
            Self::State(state) => state.as_str(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an alert says about its incident.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum AlertKind {
    /// It is there: told once, first.
    Firing,
    /// It is another condition than the one that was told: late, and now down.
    Changed,
    /// It is still there.
    Renotify,
    /// It is over: told once, last.
    Resolved,
    /// It happened, and was over when it was noticed: nothing resolves it.
    Notice,
}

impl AlertKind {
    /// The kind in lower case, as texts and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Changed => "changed",
            Self::Renotify => "renotify",
            Self::Resolved => "resolved",
            Self::Notice => "notice",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing worth telling a person.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// Which incident it belongs to.
    pub key: AlertKey,
    /// What it says about the incident.
    pub kind: AlertKind,
    /// Which process; none when it is about the monitor itself.
    pub process: Option<Process>,
    /// What is wrong; of [`AlertKind::Resolved`] what was wrong.
    pub condition: Condition,
    /// What the process is now; none when it is known no more, and for the monitor itself.
    pub state: Option<State>,
    /// What it was before that, as far as is known.
    pub previous: Option<State>,
    /// Why it is what it is.
    pub reason: Option<Reason>,
    /// When the incident began; of a [`Condition::Stalled`] when the monitor stopped.
    pub since: Timestamp,
    /// When that began which the alert tells: its condition, or the end of it; of [`AlertKind::Renotify`] when it is
    /// told.
    pub at: Timestamp,
}

impl Alert {
    /// How long the incident has lasted by [`Alert::at`].
    #[must_use]
    pub const fn lasted(&self) -> Duration {
        self.at.since(self.since)
    }
}

impl fmt::Display for Alert {
    /// A line for a person: `billing is down: silent`, `billing is up again: beat, was down for 2m5s`. What a name holds
    /// that is not seen, or turns what follows, is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(process) => visible(f, process.as_str())?,
            None => f.write_str("the monitor")?,
        }
        let (was, lasted) = (self.condition, Lasted(self.lasted()));
        match self.kind {
            AlertKind::Firing | AlertKind::Changed => write!(f, " is {was}")?,
            AlertKind::Renotify => write!(f, " is still {was}, for {lasted}")?,
            AlertKind::Notice => return write!(f, " was {was} for {lasted}"),
            AlertKind::Resolved => match (was, self.state) {
                (Condition::State(_), Some(State::Up)) => f.write_str(" is up again")?,
                (Condition::State(_), Some(state)) => write!(f, " is {state}")?,
                _ => write!(f, " is no longer {was}")?,
            },
        }
        if let Some(reason) = self.reason {
            write!(f, ": {reason}")?;
        }
        if self.kind == AlertKind::Resolved {
            write!(f, ", was {was} for {lasted}")?;
        }
        Ok(())
    }
}

/// Shows what does not print, and what makes the text read as another: names come off the wire.
fn visible(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    name.chars().try_for_each(|c| match c {
        '\'' | '"' | '\\' => f.write_char(c),
        c => write!(f, "{}", c.escape_debug()),
    })
}

/// A time as people read it, to the second: `45s`, `2m5s`, `3h0m`, `2d4h`.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m{}s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{}h{}m", seconds / 3600, seconds % 3600 / 60),
            _ => write!(f, "{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
        }
    }
}

/// What is sent at once: the alerts of one group.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Notification {
    /// What the alerts have in common: the first tokens of their names, as
    /// [`AlertOptions::with_grouping`](super::AlertOptions::with_grouping) says; none for all, and for the monitor itself.
    pub group: Option<Box<str>>,
    /// The alerts, at least one and no more than
    /// [`AlertOptions::with_max_alerts`](super::AlertOptions::with_max_alerts) has: what began first, then what is over; by
    /// name within that. An output that joins what waited keeps the order in which it came.
    pub alerts: Vec<Alert>,
    /// How many there may be: outputs join what waits.
    pub(crate) max_alerts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_key_is_the_same_for_clocks_that_differ_within_a_minute() {
        let minute = Duration::from_secs(60);
        let key = |seconds: f64| {
            let began = UNIX_EPOCH + Duration::from_secs_f64(seconds);
            AlertKey::new("eu/billing", Condition::State(State::Down), began, minute)
        };
        assert_eq!(key(120.0).as_str(), "eu/billing/down/120");
        assert_eq!(key(120.0), key(179.9));
        assert_ne!(key(120.0), key(119.9));
    }

    #[test]
    fn an_alert_reads_as_a_sentence() {
        let mut alert = Alert {
            key: AlertKey("billing/down/0".into()),
            kind: AlertKind::Firing,
            process: Some(Process::parse("billing").unwrap()),
            condition: Condition::State(State::Down),
            state: Some(State::Down),
            previous: Some(State::Late),
            reason: Some(Reason::Silent),
            since: at(10),
            at: at(10),
        };
        assert_eq!(alert.to_string(), "billing is down: silent");
        (alert.kind, alert.at) = (AlertKind::Renotify, at(55));
        assert_eq!(alert.to_string(), "billing is still down, for 45s: silent");
        (alert.kind, alert.at) = (AlertKind::Resolved, at(135));
        (alert.state, alert.reason) = (Some(State::Up), Some(Reason::Beat));
        assert_eq!(alert.to_string(), "billing is up again: beat, was down for 2m5s");
        (alert.condition, alert.at) = (Condition::Flapping, at(10 + 3 * 3600));
        (alert.state, alert.reason) = (None, None);
        assert_eq!(alert.to_string(), "billing is no longer flapping, was flapping for 3h0m");
        (alert.process, alert.kind) = (None, AlertKind::Notice);
        (alert.condition, alert.at) = (Condition::Stalled, at(10 + 90_000));
        assert_eq!(alert.to_string(), "the monitor was stalled for 1d1h");
        alert.process = Some(Process::parse("a\u{202e}b\u{200b} Zoë's").unwrap());
        assert_eq!(alert.to_string(), "a\\u{202e}b\\u{200b} Zoë's was stalled for 1d1h");
    }
}
