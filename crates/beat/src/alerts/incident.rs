//! What is wrong, what of it was told, and the difference between the two.
use std::collections::{BTreeMap, VecDeque};

use sinew_core::Address;

use super::{Alert, AlertKey, AlertKind, Condition};
use crate::{InstancePair, Process, Reason, State, Timestamp};

/// What an incident is about; there is one at a time of each.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Id {
    Blind,
    State(Process),
    Flapping(Process),
    Conflict(Process),
}

impl Id {
    pub(super) const fn process(&self) -> Option<&Process> {
        match self {
            Self::Blind => None,
            Self::State(process) | Self::Flapping(process) | Self::Conflict(process) => {
                Some(process)
            }
        }
    }
}

/// What was seen last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What is wrong; none when nothing is.
    pub(super) condition: Option<Condition>,
    pub(super) state: Option<State>,
    pub(super) previous: Option<State>,
    pub(super) reason: Option<Reason>,
    pub(super) at: Timestamp,
}

impl Seen {
    /// Of something that has no state: the monitor's blindness, flapping, and a conflict.
    pub(super) const fn plain(condition: Option<Condition>, at: Timestamp) -> Self {
        Self { condition, state: None, previous: None, reason: None, at }
    }
}

/// It lives until what was told of it is that it is over, or until it is over and nothing was told. So a process that
/// goes down again before anyone could be told that it was back is in the same incident still.
#[derive(Debug)]
pub(super) struct Incident {
    pub(super) key: AlertKey,
    pub(super) since: Timestamp,
    pub(super) seen: Seen,
    /// What the receiver takes it for.
    pub(super) told: Option<Condition>,
    /// When it is told again.
    pub(super) renotify_at: Option<Timestamp>,
    /// Whether it waits with its group.
    pub(super) waits: bool,
    /// Of a conflict.
    pub(super) instances: Option<InstancePair>,
    /// For patterns to match.
    pub(super) address: Address,
}

impl Incident {
    pub(super) const fn is_over(&self) -> bool {
        self.seen.condition.is_none() && self.told.is_none()
    }

    /// What there is to tell, and the condition that it is about.
    pub(super) fn news(&self) -> Option<(AlertKind, Condition)> {
        match (self.seen.condition, self.told) {
            (Some(seen), None) => Some((AlertKind::Firing, seen)),
            (Some(seen), Some(told)) if seen != told => Some((AlertKind::Changed, seen)),
            (None, Some(told)) => Some((AlertKind::Resolved, told)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    pub(super) fn alert(&self, id: &Id, kind: AlertKind, condition: Condition) -> Alert {
        Alert {
            key: self.key.clone(),
            kind,
            process: id.process().cloned(),
            condition,
            state: self.seen.state,
            previous: self.seen.previous,
            reason: self.seen.reason,
            instances: self.instances.clone(),
            since: self.since,
            at: self.seen.at,
        }
    }
}

/// What alerts have in common: the first tokens of their names, if any; the monitor's own have `None`.
pub(super) type Group = Option<Box<str>>;

/// The incidents that wait for more of their group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: BTreeMap<Group, Vec<Id>>,
    /// In order, as all wait equally long.
    due: VecDeque<(Timestamp, Group)>,
}

impl Groups {
    pub(super) fn add(&mut self, group: Group, id: Id, due: Timestamp) {
        let waiting = self.waiting.entry(group.clone()).or_default();
        if waiting.is_empty() {
            self.due.push_back((due, group));
        }
        waiting.push(id);
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.front().map(|(due, _)| *due)
    }

    /// All that waits, and until when, what is due first first.
    pub(super) fn into_waiting(mut self) -> Vec<(Timestamp, Id)> {
        let mut waiting = Vec::new();
        for (due, group) in std::mem::take(&mut self.due) {
            let ids = self.waiting.remove(&group).unwrap_or_default();
            waiting.extend(ids.into_iter().map(|id| (due, id)));
        }
        waiting
    }

    /// Takes out a group that has waited long enough by `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Vec<Id>> {
        self.next().filter(|due| *due <= now)?;
        let (_, group) = self.due.pop_front()?;
        self.waiting.remove(&group)
    }
}
