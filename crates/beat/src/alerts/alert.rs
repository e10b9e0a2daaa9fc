//! What is told: one alert, and the notification that carries it.
use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use super::AlertKey;
use crate::{InstancePair, Process, Reason, State, Timestamp};

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
    /// Two instances beat under one name.
    Conflict,
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
            Self::Conflict => "conflict",
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
    /// Which two there are, or were, of a [`Condition::Conflict`].
    pub instances: Option<InstancePair>,
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
        let (was, lasted) = (phrase(self.condition), Lasted(self.lasted()));
        match self.kind {
            AlertKind::Firing | AlertKind::Changed => write!(f, " is {was}")?,
            AlertKind::Renotify => write!(f, " is still {was}, for {lasted}")?,
            AlertKind::Notice => return write!(f, " was {was} for {lasted}"),
            AlertKind::Resolved => match (self.condition, self.state) {
                (Condition::State(_), Some(State::Up)) => f.write_str(" is up again")?,
                (Condition::State(_), Some(state)) => write!(f, " is {state}")?,
                _ => write!(f, " is no longer {was}")?,
            },
        }
        if let Some(reason) = self.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(InstancePair { one, other, .. }) = &self.instances {
            write!(f, ": {one} and {other}")?;
        }
        if self.kind == AlertKind::Resolved {
            write!(f, ", was {was} for {lasted}")?;
        }
        Ok(())
    }
}

/// What is wrong, behind "is".
const fn phrase(condition: Condition) -> &'static str {
    match condition {
        Condition::Conflict => "two at once",
        other => other.as_str(),
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
    fn an_alert_reads_as_a_sentence() {
        let mut alert = Alert {
            key: AlertKey::known("billing/down/0"),
            kind: AlertKind::Firing,
            process: Some(Process::parse("billing").unwrap()),
            condition: Condition::State(State::Down),
            state: Some(State::Down),
            previous: Some(State::Late),
            reason: Some(Reason::Silent),
            instances: None,
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
        let name = |text| crate::Instance::parse(text).unwrap();
        alert.instances = Some(InstancePair { one: name("pod-1"), other: name("pod-2") });
        (alert.condition, alert.kind) = (Condition::Conflict, AlertKind::Firing);
        assert_eq!(alert.to_string(), "billing is two at once: pod-1 and pod-2");
        (alert.kind, alert.at) = (AlertKind::Resolved, at(70));
        assert_eq!(
            alert.to_string(),
            "billing is no longer two at once: pod-1 and pod-2, was two at once for 1m0s"
        );
        (alert.process, alert.kind, alert.instances) = (None, AlertKind::Notice, None);
        (alert.condition, alert.at) = (Condition::Stalled, at(10 + 90_000));
        assert_eq!(alert.to_string(), "the monitor was stalled for 1d1h");
        alert.process = Some(Process::parse("a\u{202e}b\u{200b} Zoë's").unwrap());
        assert_eq!(alert.to_string(), "a\\u{202e}b\\u{200b} Zoë's was stalled for 1d1h");
    }
}
