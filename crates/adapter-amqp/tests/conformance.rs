//! The behaviour suite, on a real RabbitMQ.
use std::{process::ExitCode, sync::Arc};

use sinew_testkit::conformance;

mod fixture;

fn main() -> ExitCode {
    conformance::main_all([Arc::new(fixture::Rabbit) as _])
}
