//! Which process may be due next: a heap that a beat hardly ever touches.
use std::{cmp::Reverse, collections::BinaryHeap};

use crate::Timestamp;

/// The earliest instants at which processes may be due.
///
/// A beat moves its process's deadline later, nearly always. So the heap holds one instant per process that is at
/// or before its deadline, and is corrected only when that instant comes: a process costs one heap operation per
/// promise, not one per beat. An instant that was too late, because a deadline moved earlier, stays behind as a
/// stale entry; they are swept out once they outnumber the others.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// Of each process the entry that counts, by id.
    armed: Vec<Option<Timestamp>>,
}

impl Deadlines {
    /// Sees to it that process `id` is looked at by `at`.
    pub(super) fn arm(&mut self, id: u32, at: Timestamp) {
        let index = id as usize;
        if index >= self.armed.len() {
            self.armed.resize(index + 1, None);
        }
        let Some(slot) = self.armed.get_mut(index) else { return };
        if slot.is_some_and(|armed| armed <= at) {
            return;
        }
        *slot = Some(at);
        self.heap.push(Reverse((at, id)));
        if self.heap.len() > 2 * self.armed.len() + 64 {
            self.sweep();
        }
    }

    /// Process `id` is not to be looked at any more.
    pub(super) fn disarm(&mut self, id: u32) {
        if let Some(slot) = self.armed.get_mut(id as usize) {
            *slot = None;
        }
    }

    /// No process is due before this instant.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one process that may be due at or before `now`, with the instant at which it was to be looked at.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        while self.next()? <= now {
            let Reverse((at, id)) = self.heap.pop()?;
            if let Some(slot) = self.armed.get_mut(id as usize)
                && *slot == Some(at)
            {
                *slot = None;
                return Some((at, id));
            }
        }
        None
    }

    fn sweep(&mut self) {
        let ids = 0_u32..;
        let live = self.armed.iter().zip(ids).filter_map(|(at, id)| Some(Reverse(((*at)?, id))));
        self.heap = live.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_later_deadline_costs_no_entry() {
        let mut deadlines = Deadlines::default();
        for second in 1..1000 {
            deadlines.arm(0, at(second));
        }
        assert_eq!(deadlines.heap.len(), 1);
        assert_eq!(deadlines.pop(at(1)), Some((at(1), 0)));
        assert_eq!(deadlines.pop(at(1000)), None);
    }

    #[test]
    fn an_earlier_deadline_counts_once() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(0, at(60));
        deadlines.arm(0, at(5));
        assert_eq!(deadlines.pop(at(100)), Some((at(5), 0)));
        assert_eq!(deadlines.pop(at(100)), None);
    }

    #[test]
    fn stale_entries_are_bounded() {
        let mut deadlines = Deadlines::default();
        for second in (1..10_000).rev() {
            deadlines.arm(0, at(second));
        }
        assert!(deadlines.heap.len() <= 66, "{}", deadlines.heap.len());
        assert_eq!(deadlines.pop(at(1)), Some((at(1), 0)));
        assert_eq!(deadlines.pop(at(10_000)), None);
    }

    #[test]
    fn processes_come_in_the_order_of_their_deadlines() {
        let mut deadlines = Deadlines::default();
        for (id, second) in [(0, 3), (1, 1), (2, 2)] {
            deadlines.arm(id, at(second));
        }
        let order: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(9))).map(|(_, id)| id).collect();
        assert_eq!(order, [1, 2, 0]);
    }
}
