//! How often which state led to which.
use crate::State;

const STATES: usize = State::ALL.len();

/// How often a monitor saw one state lead to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransitionCount {
    /// What a process was; none for one that was not known.
    pub from: Option<State>,
    /// What it became.
    pub to: State,
    /// How many times; at least once.
    pub count: u64,
}

/// A count for each pair of states, and for those that led from nothing known, which come first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally([[u64; STATES]; STATES + 1]);

impl Tally {
    pub(super) fn note(&mut self, from: Option<State>, to: State) {
        let row = from.map_or(0, |from| from as usize + 1);
        if let Some(count) = self.0.get_mut(row).and_then(|row| row.get_mut(to as usize)) {
            *count += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = TransitionCount> {
        froms().zip(&self.0).flat_map(|(from, row)| {
            let made = State::ALL.iter().zip(row).filter(|(_, count)| **count > 0);
            made.map(move |(to, count)| TransitionCount { from, to: *to, count: *count })
        })
    }
}

fn froms() -> impl Iterator<Item = Option<State>> {
    std::iter::once(None).chain(State::ALL.iter().copied().map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_counted_for_itself() {
        let pairs = || froms().flat_map(|from| State::ALL.iter().map(move |to| (from, *to)));
        let counted = |(count, (from, to))| TransitionCount { from, to, count };
        let wanted: Vec<_> = (1_u64..).zip(pairs()).map(counted).collect();
        let mut tally = Tally::default();
        assert_eq!(tally.iter().next(), None);
        for TransitionCount { from, to, count } in &wanted {
            (0..*count).for_each(|_| tally.note(*from, *to));
        }
        assert_eq!(tally.iter().collect::<Vec<_>>(), wanted);
    }
}
