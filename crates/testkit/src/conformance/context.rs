//! What a behaviour is given: a broker, names of its own, and how long to wait.
use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use sinew_core::{AnyBackend, Capabilities, Pattern, Queue, Scope, Subject};

use super::{During, Outcome};
use crate::{Broker, Fault};

/// What a behaviour is given: a broker, names of its own, and how long to wait.
#[derive(Clone)]
pub struct Context {
    broker: Arc<dyn Broker>,
    capabilities: Capabilities,
    pace: Pace,
    /// Different for each context, in this process and in others.
    token: String,
    numbers: Arc<AtomicU32>,
}

/// How long to wait, and how much to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Pace {
    /// How long to wait for what must come. It matters only to what fails. Default: 20 s.
    pub patience: Duration,
    /// How long to wait for what must not come. Default: 250 ms.
    pub quiet: Duration,
    /// What a whole behaviour may take. Default: 100 s.
    pub deadline: Duration,
    /// How many times more rounds than usual. Default: 1, or 10 where `SINEW_LONG` is set.
    pub rounds: u32,
}

impl Default for Pace {
    fn default() -> Self {
        let rounds = if std::env::var_os("SINEW_LONG").is_some() { 10 } else { 1 };
        Self {
            patience: Duration::from_secs(20),
            quiet: Duration::from_millis(250),
            deadline: Duration::from_secs(100) * rounds,
            rounds,
        }
    }
}

impl Pace {
    /// Waits so long for what must come. Default: 20 s.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits so long for what must not come. Default: 250 ms.
    #[must_use]
    pub fn with_quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// Gives a whole behaviour so long. Default: 100 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Context {
    /// A context on `broker`, whose adapter promises `capabilities`.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, capabilities: Capabilities, pace: Pace) -> Self {
        static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let token = format!("{:x}-{}", *RUN, NEXT.fetch_add(1, Ordering::Relaxed));
        Self { broker, capabilities, pace, token, numbers: Arc::default() }
    }

    /// What the adapter promises.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How long to wait, and how much to do.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> Outcome<AnyBackend> {
        self.broker.connect().await.during("connect")
    }

    pub(super) async fn fault(&self, fault: Fault) -> Outcome {
        self.broker.fault(fault).await.during(format_args!("inject {fault:?}"))
    }

    pub(super) fn broker(&self) -> &dyn Broker {
        &*self.broker
    }

    /// A subject that no other behaviour uses; `rest` may hold dots.
    pub(super) fn subject(&self, rest: &str) -> Outcome<Subject> {
        Subject::parse(&format!("{}.{rest}", self.root())).during("name a subject")
    }

    /// A pattern below what no other behaviour uses.
    pub(super) fn pattern(&self, rest: &str) -> Outcome<Pattern> {
        Pattern::parse(&format!("{}.{rest}", self.root())).during("name a pattern")
    }

    /// A queue or group that no other behaviour uses.
    pub(super) fn queue(&self, name: &str) -> Outcome<Queue> {
        Queue::parse(&format!("{name} {}", self.token)).during("name a queue")
    }

    /// A name for a queue that is asked for once.
    pub(super) fn next_queue(&self) -> String {
        format!("queue {}", self.next_number())
    }

    /// A number that is given once.
    pub(super) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A scope that no other behaviour uses.
    pub(super) fn scope(&self, name: &str) -> Outcome<Scope> {
        Scope::parse(&format!("{name} {}", self.token)).during("name a scope")
    }

    /// The subject above all of this behaviour's.
    pub(super) fn root_subject(&self) -> Outcome<Subject> {
        Subject::parse(&self.root()).during("name a subject")
    }

    /// What makes names this behaviour's own: one token, without a dot.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    fn root(&self) -> String {
        format!("conformance.{}", self.token)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("backend", &self.capabilities.backend)
            .field("token", &self.token)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
