//! Whom a monitor knows: by name, and by a number that stays as long as it is known.
use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    ops::Bound,
    sync::OnceLock,
};

use super::{deadlines::Armed, flaps::Findings, index::Index};
use crate::{Process, State, Timestamp, time::Span};

/// One process, without what only a look or a transition needs: a beat reads and writes one line of the cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) process: Process,
    pub(super) state: State,
    /// What it said last, or `Expected`: what it is once it is no longer paused.
    pub(super) said: State,
    pub(super) last_seen: Option<Timestamp>,
    /// Since when the promise runs; of the monitor's waking time.
    pub(super) basis: Timestamp,
    /// What it promised; while expected, how long the monitor learns.
    pub(super) promise: Span,
    pub(super) armed: Armed,
    /// How many beats in a row it sent since it was down.
    pub(super) recovered: u32,
    pub(super) findings: Findings,
    /// By whom it is judged.
    pub(super) rule: u16,
    /// Never forgotten; [`Roster::declare`] changes it.
    pub(super) is_declared: bool,
}

const _: () = assert!(size_of::<Option<Entry>>() == 64, "a second line would be a second wait");

/// The table holds numbers alone: a look at a name is one at the table, one at the entry, one at its name.
#[derive(Debug, Default)]
pub(super) struct Roster {
    ids: Index,
    /// With keys of its own, as names come from peers.
    hasher: RandomState,
    /// By id.
    entries: Vec<Option<Entry>>,
    /// Since when each is in its state; by id.
    since: Vec<Timestamp>,
    /// Ids that nobody has.
    free: Vec<u32>,
    /// In the order of their names, once somebody has asked for that.
    names: OnceLock<BTreeMap<Process, u32>>,
    /// How many are declared.
    declared: usize,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many are there whom nobody declared.
    pub(super) fn uninvited(&self) -> usize {
        self.len().saturating_sub(self.declared)
    }

    /// Declares one, or takes that back.
    pub(super) fn declare(&mut self, id: u32, is_declared: bool) {
        let entry = self.entries.get_mut(id as usize).and_then(Option::as_mut);
        if let Some(entry) = entry.filter(|it| it.is_declared != is_declared) {
            entry.is_declared = is_declared;
            self.declared =
                if is_declared { self.declared + 1 } else { self.declared.saturating_sub(1) };
        }
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        let is_called = |id| self.get(id).is_some_and(|it| it.process.as_str() == name);
        self.ids.find(self.hasher.hash_one(name), is_called)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    /// Since when it is in its state.
    pub(super) fn since(&self, id: u32) -> Timestamp {
        self.since.get(id as usize).copied().unwrap_or_default()
    }

    /// Puts it into a state.
    pub(super) fn put(&mut self, id: u32, state: State, since: Timestamp) -> Option<&mut Entry> {
        *self.since.get_mut(id as usize)? = since;
        let entry = self.entries.get_mut(id as usize)?.as_mut()?;
        entry.state = state;
        Some(entry)
    }

    /// In the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let entries = (0_u32..).zip(&self.entries);
        entries.filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
    }

    /// Those whose names begin with `prefix`, in the order of their names. The first call goes through all of them.
    pub(super) fn under(&self, prefix: &str) -> impl Iterator<Item = (u32, &Entry)> {
        let named = || self.iter().map(|(id, entry)| (entry.process.clone(), id)).collect();
        let names = self.names.get_or_init(named);
        names
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.as_str().starts_with(prefix))
            .filter_map(|(_, &id)| Some((id, self.get(id)?)))
    }

    /// All ids, those that nobody has among them.
    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Who is looked at, and when.
    pub(super) fn armed(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        let entries = self.entries.iter().zip(0_u32..);
        entries.filter_map(|(entry, id)| Some((entry.as_ref()?.armed?, id)))
    }

    /// Takes in one who is not known; none when there are as many as numbers.
    pub(super) fn insert(&mut self, entry: Entry, since: Timestamp) -> Option<u32> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.entries.len()).ok().filter(|id| *id < u32::MAX)?;
                self.entries.push(None);
                self.since.push(since);
                id
            }
        };
        let hash = self.hasher.hash_one(entry.process.as_str());
        self.declared += usize::from(entry.is_declared);
        if let Some(names) = self.names.get_mut() {
            names.insert(entry.process.clone(), id);
        }
        *self.since.get_mut(id as usize)? = since;
        *self.entries.get_mut(id as usize)? = Some(entry);
        self.ids.insert(hash, id);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(id as usize)?.take()?;
        let hash = self.hasher.hash_one(entry.process.as_str());
        self.ids.remove(hash, id);
        if let Some(names) = self.names.get_mut() {
            names.remove(&entry.process);
        }
        self.declared -= usize::from(entry.is_declared);
        self.free.push(id);
        Some(entry)
    }
}
