//! What a handler takes of a backend: worked out, and refused where the backend has it not, before anything is consumed.
use std::time::Duration;

use sinew_core::{
    AnyBackend, AnyConsumer, AnySubscriber, Backend as _, Capabilities, Consume as _, Consumption,
    Error, ErrorKind, Lifetime, Need, Pattern, Queue, QueueKind, Requeue, Result, Settlement,
    Subscribe as _, Subscription, Verdict,
};

use tokio::time::{Instant, sleep};

use super::{Came, Service};
use crate::{
    EventHandler, HandlerKind, HandlerName, Profile, Source, dead_letter,
    id::Id,
    policy::{LATER, Policy},
    trace::TARGET,
};

/// A handler of a service, whose names have parsed.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) handler: EventHandler,
    pub(super) name: HandlerName,
    pub(super) source: Source,
    pattern: Pattern,
}

/// What is wanted of the backend.
pub(super) enum Wanted {
    Consume(AnyConsumer, Consumption),
    Subscribe(AnySubscriber, Subscription),
}

impl Wanted {
    /// Takes it.
    pub(super) async fn open(self) -> Result<Came> {
        Ok(match self {
            Self::Consume(consumer, wanted) => Came::Settled(consumer.consume(wanted).await?),
            Self::Subscribe(subscriber, wanted) => {
                Came::Unsettled(subscriber.subscribe(wanted).await?)
            }
        })
    }
}

/// How one handler is to be run.
pub(super) struct Plan {
    pub(super) queue: Queue,
    pub(super) wanted: Wanted,
    pub(super) policy: Policy,
    pub(super) concurrency: usize,
    pub(super) prefetch: u16,
    /// What it gives up is put there.
    pub(super) errors: Option<Queue>,
    /// Whether other consumers of its queue would take events that are its own.
    pub(super) must_be_alone: bool,
}

impl Member {
    pub(super) fn new(service: &str, handler: EventHandler) -> Result<Self> {
        let name = HandlerName::new(service, &handler.method)?;
        let source = Source::parse(&handler.source)?;
        let pattern = source.pattern(&handler.event_type)?;
        let is_broadcast = handler.kind == HandlerKind::Broadcast;
        if is_broadcast && handler.is_reliable && handler.identifier.is_none() {
            return Err(refused(&name).with_detail(
                "a reliable broadcast needs an identifier that is the same after a restart: \
                 `with_broadcast_identifier`, or `with_reliable_delivery(false)`",
            ));
        }
        let member = Self { handler, name, source, pattern };
        member.queue()?;
        Ok(member)
    }

    /// Its queue; of a broadcast without an identifier another one each time.
    pub(super) fn queue(&self) -> Result<Queue> {
        let handler = &self.handler;
        let fresh = || Id::fresh().to_string().replace('-', "");
        let identifier = handler.identifier.as_deref().map_or_else(fresh, str::to_owned);
        handler.kind.queue(&self.source, &handler.event_type, &self.name, Some(&identifier))
    }

    pub(super) fn plan(&self, service: &Service, backend: &AnyBackend) -> Result<Plan> {
        let handler = &self.handler;
        if handler.requeue_on_error && service.profile == Profile::Safe {
            return Err(refused(&self.name).with_detail(
                "`requeue_on_error` is of `Profile::Nameko`; in `Profile::Safe` failures are retried with delays: \
                 `with_retry`",
            ));
        }
        let queue = self.queue()?;
        let concurrency =
            handler.concurrency.unwrap_or(service.max_workers).min(service.max_workers);
        let prefetch = handler.prefetch.or(service.prefetch);
        let prefetch = prefetch.unwrap_or_else(|| u16::try_from(concurrency).unwrap_or(u16::MAX));
        let is_broadcast = handler.kind == HandlerKind::Broadcast;
        let wanted = self.wanted(backend, &queue, prefetch)?;
        let is_settled = matches!(wanted, Wanted::Consume(..));
        let policy = Policy {
            profile: service.profile,
            retry: handler.retry.clone().unwrap_or_else(|| service.retry.clone()),
            requeue_on_error: handler.requeue_on_error,
            is_settled,
            has_error_queue: is_settled && handler.is_reliable && service.profile == Profile::Safe,
        };
        if is_settled {
            check_verdicts(&policy, service.dedup.is_some(), &backend.capabilities())
                .map_err(|err| err.with_subject(self.name.as_str()))?;
        }
        let must_be_alone = is_settled && is_broadcast && handler.is_reliable;
        let errors = match policy.has_error_queue {
            true => Some(self.errors(&queue)?),
            false => None,
        };
        Ok(Plan { queue, wanted, policy, concurrency, prefetch, errors, must_be_alone })
    }

    /// The error queue beside its own: a longer name.
    fn errors(&self, queue: &Queue) -> Result<Queue> {
        dead_letter::reader(queue).map_err(|err| {
            let why = format!(
                "its queue `{queue}` has a name of {} bytes, which leaves no room for that of its error queue: shorten \
                 the event type or a name, or keep no errors: `with_reliable_delivery(false)`, `Profile::Nameko`",
                queue.as_str().len()
            );
            Error::new(err.kind(), "start service").with_subject(self.name.as_str()).with_detail(why)
        })
    }

