//! The command against a real RabbitMQ. What is missing on this machine is skipped by name.
#![expect(
    clippy::indexing_slicing,
    reason = "a trial is a test, which clippy does not see: what is not there fails it"
)]

mod events;
mod faults;
mod messages;
mod newcomer;
mod page;
mod program;
mod refusals;
mod replacement;

#[path = "../common/broker.rs"]
mod broker;
#[path = "../common/mod.rs"]
mod common;

use std::{env, io::Write as _, process::ExitCode, sync::Arc};

use libtest_mimic::Arguments;
use sinew_testkit::{
    harness::rabbitmq::{RabbitMq, RabbitMqOptions},
    trial::trial_on,
};
use tokio::{runtime::Runtime, sync::OnceCell};

use common::Result;

type Body = fn(&Runtime) -> Result<()>;
type SharedBody = fn(&Runtime, &RabbitMq) -> Result<()>;

/// Set in a process that is the program of a page.
const PROGRAM: &str = "SINEW_TEST_PROGRAM";

fn main() -> ExitCode {
    if env::var_os(PROGRAM).is_some() {
        let Err(err) = program::run() else { return ExitCode::SUCCESS };
        drop(writeln!(std::io::stderr(), "{err}"));
        return ExitCode::FAILURE;
    }
    // The broker of all trials that do not hurt it: it takes seconds to start.
    let shared = Arc::new(OnceCell::new());
    let sharing = [messages::TRIALS, events::TRIALS, newcomer::TRIALS, refusals::SHARED].concat();
    let sharing = sharing.into_iter().map(|(name, body)| {
        let shared = Arc::clone(&shared);
        trial_on(name, move |runtime| {
            let start = || RabbitMqOptions::new().start();
            body(runtime, runtime.block_on(shared.get_or_try_init(start))?)
        })
    });
    let alone = [refusals::TRIALS, faults::TRIALS, replacement::TRIALS].concat();
    let alone = alone.into_iter().map(|(name, body)| trial_on(name, body));
    let trials = sharing.chain(alone).collect();
    let mut arguments = Arguments::from_args();
    // They wait, most of the time.
    arguments.test_threads.get_or_insert(4);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // With the last hold on it, the broker ends before we do.
    drop(shared);
    conclusion.exit_code()
}
