//! Brokers for tests and for trying things out: found or installed, started on loopback, stopped by process id.

mod identity;
pub(crate) mod nats;
mod record;

use crate::{
    failure::{Failure, Result},
    workspace::Workspace,
};

/// Turns a test that would be skipped for want of a broker into a failure.
const REQUIRE: &str = "SINEW_REQUIRE_BROKERS";

pub(crate) fn run(words: &[&str]) -> Result {
    let workspace = Workspace::load()?;
    match words {
        ["up"] => nats::up(&workspace),
        ["down"] => nats::down(&workspace),
        ["status"] => nats::status(&workspace),
        _ => Err(Failure::usage("brokers takes one of: up, down, status")),
    }
}

/// True when a missing broker has to fail the run.
pub(crate) fn required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}
