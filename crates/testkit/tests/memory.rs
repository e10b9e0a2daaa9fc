//! The memory adapter passes the whole suite: what is correct is not caught.
use std::{process::ExitCode, sync::Arc};

use memory::MemoryFixture;
use sinew_adapter_memory::MemoryOptions;
use sinew_testkit::{Fixture, conformance};

#[path = "common/memory.rs"]
mod memory;

fn main() -> ExitCode {
    let plain = MemoryFixture { name: "memory", options: MemoryOptions::default() };
    conformance::main_all([plain, MemoryFixture::full()].map(|it| Arc::new(it) as Arc<dyn Fixture>))
}
