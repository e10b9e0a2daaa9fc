//! Where what a monitor tells goes: a program, another backend.
mod command;
mod republish;

use std::time::UNIX_EPOCH;

pub use self::{
    command::{CommandCounts, CommandOptions, CommandOutput},
    republish::Republish,
};
use crate::{Clock, Timestamp};

/// Seconds since 1970 UTC, to the millisecond: `1767225600.250`.
fn unix(clock: &Clock, at: Timestamp) -> String {
    let since = clock.wall(at).duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}
