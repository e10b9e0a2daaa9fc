//! The memory adapter as a fixture, with one flaw or none.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sinew_adapter_memory::{MemoryBroker, MemoryOptions};
use sinew_core::{
    AnyBackend, Attempts, BoxFuture, Capabilities, Error, ErrorKind, Groups, HeaderCarriage, Names,
    Overflow, Overflows, Property, PropertySet, QueueAddressing, QueueKind, QueueKinds,
    Registration, Requests, Requeue, Result, Scopes, StartPoints, Wildcards,
};
use sinew_testkit::{Broker, Fault, Fixture};

use crate::{backend::FlawedBackend, flaw::Flaw};

/// What the adapter promises, so that each behaviour applies to one of them at least.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claims {
    /// All that can be asked for.
    All,
    /// All, but headers are text and attempts a flag.
    Text,
    /// As little as a backend with every contract can.
    Bare,
}

impl Claims {
    pub(crate) fn capabilities(self) -> Capabilities {
        let all = self.options().capabilities();
        match self {
            Self::All => all,
            Self::Text => all.with_headers(HeaderCarriage::Text).with_attempts(Attempts::Flag),
            Self::Bare => all
                .with_registration(Registration::Eventual)
                .with_requeue(Requeue::None)
                .with_attempts(Attempts::Unknown)
                .with_groups(Groups::None)
                .with_wildcards(Wildcards::Tokens)
                .with_names(Names::Subjects)
                .with_scopes(Scopes::None)
                .with_headers(HeaderCarriage::None)
                .with_starts(StartPoints::NONE)
                .with_queues(QueueKinds::of(&[QueueKind::Durable]))
                .with_queue_addressing(QueueAddressing::None)
                .with_request(Requests::Replies)
                .with_properties(PropertySet::of(&[Property::Id]))
                .with_overflow(Overflows::of(&[Overflow::Block]))
                .with_max_delay(None),
        }
    }

    /// Small payloads, so that the largest is soon sent.
    fn options(self) -> MemoryOptions {
        let options = MemoryOptions::default().with_max_payload(1 << 20);
        match self {
            Self::Bare => options,
            _ => deduplicating(options).with_log(10_000, 64 << 20),
        }
    }
}

fn deduplicating(options: MemoryOptions) -> MemoryOptions {
    options.with_deduplication(Duration::from_secs(60), 10_000)
}

/// The memory adapter with this flaw.
#[derive(Clone, Copy)]
pub(crate) struct Flawed {
    pub(crate) claims: Claims,
    pub(crate) flaw: Option<Flaw>,
}

impl Flawed {
    fn broker(self) -> MemoryBroker {
        let options = self.claims.options();
        MemoryBroker::with_options(match self.flaw {
            Some(Flaw::ForgetsIds) => options.with_deduplication(Duration::ZERO, 1),
            Some(Flaw::TakesAnIdForADuplicate) => deduplicating(options),
            _ => options,
        })
    }
}

impl Fixture for Flawed {
    fn name(&self) -> &str {
        "flawed"
    }

    fn capabilities(&self) -> Capabilities {
        self.claims.capabilities()
    }

    fn faults(&self) -> &'static [Fault] {
        Fault::ALL
    }

    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        let broker = Running { flawed: *self, broker: self.broker(), trouble: Arc::default() };
        Box::pin(async { Ok(Box::new(broker) as Box<dyn Broker>) })
    }
}

struct Running {
    flawed: Flawed,
    broker: MemoryBroker,
    trouble: Arc<Trouble>,
}

/// What the broker suffers from.
#[derive(Default)]
pub(crate) struct Trouble {
    pub(crate) is_frozen: AtomicBool,
    /// It takes no publishes.
    pub(crate) is_blocked: AtomicBool,
}

impl Broker for Running {
    fn connect(&self) -> BoxFuture<'_, Result<AnyBackend>> {
        let inner = match self.flawed.flaw {
            Some(Flaw::EachConnectionIsAlone) => self.flawed.broker().connect(),
            _ => self.broker.connect(),
        };
        let backend = FlawedBackend::new(inner, self.flawed, Arc::clone(&self.trouble)).into_any();
        Box::pin(async { Ok(backend) })
    }

    fn publish_foreign(&self, name: Bytes, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.broker.inject(name, payload))
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        let mut done = Ok(());
        self.trouble.is_frozen.store(fault == Fault::Freeze, Ordering::Relaxed);
        self.trouble.is_blocked.store(fault == Fault::Block, Ordering::Relaxed);
        match fault {
            Fault::Kill => self.broker.kill(),
            Fault::Start => self.broker.start(),
            Fault::Freeze => self.broker.freeze(),
            Fault::Thaw => self.broker.thaw(),
            Fault::Block | Fault::Unblock => {}
            _ => done = Err(Error::new(ErrorKind::Unsupported, "inject fault")),
        }
        Box::pin(async { done })
    }
}