    fn wanted(&self, backend: &AnyBackend, queue: &Queue, prefetch: u16) -> Result<Wanted> {
        let (handler, scope) = (&self.handler, self.source.scope().clone());
        let named = |err: Error| err.with_subject(self.name.as_str());
        let is_broadcast = handler.kind == HandlerKind::Broadcast;
        let capabilities = backend.capabilities();
        match backend.consumer() {
            Ok(consumer) => {
                let lifetime = match handler.is_reliable {
                    true => Lifetime::Durable,
                    false => Lifetime::UntilUnused,
                };
                // As nameko has it, where the backend knows such queues; elsewhere its name is nobody else's all the same.
                let is_exclusive = is_broadcast
                    && !handler.is_reliable
                    && capabilities.queues.has(QueueKind::Exclusive);
                let wanted = Consumption::new(queue.clone(), self.pattern.clone())
                    .with_scope(scope)
                    .with_lifetime(lifetime)
                    .with_exclusive(is_exclusive)
                    .with_prefetch(prefetch);
                capabilities.check_consumption(&wanted).map_err(named)?;
                Ok(Wanted::Consume(consumer, wanted))
            }
            Err(err) if handler.is_reliable => Err(Error::new(ErrorKind::Unsupported, "start service")
                .with_subject(self.name.as_str())
                .with_detail(format!(
                    "{} keeps no events for a handler that is away; use a backend with queues (JetStream, \
                     `nats+js://`, in place of NATS), or `with_reliable_delivery(false)`",
                    capabilities.backend
                ))
                .with_source(err)),
            Err(_) => {
                let mut wanted = Subscription::new(self.pattern.clone()).with_scope(scope);
                if !is_broadcast {
                    wanted = wanted.with_group(queue.clone());
                }
                capabilities.check_subscription(&wanted).map_err(named)?;
                Ok(Wanted::Subscribe(backend.subscriber()?, wanted))
            }
        }
    }
}

/// Refuses a handler of the queue that is another one's error queue: it would be given what that one gives up.
pub(super) fn check_apart(members: &[Member], plans: &[Plan]) -> Result<()> {
    let clash = plans.iter().find_map(|plan| {
        let errors = plan.errors.as_ref()?;
        let (member, _) = members.iter().zip(plans).find(|it| it.1.queue == *errors)?;
        Some((plan, errors, member))
    });
    let Some((plan, errors, member)) = clash else { return Ok(()) };
    let why = format!(
        "its queue `{errors}` is the error queue of `{}`: call one of the events otherwise, or keep no errors of the \
         other: `with_reliable_delivery(false)`, `Profile::Nameko`",
        plan.queue
    );
    Err(Error::new(ErrorKind::Conflict, "start service")
        .with_subject(member.name.as_str())
        .with_detail(why))
}

impl Plan {
    /// Refuses a queue that somebody else consumes, where each instance is to have its own. A member that has just gone may
    /// still be counted, so it looks for a while.
    pub(super) async fn check_alone(&self, name: &HandlerName, is_shared: bool) -> Result<()> {
        let Wanted::Consume(consumer, wanted) = &self.wanted else { return Ok(()) };
        let end = Instant::now() + GONE;
        let consumers = loop {
            let consumers = consumer.declare(wanted.clone()).await?.consumers.unwrap_or(0);
            if consumers == 0 {
                return Ok(());
            }
            if is_shared || Instant::now() >= end {
                break consumers;
            }
            sleep(LOOK).await;
        };
        let (queue, handler) = (self.queue.as_str(), name.as_str());
        if is_shared {
            tracing::warn!(target: TARGET, handler, queue, consumers, "another instance has this identifier: they split its events");
            return Ok(());
        }
        let why = format!(
            "another instance broadcasts under the same identifier: queue `{queue}` has {consumers} consumers, which \
             would split its events; choose an identifier for each instance"
        );
        Err(Error::new(ErrorKind::Conflict, "start service").with_subject(handler).with_detail(why))
    }
}

/// How long a consumer that has gone may still be counted, and how often to look.
const GONE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

/// What the policy may ask for is asked for now.
fn check_verdicts(policy: &Policy, looks_up: bool, capabilities: &Capabilities) -> Result<()> {
    capabilities.require(
        Need::Settlement(Settlement::Each),
        "use a backend that settles each event by itself",
    )?;
    if looks_up {
        // What was not run goes back, in either profile.
        capabilities.check_verdict(Verdict::RequeueAfter(LATER))?;
    }
    match policy.profile {
        Profile::Nameko if policy.requeue_on_error => capabilities
            .require(Need::Requeue(Requeue::Immediate), "handle without `requeue_on_error`"),
        Profile::Nameko => Ok(()),
        Profile::Safe => {
            let longest = policy.retry.longest().unwrap_or_default().max(LATER);
            capabilities.check_verdict(Verdict::RequeueAfter(longest))
        }
    }
}

fn refused(name: &HandlerName) -> Error {
    Error::new(ErrorKind::InvalidOptions, "add handler").with_subject(name.as_str())
}
