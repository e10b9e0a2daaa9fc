#![doc = include_str!("../README.md")]

mod failure;
mod fixture;

pub mod conformance;
pub mod harness;
pub mod trial;

pub use fixture::{Broker, Fault, Fixture, SUBJECTS};
