//! What a monitor knew, kept over its restart.
mod file;
mod format;

use std::time::{Duration, SystemTime};

use crate::{InstancePair, Process, State};

/// What a monitor knew at one moment, in times of the wall: it outlives the process that took it.
///
/// A monitor that starts with one ([`WatchOptions::with_snapshot`](crate::WatchOptions::with_snapshot)) goes on where the
/// other ended, and calls nobody down for what it missed: whoever was alive has one fresh promise.
///
/// [`Snapshot::encode`] gives bytes that [`Snapshot::decode`] takes back, with a version and a checksum;
/// [`Snapshot::save`] and [`Snapshot::load`] keep them in a file that is whole at any moment, whatever ends the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    pub(crate) taken: SystemTime,
    pub(crate) processes: Vec<Saved>,
    attached: Vec<u8>,
}

/// One process in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Saved {
    pub(crate) process: Process,
    pub(crate) state: State,
    pub(crate) said: State,
    pub(crate) since: SystemTime,
    pub(crate) last_seen: Option<SystemTime>,
    pub(crate) promise: Duration,
    pub(crate) recovered: u32,
    pub(crate) is_declared: bool,
    pub(crate) is_flapping: bool,
    /// What was found last, and which of what was found before differed from what came before it.
    pub(crate) found: Option<State>,
    pub(crate) changes: u32,
    /// Two instances that beat under its name at once.
    pub(crate) conflict: Option<InstancePair>,
}

impl Snapshot {
    pub(crate) fn new(taken: SystemTime, processes: Vec<Saved>) -> Self {
        Self { taken, processes, attached: Vec::new() }
    }

    /// Keeps these bytes with it, which its owner makes and reads: what is true of the same moment. Default: none.
    #[must_use]
    pub fn with_attached(mut self, bytes: Vec<u8>) -> Self {
        self.attached = bytes;
        self
    }

    /// The bytes that were kept with it.
    #[must_use]
    pub fn attached(&self) -> &[u8] {
        &self.attached
    }

    /// When it was taken.
    #[must_use]
    pub fn taken(&self) -> SystemTime {
        self.taken
    }

    /// How many processes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// The earliest moment that it speaks of.
    pub(crate) fn earliest(&self) -> SystemTime {
        let moments = self.processes.iter().flat_map(|it| [Some(it.since), it.last_seen]);
        moments.flatten().fold(self.taken, SystemTime::min)
    }
}

#[cfg(test)]
mod tests;
