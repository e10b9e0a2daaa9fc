//! What to ask of an intake: which messages, from where, through what buffer.
use std::time::SystemTime;

use crate::{Overflow, Pattern, Position, Queue, Scope};

/// Where an intake starts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With the oldest message kept.
    Earliest,
    /// With the newest message kept, then what follows.
    Latest,
    /// With the message at this position.
    At(Position),
    /// With the message after this position: where a reader that remembers its last one resumes.
    After(Position),
    /// With the first message stored at or after this time, by the broker's clock.
    Time(SystemTime),
}

/// How much an intake may hold in memory before its consumer takes it, and what happens then.
///
/// Both bounds count: whichever is met first. One message is always let in, however large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Buffer {
    /// In messages; at least 1. Default: 4,096.
    pub messages: usize,
    /// In bytes of payload; at least 1. Default: 64 MiB.
    pub bytes: usize,
    /// When full. Default: [`Overflow::DropNewest`], counted as [`Event::Lost`](crate::Event::Lost).
    pub overflow: Overflow,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { messages: 4096, bytes: 64 << 20, overflow: Overflow::DropNewest }
    }
}

impl Buffer {
    /// Bounds the number of messages; 0 counts as 1.
    #[must_use]
    pub fn with_messages(mut self, messages: usize) -> Self {
        self.messages = messages.max(1);
        self
    }

    /// Bounds the bytes of their payloads; 0 counts as 1.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// Chooses what happens when it is full.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// What an unsettled intake wants: each subscriber gets a copy, or one member of `group` does.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Subscription {
    /// The space of its patterns; none is a space of its own.
    pub scope: Option<Scope>,
    /// A message that several of them match arrives once.
    pub patterns: Vec<Pattern>,
    /// Shares each message with the other members instead of getting a copy.
    pub group: Option<Queue>,
    /// Where it starts.
    pub start: Start,
    /// What it holds until it is read.
    pub buffer: Buffer,
}

impl Subscription {
    /// Wants what matches `pattern`, from now on, for itself.
    #[must_use]
    pub fn new(pattern: impl Into<Pattern>) -> Self {
        Self {
            scope: None,
            patterns: vec![pattern.into()],
            group: None,
            start: Start::New,
            buffer: Buffer::default(),
        }
    }

    /// Wants what matches `pattern`, too.
    #[must_use]
    pub fn and(mut self, pattern: impl Into<Pattern>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Looks in `scope`. Default: in none.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Shares each message with the other members of `group`. Default: a copy for itself.
    #[must_use]
    pub fn with_group(mut self, group: Queue) -> Self {
        self.group = Some(group);
        self
    }

    /// Starts there. Default: [`Start::New`].
    #[must_use]
    pub fn with_start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Holds no more than that. Default: [`Buffer::default`].
    #[must_use]
    pub fn with_buffer(mut self, buffer: Buffer) -> Self {
        self.buffer = buffer;
        self
    }
}

/// What a settled intake wants: a member's share of a named queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Consumption {
    /// The queue; made if it is not there, refused if it is there with other properties.
    pub queue: Queue,
    /// The space of its patterns; none is a space of its own.
    pub scope: Option<Scope>,
    /// What the queue is bound to; a message that several of them match arrives once. None at all where messages are
    /// published straight to it: [`Consumption::unbound`].
    pub patterns: Vec<Pattern>,
    /// How long the queue lives. Default: [`Lifetime::Durable`].
    pub lifetime: Lifetime,
    /// Refuse other consumers of the queue. Default: no.
    pub exclusive: bool,
    /// How many deliveries may be unsettled at once, and so how many are held in memory; at least 1. Default: 64.
    pub prefetch: u16,
    /// Where the queue starts, when it is made. Default: [`Start::New`].
    pub start: Start,
}

/// How long a queue lives.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Lifetime {
    /// Until somebody deletes it.
    Durable,
    /// Until its last consumer is gone, and some time after: on AMQP durable and auto-delete.
    UntilUnused,
}

impl Consumption {
    /// Consumes `queue`, bound to `pattern`.
    #[must_use]
    pub fn new(queue: Queue, pattern: impl Into<Pattern>) -> Self {
        Self::unbound(queue).and(pattern)
    }

    /// Consumes `queue`, bound to nothing: it gets what is published straight to it, by
    /// [`Address::Queue`](crate::Address::Queue), where the backend has
    /// [`QueueAddressing`](crate::QueueAddressing).
    #[must_use]
    pub fn unbound(queue: Queue) -> Self {
        Self {
            queue,
            scope: None,
            patterns: Vec::new(),
            lifetime: Lifetime::Durable,
            exclusive: false,
            prefetch: 64,
            start: Start::New,
        }
    }

    /// Binds the queue to `pattern`, too.
    #[must_use]
    pub fn and(mut self, pattern: impl Into<Pattern>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Binds in `scope`. Default: in none.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Default: [`Lifetime::Durable`].
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Refuses other consumers of the queue. Default: shared.
    #[must_use]
    pub fn with_exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Bounds the unsettled deliveries; 0 counts as 1. Default: 64.
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: u16) -> Self {
        self.prefetch = prefetch.max(1);
        self
    }

    /// Starts there when the queue is made. Default: [`Start::New`].
    #[must_use]
    pub fn with_start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
}
