//! Where what a monitor tells goes: a program, another backend, a webhook.
mod command;
mod pending;
mod republish;
#[cfg(feature = "webhook")]
mod webhook;
mod worker;

use std::time::UNIX_EPOCH;

#[cfg(feature = "webhook")]
pub use self::webhook::{
    WebhookCounts, WebhookFailure, WebhookOptions, WebhookOutput, WebhookSecret,
};
pub use self::{
    command::{CommandCounts, CommandFailure, CommandOptions, CommandOutput},
    republish::{Republish, RepublishCounts, RepublishOutput},
};
use crate::{Clock, Timestamp};

/// Seconds since 1970 UTC, to the millisecond: `1767225600.250`.
fn unix(clock: &Clock, at: Timestamp) -> String {
    let since = clock.wall(at).duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}
