//! The memory adapter's five contracts, with one flaw.
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use sinew_adapter_memory::Memory;
use sinew_core::{
    AnyBackend, AnyConsumer, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Attempts, Backend,
    Capabilities, Consume, Consumption, Delivery, Error, ErrorKind, Event, Incoming, Lifetime,
    Link, Message, Overflow, Pattern, Pending, Position, Publish, Queue, QueueStatus, Receipt,
    Request, Requests, Result, Sent, Start, Subscribe, Subscription,
};
use tokio::{
    runtime::{Handle, Id},
    sync::Semaphore,
};

use crate::{
    deliveries,
    fixture::{Flawed, Trouble},
    flaw::Flaw,
    intakes::{self, Ends},
    messages,
    tap::tap,
};

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct FlawedBackend {
    inner: Memory,
    flawed: Flawed,
    home: Option<Id>,
    trouble: Arc<Trouble>,
    /// What unawaited outcomes hold.
    room: Arc<Semaphore>,
    opened: Arc<AtomicU32>,
    /// The replies to the request before.
    before: Arc<Mutex<Option<intakes::Shared>>>,
    wanted: Arc<Mutex<BTreeSet<String>>>,
    ends: Ends,
}

impl FlawedBackend {
    pub(crate) fn new(inner: Memory, flawed: Flawed, trouble: Arc<Trouble>) -> Self {
        Self {
            inner,
            flawed,
            home: Handle::try_current().ok().map(|handle| handle.id()),
            trouble,
            room: Arc::new(Semaphore::new(1500)),
            opened: Arc::default(),
            before: Arc::default(),
            wanted: Arc::default(),
            ends: Ends::default(),
        }
    }

