//! What may be declared at the broker, and how.

/// How an exchange is treated that a publisher or a subscriber needs.
///
/// What is declared must be what is there: a broker refuses to declare an exchange again with another kind or other
/// flags, and the error is a [`Conflict`](sinew_core::ErrorKind::Conflict).
///
/// ```
/// use sinew_adapter_amqp::{ExchangeKind, ExchangePolicy};
///
/// let policy = ExchangePolicy::declare().with_kind(ExchangeKind::Fanout).with_durable(false);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExchangePolicy {
    pub(crate) declare: bool,
    pub(crate) kind: ExchangeKind,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
}

impl ExchangePolicy {
    /// It is there, whatever it is like; where it is not, that is a [`NotFound`](sinew_core::ErrorKind::NotFound).
    #[must_use]
    pub const fn assume() -> Self {
        Self { declare: false, ..Self::declare() }
    }

    /// It is created where it is missing: a durable topic exchange, unless said otherwise.
    #[must_use]
    pub const fn declare() -> Self {
        Self { declare: true, kind: ExchangeKind::Topic, durable: true, auto_delete: false }
    }

    /// What it compares. Default: [`ExchangeKind::Topic`].
    #[must_use]
    pub const fn with_kind(mut self, kind: ExchangeKind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether it outlives a restart of the broker. Default: yes.
    #[must_use]
    pub const fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether it is deleted with its last binding. Default: no.
    #[must_use]
    pub const fn with_auto_delete(mut self, auto_delete: bool) -> Self {
        self.auto_delete = auto_delete;
        self
    }
}

/// What an exchange compares to route a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// Patterns with `*` and `#`: the only kind that honours wildcards.
    Topic,
    /// Subjects that are equal.
    Direct,
    /// Nothing: each queue gets everything, so that `>` and `#` are all that can be wanted.
    Fanout,
    /// Headers, by arguments of a binding that Sinew never gives: each queue gets everything, as above.
    Headers,
}

impl From<ExchangeKind> for lapin::ExchangeKind {
    fn from(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Topic => Self::Topic,
            ExchangeKind::Direct => Self::Direct,
            ExchangeKind::Fanout => Self::Fanout,
            ExchangeKind::Headers => Self::Headers,
        }
    }
}

/// How the queues with a name are treated that somebody consumes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QueuePolicy {
    /// Created where missing, and bound.
    Declare,
    /// There, and bound as it should be; where it is not there, that is a
    /// [`NotFound`](sinew_core::ErrorKind::NotFound).
    Assume,
}

/// Where a delivery waits that is handed back with a delay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DelayLayout {
    /// In a queue for each delay and each queue that it goes back to, `sinew.delay.<milliseconds>.<queue>`.
    PerQueue,
    /// Where `nameko-amqp-retry` keeps its own: in a queue for each delay, `backoff--<milliseconds>ms`, on the headers
    /// exchange `backoff`. Members of one queue in Python and in Rust then count each other's attempts, by `x-death`,
    /// and each goes on with its schedule where the other one was. From RabbitMQ 4 on, which takes no `x-death` from a client,
    /// Python counts one attempt at most, of its own, too, and never gives up; ours are counted all the same.
    NamekoAmqpRetry,
}
