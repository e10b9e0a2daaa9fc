//! The command against a real nats-server. What is missing on this machine is skipped by name.
#![expect(
    clippy::indexing_slicing,
    reason = "a trial is a test, which clippy does not see: what is not there fails it"
)]

mod alerts;
mod asks;
mod beats;
mod browser;
mod day;
mod events;
mod faults;
mod messages;
mod newcomer;
mod nights;
mod queues;
mod runs;
mod security;
mod serves;
mod together;

#[path = "../common/broker.rs"]
mod broker;
#[path = "../common/mod.rs"]
mod common;

use libtest_mimic::Arguments;
use sinew_testkit::trial::trial_on;
use tokio::runtime::Runtime;

use common::Result;

type Body = fn(&Runtime) -> Result<()>;

fn main() {
    let trials: Vec<(&str, Body)> = [
        // It takes longest.
        day::TRIALS,
        messages::TRIALS,
        queues::TRIALS,
        beats::TRIALS,
        runs::TRIALS,
        asks::TRIALS,
        newcomer::TRIALS,
        events::TRIALS,
        serves::TRIALS,
        together::TRIALS,
        alerts::TRIALS,
        nights::TRIALS,
        faults::TRIALS,
        security::TRIALS,
    ]
    .concat();
    // No broker, hence asked for by none: without one those trials are named as ignored.
    let is_missing = |name: &str| name.starts_with("a_browser_") && browser::find().is_err();
    let trial = |(name, body)| trial_on(name, body).with_ignored_flag(is_missing(name));
    let trials = trials.into_iter().map(trial).collect();
    let mut arguments = Arguments::from_args();
    // They wait more than they work.
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, trials).exit()
}
