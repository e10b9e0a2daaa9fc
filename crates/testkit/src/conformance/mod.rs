//! The behaviour suite: what the contracts promise, held against a running backend.
//!
//! Each promise is one [`Behaviour`], selected by [`Capabilities`](sinew_core::Capabilities): a backend that has the
//! capability is held to the promise, one that lacks it to the refusal. Nothing is skipped silently.

mod behaviour;
mod context;
mod publish;
mod suite;
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
    [publish::ALL].into_iter().flatten().copied()
}
