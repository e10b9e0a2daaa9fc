//! The command against a real nats-server. What is missing on this machine is skipped by name.
#![expect(
    clippy::indexing_slicing,
    reason = "a trial is a test, which clippy does not see: what is not there fails it"
)]

mod beats;
mod faults;
mod messages;
mod queues;
mod security;

#[path = "../common/mod.rs"]
mod common;

use std::env;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sinew_core::{Error, ErrorKind};
use tokio::runtime::Runtime;

use common::Result;

type Body = fn(&Runtime) -> Result<()>;

fn main() {
    let trials: Vec<(&str, Body)> =
        [messages::TRIALS, queues::TRIALS, beats::TRIALS, faults::TRIALS, security::TRIALS]
            .concat();
    let trials = trials.into_iter().map(|(name, body)| trial(name, body)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn trial(name: &str, body: Body) -> Trial {
    Trial::ignorable_test(name, move || {
        // The broker's harness and the peers of the command run on it; the command itself is a process.
        let outcome = Runtime::new().map_err(Into::into).and_then(|runtime| body(&runtime));
        match outcome {
            Ok(()) => Ok(Completion::Completed),
            Err(err) => match err.downcast_ref::<Error>() {
                Some(missing) if missing.kind() == ErrorKind::NotFound && !brokers_required() => {
                    Ok(Completion::ignored_with(missing))
                }
                _ => Err(Failed::from(format!("{err}"))),
            },
        }
    })
}

fn brokers_required() -> bool {
    env::var_os("SINEW_REQUIRE_BROKERS").is_some_and(|value| value == "1")
}
