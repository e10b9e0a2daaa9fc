//! The memory adapter as a fixture.
use std::time::Duration;

use bytes::Bytes;
use sinew_adapter_memory::{MemoryBroker, MemoryOptions};
use sinew_core::{AnyBackend, BoxFuture, Capabilities, Error, ErrorKind, Result};
use sinew_testkit::{Broker, Fault, Fixture};

/// Brokers with these options.
pub(crate) struct MemoryFixture {
    pub(crate) name: &'static str,
    pub(crate) options: MemoryOptions,
}

impl MemoryFixture {
    /// With all that can be asked for: positions, starts, de-duplication; and with small payloads.
    pub(crate) fn full() -> Self {
        let options = MemoryOptions::default()
            .with_max_payload(1 << 20)
            .with_log(10_000, 64 << 20)
            .with_deduplication(Duration::from_secs(60), 10_000);
        Self { name: "memory-log", options }
    }
}

impl Fixture for MemoryFixture {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.options.capabilities()
    }

    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async {
            {
                let broker = MemoryBroker::with_options(self.options.clone());
                Ok(Box::new(Running(broker)) as Box<dyn Broker>)
            }
        })
    }
}

struct Running(MemoryBroker);

impl Broker for Running {
    fn connect(&self) -> BoxFuture<'_, Result<AnyBackend>> {
        Box::pin(async { Ok(self.0.connect().into_any()) })
    }

    fn publish_foreign(&self, name: Bytes, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.inject(name, payload))
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        let done = match fault {
            Fault::Kill => Ok(self.0.kill()),
            Fault::Start => Ok(self.0.start()),
            Fault::Freeze => Ok(self.0.freeze()),
            Fault::Thaw => Ok(self.0.thaw()),
            _ => Err(Error::new(ErrorKind::Unsupported, "inject fault")),
        };
        Box::pin(async { done })
    }
}
