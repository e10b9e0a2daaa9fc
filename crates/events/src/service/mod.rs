//! A service: its handlers, what they share, and how it is started.
mod claim;
mod intake;
mod notifier;
mod pace;
mod permit;
mod plan;
mod processor;
mod running;
mod settling;

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream};
use sinew_core::{AnyBackend, Delivery, Error, ErrorKind, Incoming, Message, Result};
use tokio::sync::Semaphore;

pub(crate) use self::permit::Attachment;
use self::{notifier::Notifier, permit::Workers, plan::Member, processor::Processor};
pub use self::{
    notifier::{ServiceEvent, ServiceEvents, Settled, SettledAs},
    running::{Ended, Running},
};
use crate::{
    DedupStore, EmitOptions, EventDispatcher, EventHandler, HeaderPrefix, PayloadOptions, Profile,
    RetryPolicy, Source, dead_letter::DeadLetters, dedup::AnyDedupStore, stats::Meter,
};

/// The handlers of a service, before it is started, and what they share. It can be started more than once.
#[derive(Clone, Debug)]
pub struct Service {
    source: Source,
    members: Vec<Member>,
    max_workers: usize,
    prefetch: Option<u16>,
    profile: Profile,
    retry: RetryPolicy,
    payload: PayloadOptions,
    emits: EmitOptions,
    prefix: HeaderPrefix,
    calls_tracked: usize,
    dedup: Option<AnyDedupStore>,
    shares_broadcasts: bool,
    notifier: Notifier,
}

