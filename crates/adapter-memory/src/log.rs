//! The retained log: the last messages, by position and by time, and the intakes that are still reading it.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use sinew_core::{Message, Pattern, Position, Scope, Start, Subscription};

use crate::{error::MemoryError, held::Held, options::Bounds};

/// The last messages published under a name, at consecutive offsets from 1 on.
#[derive(Debug)]
pub(crate) struct Log {
    name: Arc<str>,
    bounds: Bounds,
    /// The offset of the next message.
    next: u64,
    bytes: usize,
    entries: VecDeque<Entry>,
    replays: BTreeMap<u64, Replay>,
}

#[derive(Debug)]
struct Entry {
    stored: SystemTime,
    held: Held,
}

/// What one intake wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) scope: Option<Scope>,
    pub(crate) patterns: Vec<Pattern>,
}

/// An intake on its way through the log.
#[derive(Debug)]
struct Replay {
    wanted: Wanted,
    /// The next offset to look at.
    cursor: u64,
    /// Wanted, and gone before it was read.
    lost: u64,
}

/// What a replay finds.
#[derive(Debug)]
pub(crate) enum Replayed {
    Message(Held),
    Lost(u64),
    /// Nothing in this stretch: look on.
    Further,
    /// The end of the log: what comes now comes by itself.
    End,
}

impl Wanted {
    pub(crate) fn of(subscription: &Subscription) -> Self {
        Self { scope: subscription.scope.clone(), patterns: subscription.patterns.clone() }
    }

    fn wants(&self, message: &Message) -> bool {
        message.address.scope() == self.scope.as_ref()
            && self.patterns.iter().any(|pattern| pattern.matches_address(&message.address))
    }
}

impl Log {
    /// An empty log. `life` counts the broker's: what it forgot has positions in another log.
    pub(crate) fn new(bounds: Bounds, life: u64) -> Self {
        Self {
            name: format!("memory-{life}").into(),
            bounds,
            next: 1,
            bytes: 0,
            entries: VecDeque::new(),
            replays: BTreeMap::new(),
        }
    }

    /// The position of the last message; offset 0 where there was none.
    pub(crate) fn end(&self) -> Position {
        Position::new(Arc::clone(&self.name), self.next - 1)
    }

    /// Keeps a copy of `held`, which is told its position.
    pub(crate) fn append(&mut self, held: &mut Held) -> Position {
        while !self.bounds.fit(self.entries.len(), self.bytes, held.len()) {
            self.evict();
        }
        // A clock that was set back must not break the search by time.
        let stored = SystemTime::now();
        let stored = self.entries.back().map_or(stored, |last| stored.max(last.stored));
        let position = Position::new(Arc::clone(&self.name), self.next).with_stored_at(stored);
        held.store_at(position.clone());
        self.bytes += held.len();
        self.next += 1;
        self.entries.push_back(Entry { stored, held: held.clone() });
        position
    }

    fn evict(&mut self) {
        let offset = self.first();
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= entry.held.len();
        for replay in self.replays.values_mut().filter(|replay| replay.cursor <= offset) {
            replay.cursor = offset + 1;
            replay.lost += u64::from(replay.wanted.wants(entry.held.message()));
        }
    }

    /// The offset of the oldest message kept.
    fn first(&self) -> u64 {
        self.next - u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    fn entry(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset.checked_sub(self.first())?).ok()?)
    }

    /// The offset that `start` means to who wants `wanted`, and how many positions from there on are gone.
    fn locate(&self, start: &Start, wanted: &Wanted) -> Result<(u64, u64), MemoryError> {
        let first = self.first();
        let offset = match start {
            Start::Earliest => first,
            Start::Latest => (first..self.next)
                .rev()
                .find(|offset| {
                    self.entry(*offset).is_some_and(|entry| wanted.wants(entry.held.message()))
                })
                .unwrap_or(self.next),
            Start::Time(time) => {
                let older = self.entries.partition_point(|entry| entry.stored < *time);
                first + u64::try_from(older).unwrap_or(0)
            }
            Start::At(position) => self.known(position, position.offset)?,
            Start::After(position) => self.known(position, position.offset.saturating_add(1))?,
            _ => self.next,
        };
        Ok((offset.max(first), first.saturating_sub(offset.max(1))))
    }

    fn known(&self, position: &Position, offset: u64) -> Result<u64, MemoryError> {
        if position.log == self.name && offset <= self.next {
            return Ok(offset);
        }
        Err(MemoryError::NoPosition {
            end: Box::new(self.end()),
            wanted: Box::new(position.clone()),
        })
    }

    /// Copies what `wanted` names, from `start` on.
    pub(crate) fn copy(&self, start: &Start, wanted: &Wanted) -> Result<Vec<Held>, MemoryError> {
        let (from, _) = self.locate(start, wanted)?;
        Ok((from..self.next)
            .filter_map(|offset| Some(&self.entry(offset)?.held))
            .filter(|held| wanted.wants(held.message()) && !held.is_expired())
            .cloned()
            .collect())
    }

    /// Starts a replay for the intake `id`.
    pub(crate) fn start(
        &mut self,
        id: u64,
        start: &Start,
        wanted: Wanted,
    ) -> Result<(), MemoryError> {
        let (cursor, lost) = self.locate(start, &wanted)?;
        self.replays.insert(id, Replay { wanted, cursor, lost });
        Ok(())
    }

    /// The next event of the replay of `id`, if there is one; `End` ends it.
    pub(crate) fn replay(&mut self, id: u64) -> Option<Replayed> {
        let first = self.first();
        let replay = self.replays.get_mut(&id)?;
        if replay.lost > 0 {
            return Some(Replayed::Lost(std::mem::take(&mut replay.lost)));
        }
        let from = usize::try_from(replay.cursor.saturating_sub(first)).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(from).take(STRETCH) {
            replay.cursor += 1;
            if replay.wanted.wants(entry.held.message()) && !entry.held.is_expired() {
                return Some(Replayed::Message(entry.held.clone()));
            }
        }
        if replay.cursor < self.next {
            return Some(Replayed::Further);
        }
        self.replays.remove(&id);
        Some(Replayed::End)
    }

    /// The intakes that are still reading.
    pub(crate) fn replays(&self) -> Vec<u64> {
        self.replays.keys().copied().collect()
    }

    pub(crate) fn stop(&mut self, id: u64) {
        self.replays.remove(&id);
    }
}

/// How many messages one look at the log goes over, with the broker's lock held.
const STRETCH: usize = 256;
