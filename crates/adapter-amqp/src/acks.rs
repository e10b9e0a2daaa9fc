//! Which acknowledgements leave for the broker: as few as say the same.
use std::collections::{BTreeMap, BTreeSet};

/// One acknowledgement on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// It stands for every delivery up to this one that is not settled.
    pub(crate) multiple: bool,
}

/// The settled deliveries of one channel, whose tags count from 1.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Every delivery up to this one is settled, and the broker knows.
    known: u64,
    /// Settled beyond it, and the broker knows: runs, from their first to their last. There is an open delivery before
    /// each, so they are no more than those, however long one of them is held.
    ahead: BTreeMap<u64, u64>,
    /// Acknowledged, and the broker does not know.
    waiting: BTreeSet<u64>,
}

impl Acks {
    /// The delivery `tag` is acknowledged.
    pub(crate) fn ack(&mut self, tag: u64) {
        self.waiting.insert(tag);
    }

    /// The broker was told what else becomes of `tag`.
    pub(crate) fn told(&mut self, tag: u64) {
        self.extend(tag);
        self.advance();
    }

    /// What is to be sent now.
    pub(crate) fn take(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut last = None;
        let mut count = 0;
        // The run without an open delivery: one acknowledgement stands for all of it.
        while self.waiting.remove(&self.next()) {
            self.known = self.next();
            last = Some(self.known);
            count += 1;
            self.advance();
        }
        if let Some(tag) = last {
            acks.push(Ack { tag, multiple: count > 1 });
        }
        for tag in std::mem::take(&mut self.waiting) {
            acks.push(Ack { tag, multiple: false });
            self.extend(tag);
        }
        acks
    }

    /// Adds `tag` to the run before it, the run after it, or both.
    fn extend(&mut self, tag: u64) {
        let last = self.ahead.remove(&tag.wrapping_add(1)).unwrap_or(tag);
        match self.ahead.range_mut(..tag).next_back() {
            Some((_, end)) if *end == tag - 1 => *end = last,
            _ => {
                self.ahead.insert(tag, last);
            }
        }
    }

    /// Goes on over what the broker knows.
    fn advance(&mut self) {
        if let Some(last) = self.ahead.remove(&self.next()) {
            self.known = last;
        }
    }

    /// The broker may count as far as it likes.
    const fn next(&self) -> u64 {
        self.known.wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_is_acknowledged_at_once_and_what_is_beyond_a_gap_by_itself() {
        let mut acks = Acks::default();
        for tag in [2, 1, 3, 5] {
            acks.ack(tag);
        }
        assert_eq!(acks.take(), [Ack { tag: 3, multiple: true }, Ack { tag: 5, multiple: false }]);
        acks.ack(4);
        assert_eq!(acks.take(), [Ack { tag: 4, multiple: false }]);
        acks.ack(6);
        assert_eq!(acks.take(), [Ack { tag: 6, multiple: false }]);
        assert_eq!(acks.take(), []);
    }

    #[test]
    fn a_delivery_that_is_held_while_a_million_flow_costs_one_run() {
        let mut acks = Acks::default();
        for tag in 2..=1_000_000 {
            if tag % 2 == 0 {
                acks.ack(tag)
            } else {
                acks.told(tag)
            }
            acks.take();
            assert_eq!((acks.ahead.len(), acks.waiting.len()), (1, 0));
        }
        acks.ack(1);
        assert_eq!(acks.take(), [Ack { tag: 1, multiple: false }]);
        assert_eq!((acks.known, acks.ahead.len()), (1_000_000, 0));
    }

    proptest! {
        /// The broker as a model: it holds what was delivered until it is settled.
        #[test]
        fn the_broker_ends_up_with_what_was_settled_and_nothing_else(
            verdicts in prop::collection::vec((any::<bool>(), any::<bool>(), any::<prop::sample::Index>()), 1..60),
        ) {
            let mut open: Vec<u64> = (1..=u64::try_from(verdicts.len()).unwrap()).collect();
            let mut broker: BTreeMap<u64, &str> = open.iter().map(|tag| (*tag, "open")).collect();
            let mut acks = Acks::default();
            let mut acked = BTreeSet::new();
            for (is_ack, flush, index) in verdicts {
                let tag = open.remove(index.index(open.len()));
                if is_ack {
                    acks.ack(tag);
                    acked.insert(tag);
                } else {
                    broker.insert(tag, "given back");
                    acks.told(tag);
                }
                if flush {
                    send(&mut acks, &mut broker);
                    prop_assert!(acks.ahead.len() <= open.len());
                    for (tag, state) in &broker {
                        let wanted = match (open.contains(tag), acked.contains(tag)) {
                            (true, _) => "open",
                            (false, true) => "acked",
                            (false, false) => "given back",
                        };
                        prop_assert_eq!(*state, wanted, "tag {}", tag);
                    }
                }
            }
            send(&mut acks, &mut broker);
            prop_assert!(broker.values().all(|state| *state != "open"));
            prop_assert!(acks.ahead.is_empty() && acks.waiting.is_empty());
        }
    }

    fn send(acks: &mut Acks, broker: &mut BTreeMap<u64, &str>) {
        for Ack { tag, multiple } in acks.take() {
            let from = if multiple { 0 } else { tag };
            for (_, state) in broker.range_mut(from..=tag) {
                if *state == "open" {
                    *state = "acked";
                }
            }
            assert_eq!(broker[&tag], "acked", "a tag is acknowledged once");
        }
    }
}
