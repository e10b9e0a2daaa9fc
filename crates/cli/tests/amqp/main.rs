//! The command against a real RabbitMQ. What is missing on this machine is skipped by name.
#![expect(
    clippy::indexing_slicing,
    reason = "a trial is a test, which clippy does not see: what is not there fails it"
)]

mod faults;
mod messages;
mod refusals;

#[path = "../common/broker.rs"]
mod broker;
#[path = "../common/mod.rs"]
mod common;

use std::sync::{Arc, OnceLock};

use libtest_mimic::Arguments;
use sinew_core::Error;
use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};
use tokio::runtime::Runtime;

use common::Result;

type Body = fn(&Runtime) -> Result<()>;
type SharedBody = fn(&Runtime, &RabbitMq) -> Result<()>;

fn main() {
    let shared = Arc::new(OnceLock::new());
    let sharing = [messages::TRIALS, refusals::SHARED].concat().into_iter().map(|(name, body)| {
        let shared = Arc::clone(&shared);
        broker::trial(name, move |runtime| body(runtime, broker_of(&shared, runtime)?))
    });
    let alone = [refusals::TRIALS, faults::TRIALS].concat();
    let alone = alone.into_iter().map(|(name, body)| broker::trial(name, body));
    let trials = sharing.chain(alone).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    // With the last hold on it, the broker ends before we do.
    drop(shared);
    conclusion.exit()
}

/// The broker of all trials that do not hurt it: it takes seconds to start.
fn broker_of<'a>(
    shared: &'a OnceLock<Result<RabbitMq, Error>>,
    runtime: &Runtime,
) -> Result<&'a RabbitMq> {
    let started = shared.get_or_init(|| runtime.block_on(RabbitMqOptions::new().start()));
    started
        .as_ref()
        .map_err(|err| Error::new(err.kind(), "start rabbitmq").with_detail(err.to_string()).into())
}
