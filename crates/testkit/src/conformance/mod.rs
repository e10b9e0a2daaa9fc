//! The behaviour suite: what the contracts promise, held against a running backend.
//!
//! Each promise is one [`Behaviour`], selected by [`Capabilities`](sinew_core::Capabilities): a backend that has the
//! capability is held to the promise, one that lacks it to the refusal. Nothing is skipped silently.

mod behaviour;
mod blocked;
mod context;
mod declare;
mod faults;
mod groups;
mod headers;
mod intake;
mod lifecycle;
mod log;
mod names;
mod ordering;
mod overflow;
mod patterns;
mod payloads;
mod properties;
mod publish;
mod queues;
mod request;
mod runtimes;
mod settlement;
mod suite;
mod support;
mod tally;
mod when;

pub use self::{
    behaviour::Behaviour,
    context::{Context, Pace},
    suite::{Suite, main, main_all},
};
use crate::failure::{During, ensure, ensure_eq};
pub use crate::failure::{Failure, Outcome};

/// Every behaviour there is, by topic.
pub fn behaviours() -> impl Iterator<Item = Behaviour> {
    // Those that take longest first, so that the others fill the time they leave.
    let topics = [
        faults::ALL,
        blocked::ALL,
        intake::ALL,
        queues::ALL,
        declare::ALL,
        lifecycle::ALL,
        settlement::ALL,
        log::ALL,
        patterns::ALL,
        overflow::ALL,
        request::ALL,
        groups::ALL,
        headers::ALL,
        properties::ALL,
        payloads::ALL,
        names::ALL,
        ordering::ALL,
        publish::ALL,
        runtimes::ALL,
    ];
    topics.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_behaviour_that_the_readme_names_exists() {
        let known: BTreeSet<_> = behaviours().map(|it| it.to_string()).collect();
        let rows: Vec<_> = include_str!("../../README.md")
            .lines()
            .skip_while(|line| !line.starts_with("| Watermill"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        assert_eq!(rows.len(), 16);
        for row in rows {
            let named: Vec<_> = row.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "{row}");
            for name in named {
                assert!(known.contains(name), "{name} is no behaviour");
            }
        }
    }
}
