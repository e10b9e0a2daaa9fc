//! Services in one process, over the memory backend, in virtual time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's exemption of tests does not reach their helpers"
)]

mod answers;
mod dedup;
mod drain;
mod emits;
mod errors;
mod kinds;
mod layers;
mod metrics;
mod nameko;
mod refusals;
mod retries;
mod spans;
mod starting;
mod support;
mod workers;
