//! The behaviour suite that every Sinew adapter passes, and the harness that runs real brokers.

mod failure;
mod fixture;

pub mod conformance;
pub mod harness;

pub use fixture::{Broker, Fault, Fixture, SUBJECTS};
