//! Which instances of a process are heard: two at once under one name take turns.
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use super::patience::Patience;
use crate::{Instance, InstancePair, Timestamp, instance::Origin, time::Span};

/// How many processes are looked into at once. Further ones have to wait until others are cleared.
const MAX_SUSPECTS: usize = 1024;

/// How many instances of one process are told apart at once.
const MAX_SEEN: usize = 4;

/// A number that leaps by more is no sign of a loss.
const MAX_LEAP: u64 = 1_000_000;

/// Who spoke last for each process, and for the few where that changed lately who else did.
///
/// A process whose beats do not say which instance they are from costs nothing, any other one 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Instances {
    /// With keys of its own, as instances come from peers.
    hasher: RandomState,
    /// By the number of the process.
    last: Vec<Last>,
    suspects: HashMap<u32, Suspect>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Of its instance; 0 for none.
    hash: u64,
    sequence: u64,
}

const _: () = assert!(size_of::<Last>() == 16, "it is there for every process");

/// A process that spoke by several instances.
#[derive(Debug)]
struct Suspect {
    /// Those that may still be there, who spoke last at the end.
    seen: Vec<Seen>,
    told: Option<InstancePair>,
}

#[derive(Debug)]
struct Seen {
    hash: u64,
    /// Not known of one that was heard before anything was wrong.
    instance: Option<Instance>,
    spoke: Spoke,
}

/// When an instance spoke, in waking time, and what it promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoke {
    pub(super) at: Timestamp,
    /// None if it said that it ends, or nothing.
    pub(super) promise: Option<Span>,
}

impl Spoke {
    /// Whether nobody may call it down yet at `now`; promises run from `fresh` at the earliest.
    pub(super) fn holds(&self, patience: &Patience, fresh: Timestamp, now: Timestamp) -> bool {
        let down_at = |promise| patience.down_at(self.at.max(fresh), promise);
        self.promise.is_some_and(|promise| down_at(promise) > now)
    }
}

/// What follows from a message of an instance.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    /// Messages of it that did not come.
    pub(super) missed: u64,
    pub(super) change: Option<Change>,
}

/// Whether two instances are there at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Change {
    Began(InstancePair),
    Ended(InstancePair),
}

impl Instances {
    /// Hears a message of process `id`, which spoke `before`; `holds` tells whether who spoke so may still be there.
    pub(super) fn hear(
        &mut self,
        id: u32,
        origin: Origin<'_>,
        spoke: Spoke,
        before: Spoke,
        holds: impl Fn(&Spoke) -> bool,
    ) -> Found {
        let hash = self.hasher.hash_one(origin.as_str()).max(1);
        let index = id as usize;
        if self.last.len() <= index {
            self.last.resize(index + 1, Last::default());
        }
        let Some(last) = self.last.get_mut(index) else { return Found::default() };
        let (former, is_same) = (*last, last.hash == hash);
        // What another one said at its end says nothing of who is there.
        if is_same || spoke.promise.is_some() {
            *last = Last { hash, sequence: origin.sequence };
        }
        let leap = origin.sequence.saturating_sub(former.sequence.saturating_add(1));
        let is_numbered = is_same && former.sequence > 0 && leap <= MAX_LEAP;
        let missed = if is_numbered { leap } else { 0 };
        if self.suspects.is_empty() && is_same {
            return Found { missed, change: None };
        }
        let change = match self.suspects.get_mut(&id) {
            Some(suspect) => {
                let change = suspect.hear(hash, origin, spoke, &holds);
                if suspect.seen.len() < 2 {
                    self.suspects.remove(&id);
                }
                change
            }
            None => {
                let is_other = former.hash != 0 && !is_same;
                if is_other && spoke.promise.is_some() && holds(&before) {
                    self.suspect(id, (former.hash, before), (hash, origin, spoke), holds);
                }
                None
            }
        };
        Found { missed, change }
    }

    fn suspect(
        &mut self,
        id: u32,
        (former, before): (u64, Spoke),
        (hash, origin, spoke): (u64, Origin<'_>, Spoke),
        holds: impl Fn(&Spoke) -> bool,
    ) {
        if self.suspects.len() >= MAX_SUSPECTS {
            self.suspects
                .retain(|_, it| it.told.is_some() || it.seen.iter().all(|it| holds(&it.spoke)));
        }
        if self.suspects.len() < MAX_SUSPECTS {
            let seen = vec![
                Seen { hash: former, instance: None, spoke: before },
                Seen { hash, instance: Some(origin.instance()), spoke },
            ];
            self.suspects.insert(id, Suspect { seen, told: None });
        }
    }

    /// Goes on with a conflict that an earlier monitor told of: both may still be there.
    pub(super) fn restore(&mut self, id: u32, pair: &InstancePair, spoke: Spoke) {
        if self.suspects.len() < MAX_SUSPECTS {
            let seen = [&pair.one, &pair.other].map(|it| Seen {
                hash: self.hasher.hash_one(it.as_str()).max(1),
                instance: Some(it.clone()),
                spoke,
            });
            self.suspects.insert(id, Suspect { seen: seen.into(), told: Some(pair.clone()) });
        }
    }

    /// The two that were told to be there at once.
    pub(super) fn conflict(&self, id: u32) -> Option<&InstancePair> {
        self.suspects.get(&id)?.told.as_ref()
    }

    #[cfg(test)]
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// No instance of the process is there any more; the conflict that ends so.
    pub(super) fn clear(&mut self, id: u32) -> Option<InstancePair> {
        self.suspects.remove(&id)?.told
    }

    /// The process is known no more, and its number will be another's.
    pub(super) fn forget(&mut self, id: u32) -> Option<InstancePair> {
        if let Some(last) = self.last.get_mut(id as usize) {
            *last = Last::default();
        }
        self.clear(id)
    }
}

impl Suspect {
    fn hear(
        &mut self,
        hash: u64,
        origin: Origin<'_>,
        spoke: Spoke,
        holds: impl Fn(&Spoke) -> bool,
    ) -> Option<Change> {
        self.seen.retain(|it| it.hash == hash || holds(&it.spoke));
        let place = self.seen.iter().position(|it| it.hash == hash);
        let instance = place.and_then(|place| self.seen.remove(place).instance);
        let last = self.seen.last().and_then(|it| it.instance.clone());
        if spoke.promise.is_some() && self.seen.len() < MAX_SEEN {
            let instance = instance.unwrap_or_else(|| origin.instance());
            self.seen.push(Seen { hash, instance: Some(instance.clone()), spoke });
            // Somebody spoke since it did, and may still be there.
            let has_returned = place.is_some_and(|place| place < self.seen.len() - 1);
            if let Some(last) = last.filter(|_| has_returned && self.told.is_none()) {
                self.told = Some(InstancePair { one: instance, other: last });
                return self.told.clone().map(Change::Began);
            }
        }
        if self.seen.len() < 2 { self.told.take().map(Change::Ended) } else { None }
    }
}
