//! Agents of this process, in virtual time where time matters.
#[path = "../common/mod.rs"]
mod common;

mod agents;
mod asks;
mod backlog;
mod broken;
mod hedging;
mod jitter;
mod leaks;
mod limits;
mod metrics;
mod panics;
mod runtimes;
mod served;
