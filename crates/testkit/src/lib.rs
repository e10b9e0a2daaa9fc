#![doc = include_str!("../README.md")]

mod failure;
mod fixture;
mod metric_keys;

pub mod conformance;
pub mod harness;
pub mod trial;

pub use fixture::{Broker, Fault, Fixture, SUBJECTS};
pub use metric_keys::MetricKeys;
