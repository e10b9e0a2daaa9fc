//! Whom a monitor knows: by name, and by a number that stays as long as it is known.
use std::{collections::HashMap, time::Duration};

use super::flaps::Findings;
use crate::{Process, State, Timestamp};

/// One process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) process: Process,
    pub(super) state: State,
    /// What it said last, or `Expected`: what it is once it is no longer paused.
    pub(super) said: State,
    pub(super) since: Timestamp,
    pub(super) last_seen: Option<Timestamp>,
    /// Since when the promise runs; of the monitor's waking time.
    pub(super) basis: Timestamp,
    /// What it promised; while expected, how long the monitor learns.
    pub(super) promise: Duration,
    /// How many beats in a row it sent since it was down.
    pub(super) recovered: u32,
    pub(super) findings: Findings,
    /// By whom it is judged.
    pub(super) rule: u16,
    /// Never forgotten.
    pub(super) is_declared: bool,
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    ids: HashMap<Process, u32>,
    /// By id.
    entries: Vec<Option<Entry>>,
    /// Ids that nobody has.
    free: Vec<u32>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    /// In the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// Takes in one who is not known; none when there are as many as numbers.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<u32> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.entries.len()).ok()?;
                self.entries.push(None);
                id
            }
        };
        self.ids.insert(entry.process.clone(), id);
        *self.entries.get_mut(id as usize)? = Some(entry);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(id as usize)?.take()?;
        self.ids.remove(entry.process.as_str());
        self.free.push(id);
        Some(entry)
    }
}
