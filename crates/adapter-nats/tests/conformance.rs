//! The behaviour suite, over core NATS and over JetStream, on real servers.
use std::{process::ExitCode, sync::Arc};

use sinew_testkit::{Fixture, conformance};

mod fixture;

fn main() -> ExitCode {
    conformance::main_all([
        Arc::new(fixture::Core) as Arc<dyn Fixture>,
        Arc::new(fixture::JetStreamFixture),
    ])
}
