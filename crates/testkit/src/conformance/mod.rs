//! The behaviour suite: what the contracts promise, held against a running backend.
//!
//! Each promise is one [`Behaviour`], selected by [`Capabilities`](sinew_core::Capabilities): a backend that has the
//! capability is held to the promise, one that lacks it to the refusal. Nothing is skipped silently.

mod behaviour;
mod context;
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
        intake::ALL,
        queues::ALL,
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
