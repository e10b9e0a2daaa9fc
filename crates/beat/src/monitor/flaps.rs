//! Who goes back and forth: Nagios's detection, over what was last found of a process.
use crate::State;

/// How many findings are looked at, and so how many changes lie between them.
const FINDINGS: u32 = 21;
const CHANGES: u32 = FINDINGS - 1;
const MASK: u32 = (1 << CHANGES) - 1;

/// When a process begins and ends to flap: shares of its last 20 possible changes, in percent, newer ones counting for
/// more (1.2 the newest, 0.8 the oldest).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Thresholds {
    pub(super) begin: u8,
    pub(super) end: u8,
}

/// What was found of a process: well, degraded, late or down; one finding a beat, and one a broken promise.
///
/// In 4 bytes, as it is there for every process: the changes, above them the last finding, above it whether it flaps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings(u32);

/// Where the place of the last finding in [`State::ALL`] is, plus one: 0 for none.
const LAST: u32 = CHANGES;
const LAST_MASK: u32 = 0xf;
const FLAPPING: u32 = 1 << 31;

const _: () = assert!(State::ALL.len() < LAST_MASK as usize && LAST + 4 < 31, "each has its bits");

impl Findings {
    pub(super) fn restored(changes: u32, last: Option<State>, is_flapping: bool) -> Self {
        let last = last.map_or(0, |last| last as u32 + 1);
        let flapping = if is_flapping { FLAPPING } else { 0 };
        Self(flapping | last << LAST | changes & MASK)
    }

    /// A bit for each two that followed each other and differed; the newest is the lowest.
    pub(super) fn changes(self) -> u32 {
        self.0 & MASK
    }

    pub(super) fn last(self) -> Option<State> {
        let place = (self.0 >> LAST & LAST_MASK).checked_sub(1)?;
        State::ALL.get(place as usize).copied()
    }

    pub(super) fn is_flapping(self) -> bool {
        self.0 & FLAPPING != 0
    }

    /// Notes one more; says whether it flaps, where that changed.
    pub(super) fn note(&mut self, found: State, thresholds: Thresholds) -> Option<bool> {
        // Its first beat finds it as well as its thousandth.
        let found = if found == State::Starting { State::Up } else { found };
        let same = Self::restored(0, Some(found), false);
        if self.0 == same.0 {
            return None;
        }
        let (was_flapping, is_change) =
            (self.is_flapping(), self.last().is_some_and(|last| last != found));
        let changes = self.changes() << 1 | u32::from(is_change);
        *self = Self::restored(changes, Some(found), was_flapping);
        let percent = self.percent();
        let flaps = match was_flapping {
            false => percent >= u32::from(thresholds.begin),
            true => percent >= u32::from(thresholds.end),
        };
        *self = Self::restored(changes, Some(found), flaps);
        (flaps != was_flapping).then_some(flaps)
    }

    /// The share of changes, weighted.
    fn percent(self) -> u32 {
        // In thousandths: from 1200 down to 800.
        let weight = |age: u32| 1200 - 400 * age / (CHANGES - 1);
        let changed = |age: &u32| self.changes() >> age & 1 == 1;
        (0..CHANGES).filter(changed).map(weight).sum::<u32>() / (10 * CHANGES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Thresholds = Thresholds { begin: 50, end: 25 };

    #[test]
    fn a_change_at_every_finding_is_all_there_can_be() {
        let mut findings = Findings::default();
        for turn in 0..FINDINGS {
            findings.note(if turn % 2 == 0 { State::Up } else { State::Down }, USUAL);
        }
        assert_eq!(findings.percent(), 100);
    }

    #[test]
    fn one_outage_is_no_flapping() {
        let mut findings = Findings::default();
        for found in [State::Up, State::Late, State::Down, State::Starting, State::Up, State::Up] {
            assert_eq!(findings.note(found, USUAL), None, "{found}");
        }
    }

    #[test]
    fn it_begins_at_one_threshold_and_ends_at_the_other() {
        let mut findings = Findings::default();
        let mut told = Vec::new();
        let flapping = (0..30).map(|turn| if turn % 2 == 0 { State::Up } else { State::Degraded });
        for (turn, found) in flapping.chain([State::Up; 30]).enumerate() {
            told.extend(findings.note(found, USUAL).map(|flaps| (turn, flaps)));
        }
        // Nine changes of twenty, the newest: 9 x ~1.12 / 20; and no more once the oldest five are left.
        assert_eq!(told, [(9, true), (45, false)]);
        assert_eq!(findings.percent(), 0);
    }
}
