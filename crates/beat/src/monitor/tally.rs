//! How often which state led to which.
use crate::State;

const STATES: usize = State::ALL.len();

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

    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<State>, State, u64)> {
        froms().zip(&self.0).flat_map(|(from, row)| {
            let made = State::ALL.iter().zip(row).filter(|(_, count)| **count > 0);
            made.map(move |(to, count)| (from, *to, *count))
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
        let wanted: Vec<_> = (1_u64..).zip(pairs()).map(|(n, (from, to))| (from, to, n)).collect();
        let mut tally = Tally::default();
        assert_eq!(tally.iter().next(), None);
        for (from, to, times) in &wanted {
            (0..*times).for_each(|_| tally.note(*from, *to));
        }
        assert_eq!(tally.iter().collect::<Vec<_>>(), wanted);
    }
}
