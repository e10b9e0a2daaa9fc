//! How large the broker may grow, and what it keeps: bounds, retention, de-duplication.
use std::time::Duration;

use sinew_core::{
    Attempts, Capabilities, Confirm, Groups, Guarantee, HeaderCarriage, Names, Ordering, Overflow,
    Overflows, Persistence, Property, PropertySet, QueueAddressing, QueueKind, QueueKinds,
    Registration, Requests, Requeue, Scopes, Settlement, StartPoint, StartPoints, Wildcards,
};

/// How a [`MemoryBroker`](crate::MemoryBroker) is set up.
///
/// ```
/// use sinew_adapter_memory::{MemoryBroker, MemoryOptions};
///
/// let broker = MemoryBroker::with_options(MemoryOptions::default().with_log(10_000, 64 << 20));
/// # let _ = broker;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryOptions {
    pub(crate) max_payload: usize,
    pub(crate) queue: Bounds,
    pub(crate) log: Option<Bounds>,
    pub(crate) deduplication: Option<Deduplication>,
    pub(crate) timeout: Duration,
}

/// How many messages, and how many bytes of their payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    /// Whether one more message of `more` bytes fits to `messages` of `bytes`; one alone fits always.
    pub(crate) const fn fit(self, messages: usize, bytes: usize, more: usize) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(more) <= self.bytes)
    }
}

/// For how long, and of how many messages, ids are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deduplication {
    pub(crate) window: Duration,
    pub(crate) ids: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_payload: MAX_PAYLOAD,
            queue: Bounds { messages: 65_536, bytes: 256 << 20 },
            log: None,
            deduplication: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl MemoryOptions {
    /// Refuses larger payloads. In bytes; default: 64 MiB.
    pub const fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Bounds each queue: a publisher waits where it is full. At least one message; default: 65,536 messages and
    /// 256 MiB of payload.
    pub const fn with_queue_bounds(mut self, messages: usize, bytes: usize) -> Self {
        self.queue = Bounds { messages, bytes };
        self
    }

    /// Keeps the last messages in a log, so that a publish tells its position and an intake may start in the past.
    /// Bounded in messages and in bytes of payload, at least one message; the oldest go first. Default: no log,
    /// which saves each publish a copy of the message.
    pub const fn with_log(mut self, messages: usize, bytes: usize) -> Self {
        self.log = Some(Bounds { messages, bytes });
        self
    }

    /// Drops a message whose id came before, no longer ago than `window`, among the last `ids` ids. Default: off, so
    /// that an id is only a name.
    pub const fn with_deduplication(mut self, window: Duration, ids: usize) -> Self {
        self.deduplication = Some(Deduplication { window, ids });
        self
    }

    /// How long a call may wait for a frozen broker, or a publish for room, before it fails. Default: 5 s.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What a broker with these options can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = CAPABILITIES.with_max_payload(Some(self.max_payload));
        let mut properties = PROPERTIES.to_vec();
        if self.log.is_some() {
            capabilities =
                capabilities.with_confirm(Confirm::Persisted).with_starts(StartPoints::of(STARTS));
            properties.push(Property::ExpectedPosition);
        }
        if self.deduplication.is_some() {
            properties.push(Property::Deduplication);
        }
        capabilities.with_properties(PropertySet::of(&properties))
    }
}

const MAX_PAYLOAD: usize = 64 << 20;

/// The longest delay of a requeue: the clock can tell it, and nobody means a longer one.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a broker with default options can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities::new("memory")
    .with_confirm(Confirm::Accepted)
    .with_registration(Registration::Confirmed)
    .with_delivery(Guarantee::AtLeastOnce)
    .with_settlement(Settlement::Each)
    .with_requeue(Requeue::Delayed)
    .with_attempts(Attempts::Counted)
    .with_ordering(Ordering::Total)
    .with_groups(Groups::Named)
    .with_wildcards(Wildcards::Full)
    .with_names(Names::Prefixes)
    .with_scopes(Scopes::Native)
    .with_headers(HeaderCarriage::Typed)
    .with_persistence(Persistence::Memory)
    .with_queues(QueueKinds::of(QUEUES))
    .with_queue_addressing(QueueAddressing::ByName)
    .with_request(Requests::NoResponders)
    .with_properties(PropertySet::of(PROPERTIES))
    .with_overflow(Overflows::of(OVERFLOWS))
    .with_max_payload(Some(MAX_PAYLOAD))
    .with_max_delay(Some(MAX_DELAY));

// Listed, not `all()`: what core adds later is not kept here until somebody writes it.
const STARTS: &[StartPoint] =
    &[StartPoint::Earliest, StartPoint::Latest, StartPoint::Offset, StartPoint::Time];
const QUEUES: &[QueueKind] = &[QueueKind::Durable, QueueKind::UntilUnused, QueueKind::Exclusive];
const OVERFLOWS: &[Overflow] =
    &[Overflow::Block, Overflow::DropNewest, Overflow::DropOldest, Overflow::Fail];
const PROPERTIES: &[Property] = &[
    Property::Id,
    Property::CorrelationId,
    Property::ContentType,
    Property::ContentEncoding,
    Property::Type,
    Property::AppId,
    Property::UserId,
    Property::Key,
    Property::Ttl,
    Property::Timestamp,
    Property::MustRoute,
];
