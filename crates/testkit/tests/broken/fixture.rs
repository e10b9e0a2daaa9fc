//! The memory adapter as a fixture, with one flaw or none.
use std::time::Duration;

use bytes::Bytes;
use sinew_adapter_memory::{MemoryBroker, MemoryOptions};
use sinew_core::{AnyBackend, BoxFuture, Capabilities, Error, ErrorKind, Result};
use sinew_testkit::{Broker, Fault, Fixture};

use crate::{backend::FlawedBackend, flaw::Flaw};

/// The memory adapter with this flaw.
pub(crate) struct Flawed(pub(crate) Option<Flaw>);

impl Fixture for Flawed {
    fn name(&self) -> &str {
        "flawed"
    }

    fn capabilities(&self) -> Capabilities {
        options().capabilities()
    }

    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        let broker = Running { broker: MemoryBroker::with_options(options()), flaw: self.0 };
        Box::pin(async { Ok(Box::new(broker) as Box<dyn Broker>) })
    }
}

/// All that can be asked for, so that every behaviour but the refusals applies; and small payloads.
fn options() -> MemoryOptions {
    MemoryOptions::default()
        .with_max_payload(1 << 20)
        .with_log(10_000, 64 << 20)
        .with_deduplication(Duration::from_secs(60), 10_000)
}

struct Running {
    broker: MemoryBroker,
    flaw: Option<Flaw>,
}

impl Broker for Running {
    fn connect(&self) -> BoxFuture<'_, Result<AnyBackend>> {
        let backend = FlawedBackend::new(self.broker.connect(), self.flaw).into_any();
        Box::pin(async { Ok(backend) })
    }

    fn publish_foreign(&self, name: Bytes, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.broker.inject(name, payload))
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        let mut done = Ok(());
        match fault {
            Fault::Kill => self.broker.kill(),
            Fault::Start => self.broker.start(),
            Fault::Freeze => self.broker.freeze(),
            Fault::Thaw => self.broker.thaw(),
            _ => done = Err(Error::new(ErrorKind::Unsupported, "inject fault")),
        }
        Box::pin(async { done })
    }
}
