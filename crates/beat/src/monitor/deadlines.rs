//! Which process may be due next: a heap that a beat hardly ever touches.
use std::{cmp::Reverse, collections::BinaryHeap};

use crate::Timestamp;

/// The earliest instants at which processes may be due.
///
/// A beat moves its process's deadline later, nearly always. So the heap holds one instant per process that is at
/// or before its deadline, and is corrected only when that instant comes: a process costs one heap operation per
/// promise, not one per beat. An instant that was too late, because a deadline moved earlier, stays behind as a
/// stale entry; they are swept out once they outnumber the others.
///
/// Which of its instants counts, a process knows itself, beside what else is looked at when it is heard of.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Timestamp, u32)>>);

/// The instant at which a process is looked at.
pub(super) type Armed = Option<Timestamp>;

impl Deadlines {
    /// Sees to it that process `id` is looked at by `at`.
    pub(super) fn arm(&mut self, armed: &mut Armed, id: u32, at: Timestamp) {
        if armed.is_none_or(|armed| armed > at) {
            *armed = Some(at);
            self.0.push(Reverse((at, id)));
        }
    }

    /// Whether stale instants outnumber those of so many processes.
    pub(super) fn is_crowded(&self, processes: usize) -> bool {
        self.0.len() > 2 * processes + 64
    }

    /// Keeps the instants that count.
    pub(super) fn sweep(&mut self, live: impl Iterator<Item = (Timestamp, u32)>) {
        self.0 = live.map(Reverse).collect();
    }

    /// No process is due before this instant.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the first instant at or before `now`: a process is to be looked at, if it is the one that counts.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(first)| first)
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
        let (mut deadlines, mut armed) = (Deadlines::default(), None);
        for second in 1..1000 {
            deadlines.arm(&mut armed, 0, at(second));
        }
        assert_eq!((deadlines.0.len(), armed), (1, Some(at(1))));
    }

    #[test]
    fn an_earlier_deadline_is_the_one_that_counts() {
        let (mut deadlines, mut armed) = (Deadlines::default(), None);
        deadlines.arm(&mut armed, 0, at(60));
        deadlines.arm(&mut armed, 0, at(5));
        assert_eq!((deadlines.pop(at(100)), armed), (Some((at(5), 0)), Some(at(5))));
    }

    #[test]
    fn what_does_not_count_is_swept_out() {
        let (mut deadlines, mut armed) = (Deadlines::default(), None);
        for second in (1..10_000).rev() {
            deadlines.arm(&mut armed, 0, at(second));
            if deadlines.is_crowded(1) {
                deadlines.sweep(armed.map(|at| (at, 0)).into_iter());
            }
        }
        assert!(deadlines.0.len() <= 67, "{}", deadlines.0.len());
        assert_eq!(deadlines.pop(at(1)), Some((at(1), 0)));
    }

    #[test]
    fn processes_come_in_the_order_of_their_deadlines() {
        let mut deadlines = Deadlines::default();
        for (id, second) in [(0, 3), (1, 1), (2, 2)] {
            deadlines.arm(&mut None, id, at(second));
        }
        let order: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(9))).map(|(_, id)| id).collect();
        assert_eq!((order, deadlines.next()), (vec![1, 2, 0], None));
    }
}
