//! The behaviour suite, on brokers in this process: with default options, and with everything on.
use std::{process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use sinew_adapter_memory::{MemoryBroker, MemoryOptions};
use sinew_core::{AnyBackend, BoxFuture, Capabilities, Error, ErrorKind, Result};
use sinew_testkit::{Broker, Fault, Fixture, conformance};

fn main() -> ExitCode {
    let full = MemoryOptions::default()
        .with_log(100_000, 256 << 20)
        .with_deduplication(Duration::from_secs(120), 10_000);
    conformance::main_all([
        Arc::new(InMemory("memory", MemoryOptions::default())) as Arc<dyn Fixture>,
        Arc::new(InMemory("memory-log", full)),
    ])
}

struct InMemory(&'static str, MemoryOptions);

struct Running(MemoryBroker);

impl Fixture for InMemory {
    fn name(&self) -> &str {
        self.0
    }

    fn capabilities(&self) -> Capabilities {
        self.1.capabilities()
    }

    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        let broker = MemoryBroker::with_options(self.1.clone());
        Box::pin(async { Ok(Box::new(Running(broker)) as Box<dyn Broker>) })
    }
}

impl Broker for Running {
    fn connect(&self) -> BoxFuture<'_, Result<AnyBackend>> {
        Box::pin(async { Ok(self.0.connect().into_any()) })
    }

    fn publish_foreign(&self, name: Bytes, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.inject(name, payload))
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        let inject: fn(&MemoryBroker) = match fault {
            Fault::Kill => MemoryBroker::kill,
            Fault::Start => MemoryBroker::start,
            Fault::Freeze => MemoryBroker::freeze,
            Fault::Thaw => MemoryBroker::thaw,
            _ => {
                let err = Error::new(ErrorKind::Unsupported, "inject fault");
                return Box::pin(async { Err(err) });
            }
        };
        inject(&self.0);
        Box::pin(async { Ok(()) })
    }
}