impl Service {
    /// The service called `name`, without handlers yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`], as [`Source::parse`] has it.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self {
            source: Source::parse(name)?,
            members: Vec::new(),
            max_workers: 10,
            prefetch: None,
            profile: Profile::default(),
            retry: RetryPolicy::default(),
            payload: PayloadOptions::default(),
            emits: EmitOptions::default(),
            prefix: HeaderPrefix::default(),
            calls_tracked: EventDispatcher::CALLS_TRACKED,
            dedup: None,
            shares_broadcasts: false,
            notifier: Notifier::default(),
        })
    }

    /// Adds a handler.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] and [`ErrorKind::InvalidPattern`] for names that are none, or make none for its queue;
    /// [`ErrorKind::InvalidOptions`] for a reliable broadcast without an identifier; [`ErrorKind::Conflict`] where a handler
    /// of this service has the same queue.
    pub fn with_handler(mut self, handler: EventHandler) -> Result<Self> {
        let member = Member::new(self.source.as_str(), handler)?;
        let queues = self.members.iter().map(Member::queue).collect::<Result<HashSet<_>>>()?;
        let queue = member.queue()?;
        if queues.contains(&queue) {
            return Err(Error::new(ErrorKind::Conflict, "add handler")
                .with_subject(queue.as_str())
                .with_detail("two handlers of one service would split the events of one queue"));
        }
        self.members.push(member);
        Ok(self)
    }

    /// How many events are handled at once, by all handlers together; 0 counts as 1. Default: 10.
    #[must_use]
    pub fn with_max_workers(mut self, workers: usize) -> Self {
        self.max_workers = workers.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many events each handler is sent at most before the first of them is settled: what is handled, and what waits
    /// here for a worker; 0 counts as 1. nameko 3's `PREFETCH_COUNT`. More than is handled at once keeps workers busy where
    /// the broker is a round trip away; less limits what is handled. What waits when the service ends goes back. Default,
    /// `None`: as many as the handler may handle at once.
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: impl Into<Option<u16>>) -> Self {
        self.prefetch = prefetch.into();
        self
    }

    /// What becomes of what fails. Default: [`Profile::Safe`].
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How failures are tried again, in [`Profile::Safe`]. Default: [`RetryPolicy::default`].
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Handles each event once, as far as `store` remembers: by the message's id, which all events emitted in
    /// [`Profile::Safe`] have, and those of Python have not. Default: no store.
    #[must_use]
    pub fn with_dedup_store(mut self, store: impl DedupStore + 'static) -> Self {
        self.dedup = Some(AnyDedupStore::new(store));
        self
    }

    /// Writes and reads payloads so. Default: JSON, as [`PayloadOptions::default`].
    #[must_use]
    pub fn with_payload(mut self, payload: PayloadOptions) -> Self {
        self.payload = payload;
        self
    }

    /// Emits so from its handlers, where an emit says nothing else.
    #[must_use]
    pub fn with_emit_options(mut self, options: EmitOptions) -> Self {
        self.emits = options;
        self
    }

    /// What stands before the keys of the context in the names of headers, read and written. Default: `nameko`.
    #[must_use]
    pub fn with_header_prefix(mut self, prefix: HeaderPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// How many parents of a call go on with what it emits; nameko's `parent_calls_tracked`. Default: 10.
    #[must_use]
    pub fn with_calls_tracked(mut self, calls: usize) -> Self {
        self.calls_tracked = calls;
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn payload(&self) -> &PayloadOptions {
        &self.payload
    }

    /// Whether a reliable broadcast under the identifier of another instance is started all the same, with a warning, as
    /// nameko does: the two split the events between them. Default: it is refused.
    #[must_use]
    pub fn with_shared_broadcasts(mut self, shared: bool) -> Self {
        self.shares_broadcasts = shared;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.source.as_str()
    }

    /// Hears from now on what happens to it, however often it is started: before the first start, of all. It ends with the
    /// last clone of the service and what was started of it.
    #[must_use]
    pub fn events(&self) -> ServiceEvents {
        self.notifier.listen()
    }

    /// Starts it: every handler's queue is there and consumed when this ends, and nothing is handled before. 16 queues are
    /// asked for at once. It runs on the runtime that calls this.
    ///
    /// # Errors
    ///
    /// That of the first handler, in the order in which they were added; nothing is consumed then, and durable queues may be there.
    /// [`ErrorKind::Unsupported`] for what the backend cannot do, naming a substitute, before anything is consumed;
    /// [`ErrorKind::InvalidOptions`] for `requeue_on_error` in [`Profile::Safe`], and for a service without handlers;
    /// [`ErrorKind::InvalidName`] where the name of a handler's queue leaves no room for that of its error queue;
    /// [`ErrorKind::Conflict`] where the queue of one handler is the error queue of another, for a queue that is
    /// there with other properties, and for a reliable broadcast under the identifier of another instance; else as
    /// [`Consume::consume`](sinew_core::Consume::consume) and [`Subscribe::subscribe`](sinew_core::Subscribe::subscribe)
    /// have them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it consumes nothing; durable queues may be there.
    pub async fn start(&self, backend: &AnyBackend) -> Result<Running> {
        if self.members.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOptions, "start service")
                .with_subject(self.name())
                .with_detail("it has no handlers; who emits alone has an `EventDispatcher`"));
        }
        let dispatcher = EventDispatcher::of(backend.publisher()?, self.source.clone())?
            .with_profile(self.profile)
            .with_payload(self.payload.clone())
            .with_options(self.emits.clone())
            .with_header_prefix(self.prefix.clone())
            .with_calls_tracked(self.calls_tracked);
        let plans =
            self.members.iter().map(|it| it.plan(self, backend)).collect::<Result<Vec<_>>>()?;
        plan::check_apart(&self.members, &plans)?;
        let pairs = self.members.iter().zip(&plans).filter(|it| it.1.must_be_alone);
        let shares = self.shares_broadcasts;
        let looks = pairs.map(|(member, plan)| plan.check_alone(&member.name, shares));
        all(looks.collect()).await?;
        let workers = Arc::new(Semaphore::new(self.max_workers));
        let mut ready = Vec::with_capacity(plans.len());
        for (member, plan) in self.members.iter().zip(plans) {
            let dead_letters = match plan.policy.has_error_queue {
                true => Some(DeadLetters::new(
                    backend,
                    &member.name,
                    &plan.queue,
                    &member.source,
                    &member.handler.event_type,
                )?),
                false => None,
            };
            let event = format!("{}/{}", member.source, member.handler.event_type);
            let processor = Arc::new(Processor {
                name: member.name.clone(),
                source: member.source.clone(),
                queue: plan.queue,
                handler: member.handler.clone(),
                pattern: Arc::from(&*member.handler.event_type),
                prefetch: plan.prefetch,
                policy: plan.policy,
                payload: self.payload.clone(),
                prefix: member.handler.prefix.clone().unwrap_or_else(|| self.prefix.clone()),
                dispatcher: dispatcher.clone(),
                dedup: self.dedup.clone(),
                dead_letters,
                meter: Arc::new(Meter::new(member.name.as_str(), &event)),
                notifier: self.notifier.clone(),
            });
            ready.push((processor, Workers::new(&workers, plan.concurrency), plan.wanted));
        }
        let opening = ready.into_iter().map(|(processor, workers, wanted)| {
            wanted.open().map_ok(|came| (processor, workers, came))
        });
        let intakes = all(opening.collect()).await?;
        Ok(Running::new(dispatcher, self.notifier.clone(), intakes))
    }
}

/// How many handlers' queues are asked for at once: each takes several answers of the broker, one after the other.
const AT_ONCE: usize = 16;

/// What all of them end with, some at once, in their order. The error is that of the first; the others are dropped then.
async fn all<T>(asked: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    stream::iter(asked).buffered(AT_ONCE).try_collect().await
}

/// What comes in.
enum Came {
    Settled(Incoming<Delivery>),
    Unsettled(Incoming<Message>),
}