    pub(crate) fn into_any(self) -> AnyBackend {
        let backend = AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()));
        let backend = match self.flawed.flaw {
            Some(Flaw::HidesAContract) => backend,
            _ => backend.with_requester(AnyRequester::new(self.clone())),
        };
        backend.with_consumer(AnyConsumer::new(self))
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flawed.flaw == Some(flaw)
    }

    /// What it lacks it refuses.
    fn refuse(&self, check: impl FnOnce(&Capabilities) -> Result<()>) -> Result<()> {
        match self.flawed.flaw {
            Some(Flaw::AcceptsWhatItLacks) => Ok(()),
            _ => check(&self.flawed.claims.capabilities()),
        }
    }

    fn is_frozen(&self) -> bool {
        self.trouble.is_frozen.load(Ordering::Relaxed)
    }

    fn is_blocked(&self) -> bool {
        self.trouble.is_blocked.load(Ordering::Relaxed)
    }

    /// Whether it reports that it sends, and does not.
    fn swallows(&self, message: &Message) -> bool {
        (self.has(Flaw::SwallowsEmptyPayloads) && message.payload.is_empty())
            || (self.has(Flaw::SwallowsWhileFrozen) && self.is_frozen())
            || (self.has(Flaw::OkWhenNotTaken) && self.is_blocked())
    }

    fn miscounted(&self, status: QueueStatus) -> QueueStatus {
        match (self.flawed.flaw, status.consumers) {
            (Some(Flaw::CountsConsumersWrong), Some(count)) => status.with_consumers(count + 1),
            _ => status,
        }
    }

    /// What it makes of the patterns, the group or queue, and the start of any intake.
    fn misread(
        &self,
        patterns: &mut Vec<Pattern>,
        name: Option<&mut Queue>,
        start: &mut Start,
    ) -> Result<()> {
        match self.flawed.flaw {
            Some(Flaw::TakesNoPatternForNothing) if patterns.is_empty() => {
                patterns.push(Pattern::parse("nothing")?);
            }
            Some(Flaw::TakesTheFirstPattern) => patterns.truncate(1),
            Some(Flaw::TakesHashForTail) => intakes::take_hash_for_tail(patterns)?,
            Some(Flaw::TakesNamesForPrefixes) => {
                for pattern in patterns {
                    let text = pattern.to_string();
                    if !text.contains(['*', '>', '#']) {
                        *pattern = Pattern::prefix(text);
                    }
                }
            }
            Some(Flaw::MixesCase) => {
                for pattern in patterns {
                    if let Ok(lower) = Pattern::parse(&pattern.to_string().to_lowercase()) {
                        *pattern = lower;
                    }
                }
            }
            Some(Flaw::SimplifiesNames) => {
                if let Some(name) = name {
                    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                    let text = name.as_str().to_lowercase();
                    *name = Queue::parse(&text.chars().map(plain).collect::<String>())?;
                }
            }
            Some(Flaw::IgnoresTheStart | Flaw::AcceptsWhatItLacks) => *start = Start::New,
            Some(Flaw::StartsWithThePast) if name.is_none() && *start == Start::New => {
                *start = Start::Latest;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Backend for FlawedBackend {
    fn capabilities(&self) -> Capabilities {
        let claimed = self.flawed.claims.capabilities();
        match self.flawed.flaw {
            Some(Flaw::ClaimsAnotherRecord) => claimed.with_attempts(Attempts::Unknown),
            _ => claimed,
        }
    }
}

impl Publish for FlawedBackend {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        let here = Handle::try_current().ok().map(|handle| handle.id());
        if (self.has(Flaw::NeedsARuntime) && here.is_none())
            || (self.has(Flaw::NeedsItsOwnRuntime) && here != self.home)
        {
            return Err(Error::new(ErrorKind::Internal, "no reactor is running"));
        }
        let able = self.flawed.claims.capabilities();
        let mut message = messages::spoil(message, self.flawed.flaw, &able)?;
        self.refuse(|able| able.check_message(&message))?;
        if !self.has(Flaw::LeavesNumbersAsTheyAre)
            && let Some(headers) = messages::as_text(&message.headers, &able)?
        {
            message.headers = headers;
        }
        if self.swallows(&message) {
            return Ok(stored());
        }
        let inner = self.inner.clone();
        if self.is_blocked() {
            if self.has(Flaw::SendsWhatItRefuses) {
                drop(inner.publish(message).await?);
            }
            return Err(Error::new(ErrorKind::Overloaded, "flawed publish").with_sent(Sent::No));
        }
        if self.has(Flaw::PublishesWhenAwaited) {
            return Ok(Pending::later(async move { inner.publish(message).await?.await }));
        }
        let place = match self.flawed.flaw {
            Some(Flaw::UnawaitedOutcomesHoldRoom) => {
                Arc::clone(&self.room).acquire_owned().await.ok()
            }
            _ => None,
        };
        match (self.flawed.flaw, inner.publish(message).await) {
            (Some(Flaw::OkWhenNotSent), Err(err)) if err.kind() == ErrorKind::Disconnected => {
                Ok(stored())
            }
            (Some(Flaw::WaitsForEverWhenNotSent), Err(err))
                if err.kind() == ErrorKind::Disconnected =>
            {
                std::future::pending().await
            }
            (Some(Flaw::OkAfterTheClose), Err(err)) if err.kind() == ErrorKind::Closed => {
                Ok(stored())
            }
            (Some(Flaw::LiesAboutWhatWasSent), Err(err)) if err.is_transient() => {
                Err(err.with_sent(Sent::Yes))
            }
            (Some(Flaw::ClaimsLessThanItKnows), Ok(pending)) => {
                Ok(Pending::later(async { pending.await.map(|_| Receipt::Accepted) }))
            }
            (Some(Flaw::PositionsStandStill), Ok(pending)) => Ok(Pending::later(async {
                pending.await?;
                stored().await
            })),
            // One in fifty: each turn behind everyone else costs time.
            (Some(Flaw::FlushesNothing), Ok(pending))
                if self.opened.fetch_add(1, Ordering::Relaxed) % 50 == 49 =>
            {
                Ok(Pending::later(async {
                    second_poll().await;
                    pending.await
                }))
            }
            (Some(Flaw::UnawaitedOutcomesHoldRoom), Ok(pending)) => Ok(Pending::later(async {
                let _place = place;
                pending.await
            })),
            (_, other) => other,
        }
    }

    async fn flush(&self) -> Result<()> {
        match self.flawed.flaw {
            Some(Flaw::ForgetsWhatNobodyRead) => {
                self.inner.flush().await.or_else(|err| match err.kind() {
                    ErrorKind::WrongPosition => Ok(()),
                    _ => Err(err),
                })
            }
            // Of `FlushesNothing`, too: its answers come later than those of what it stands on.
            _ => self.inner.flush().await,
        }
    }
}

/// Ends when it is polled again, which is soon.
async fn second_poll() {
    let mut polled = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What it says of what it has not stored.
fn stored() -> Pending<Receipt> {
    Pending::ready(Ok(Receipt::Persisted(Position::new("memory", 0))))
}

impl Subscribe for FlawedBackend {
    async fn subscribe(&self, mut wanted: Subscription) -> Result<Incoming<Message>> {
        let elsewhere = wanted.clone();
        let Subscription { patterns, group, start, .. } = &mut wanted;
        self.misread(patterns, group.as_mut(), start)?;
        self.refuse(|able| able.check_subscription(&wanted))?;
        match self.flawed.flaw {
            Some(Flaw::HangsOnceFrozen) if self.is_frozen() => std::future::pending().await,
            Some(Flaw::NeverRegisters) => wanted.patterns = vec![Pattern::parse("nothing")?],
            Some(Flaw::SubscribesOnce) => {
                let mut seen = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                if !seen.insert(format!("{:?} {:?}", wanted.scope, wanted.patterns)) {
                    return Err(Error::new(ErrorKind::Conflict, "flawed subscribe"));
                }
            }
            Some(Flaw::SubscribersShare) => {
                wanted.group.get_or_insert(Queue::parse("everyone")?);
            }
            Some(Flaw::IgnoresTheGroup) => wanted.group = None,
            Some(Flaw::IgnoresTheBytes) => wanted.buffer.bytes = usize::MAX,
            Some(Flaw::IgnoresTheOverflow) => wanted.buffer.overflow = Overflow::DropNewest,
            Some(Flaw::TheSlowestSetsThePace) => wanted.buffer.overflow = Overflow::Block,
            Some(Flaw::MixesScopes) => wanted.scope = None,
            Some(Flaw::DeliversOncePerPattern) if wanted.patterns.len() > 1 => {
                return intakes::once_per_pattern(&self.inner, wanted).await;
            }
            // Often enough for who subscribes often.
            Some(Flaw::RegistersLater) if self.opened.fetch_add(1, Ordering::Relaxed) >= 150 => {
                let inner = self.inner.clone();
                return Ok(intakes::registered_later(async move { inner.subscribe(wanted).await }));
            }
            _ => {}
        }
        let bytes = wanted.buffer.bytes;
        let incoming = match self.inner.subscribe(wanted).await {
            Err(_) if self.has(Flaw::TakesAnyPosition) => {
                self.inner.subscribe(elsewhere.with_start(Start::New)).await?
            }
            opened => opened?,
        };
        let incoming = intakes::spoiled(incoming, self.flawed.flaw, bytes);
        Ok(self.ends.spoiled(incoming, self.flawed.flaw))
    }
}

impl Consume for FlawedBackend {
    async fn consume(&self, mut wanted: Consumption) -> Result<Incoming<Delivery>> {
        let elsewhere = wanted.clone();
        let Consumption { patterns, queue, start, .. } = &mut wanted;
        self.misread(patterns, Some(queue), start)?;
        self.refuse(|able| able.check_consumption(&wanted))?;
        let opened = || self.opened.fetch_add(1, Ordering::Relaxed);
        match self.flawed.flaw {
            Some(Flaw::IgnoresThePrefetch) => wanted.prefetch = 64,
            Some(Flaw::IgnoresTheLifetime) => wanted.lifetime = Lifetime::Durable,
            Some(Flaw::QueuesGoWithTheirConsumers) => wanted.lifetime = Lifetime::UntilUnused,
            Some(Flaw::IgnoresExclusive) => wanted.exclusive = false,
            Some(Flaw::MixesScopes) => wanted.scope = None,
            Some(Flaw::EachConsumerHasAQueue) => {
                wanted.queue = Queue::parse(&format!("{} {}", wanted.queue.as_str(), opened()))?;
            }
            Some(Flaw::OneQueuePerPattern) => {
                wanted.queue = Queue::parse(&format!("{:?}", wanted.patterns))?;
            }
            Some(Flaw::RegistersQueuesLater) if opened() >= 100 => {
                let (inner, how) = (self.inner.clone(), self.flawed);
                let opening = async move { inner.consume(wanted).await };
                return Ok(deliveries::spoiled(intakes::registered_later(opening), how));
            }
            _ => {}
        }
        let incoming = match self.inner.consume(wanted).await {
            Err(_) if self.has(Flaw::TakesAnyPosition) => {
                self.inner.consume(elsewhere.with_start(Start::New)).await?
            }
            opened => opened?,
        };
        let incoming = deliveries::spoiled(incoming, self.flawed);
        Ok(self.ends.spoiled(incoming, self.flawed.flaw))
    }

    async fn declare(&self, mut wanted: Consumption) -> Result<QueueStatus> {
        let Consumption { patterns, queue, start, .. } = &mut wanted;
        self.misread(patterns, Some(queue), start)?;
        self.refuse(|able| able.check_consumption(&wanted))?;
        match self.flawed.flaw {
            Some(Flaw::DeclaresNothing) => {
                return Ok(QueueStatus::new().with_messages(0).with_consumers(0));
            }
            Some(Flaw::IgnoresTheLifetime) => wanted.lifetime = Lifetime::Durable,
            Some(Flaw::QueuesGoWithTheirConsumers) => wanted.lifetime = Lifetime::UntilUnused,
            Some(Flaw::MixesScopes) => wanted.scope = None,
            Some(Flaw::OneQueuePerPattern) => {
                wanted.queue = Queue::parse(&format!("{:?}", wanted.patterns))?;
            }
            _ => {}
        }
        Ok(self.miscounted(self.inner.declare(wanted).await?))
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        let mut queue = queue.clone();
        self.misread(&mut Vec::new(), Some(&mut queue), &mut Start::New)?;
        if self.has(Flaw::MakesTheQueueItLooksFor) {
            let wanted = Consumption::new(queue, Pattern::parse("nothing")?);
            return self.inner.declare(wanted).await;
        }
        Ok(self.miscounted(self.inner.inspect(&queue).await?))
    }
}

impl Request for FlawedBackend {
    async fn request(&self, mut message: Message) -> Result<Incoming<Message>> {
        if self.has(Flaw::TakesAForeignReplyAddress) {
            message.reply_to = None;
        }
        self.refuse(|able| able.check_message(&message))?;
        let replies = self.inner.request(message).await?;
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match self.flawed.flaw {
            Some(Flaw::MixesUpReplies) => {
                let (replies, kept) = intakes::shared(replies, before.take());
                *before = Some(kept);
                replies
            }
            Some(Flaw::CrossesReplies) => intakes::crossed(replies, &mut before),
            Some(Flaw::TakesOneReply) => intakes::only_one(replies),
            Some(Flaw::RequestsHearOfNoFault) => intakes::deaf(replies, |event| match event {
                Ok(event) => !matches!(event, Event::Item(_)),
                Err(err) => err.kind() != ErrorKind::NoResponders,
            }),
            Some(Flaw::HidesThatNobodyListens) => tap(replies, |event| match event {
                Err(err) if err.kind() == ErrorKind::NoResponders => vec![Ok(Event::Lost(1))],
                other => vec![other],
            }),
            Some(Flaw::KnowsThatNobodyListens) => replies,
            _ if self.flawed.claims.capabilities().request < Requests::NoResponders => {
                intakes::deaf(
                    replies,
                    |event| matches!(event, Err(err) if err.kind() == ErrorKind::NoResponders),
                )
            }
            _ => replies,
        })
    }
}

impl Link for FlawedBackend {
    fn watch(&self) -> Incoming<()> {
        let watch = self.inner.watch();
        match self.flawed.flaw {
            Some(Flaw::HidesTheLink) => tap(watch, |event| match event {
                Ok(Event::Down) => vec![],
                other => vec![other],
            }),
            Some(Flaw::WatchesStartLater) => {
                let mut first = true;
                tap(watch, move |event| match std::mem::take(&mut first) {
                    true => vec![],
                    false => vec![event],
                })
            }
            Some(Flaw::AWatchThatEndsClosesTheLink) => intakes::closing(watch, self.inner.clone()),
            _ => watch,
        }
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        match self.flawed.flaw {
            Some(Flaw::DrainCutsHandlers) => {
                self.inner.drain(Duration::ZERO).await.or_else(|err| match err.kind() {
                    ErrorKind::Timeout if !within.is_zero() => Ok(()),
                    _ => Err(err),
                })
            }
            Some(Flaw::DrainsForEver) => self.inner.drain(Duration::from_secs(3600)).await,
            Some(Flaw::DrainsOnceUp) => {
                let mut watch = self.inner.watch();
                while let Some(Ok(Event::Down)) = watch.next().await {}
                self.inner.drain(within).await
            }
            Some(Flaw::DrainsWhileAwaited) => {
                second_poll().await;
                self.inner.drain(within).await
            }
            Some(Flaw::EndsDiscard) => {
                self.ends.discard();
                self.inner.drain(within).await
            }
            Some(Flaw::ClosesOnce) if self.inner.watch().next().await.is_none() => {
                Err(Error::new(ErrorKind::Closed, "flawed drain"))
            }
            _ => self.inner.drain(within).await,
        }
    }
}
