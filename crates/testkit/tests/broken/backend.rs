//! The memory adapter's five contracts, with one flaw.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sinew_adapter_memory::Memory;
use sinew_core::{
    Address, AnyBackend, AnyConsumer, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Backend,
    Capabilities, Consume, Consumption, Delivery, Error, ErrorKind, Event, Incoming, Lifetime,
    Link, Message, Pending, Position, Publish, Receipt, Request, Result, Sent, Start, Subscribe,
    Subscription,
};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{deliveries, flaw::Flaw, intakes, tap::tap};

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct FlawedBackend {
    inner: Memory,
    flaw: Option<Flaw>,
    /// What unawaited outcomes hold.
    room: Arc<Semaphore>,
    opened: Arc<AtomicU32>,
    /// The replies to the request before.
    before: Arc<Mutex<Option<Incoming<Message>>>>,
}

impl FlawedBackend {
    pub(crate) fn new(inner: Memory, flaw: Option<Flaw>) -> Self {
        let room = Arc::new(Semaphore::new(1500));
        Self { inner, flaw, room, opened: Arc::default(), before: Arc::default() }
    }

    pub(crate) fn into_any(self) -> AnyBackend {
        let backend = AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()));
        let backend = match self.flaw {
            Some(Flaw::HidesAContract) => backend,
            _ => backend.with_requester(AnyRequester::new(self.clone())),
        };
        backend.with_consumer(AnyConsumer::new(self))
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// What it makes of a message before it goes out.
    fn spoil(&self, mut message: Message) -> Message {
        match self.flaw {
            Some(Flaw::SwallowsHeaders) => {
                let last = message.headers.iter().last().map(|(name, _)| name.to_owned());
                last.and_then(|name| message.headers.remove(&name));
            }
            Some(Flaw::SwallowsAProperty) if message.properties().is_some() => {
                message.properties_mut().correlation_id = None;
            }
            Some(Flaw::IgnoresTheExpectedPosition) if message.properties().is_some() => {
                message.properties_mut().expected_position = None;
            }
            Some(Flaw::IgnoresTheTimeToLive) if message.properties().is_some() => {
                message.properties_mut().ttl = None;
            }
            Some(Flaw::IgnoresMustRoute) if message.properties().is_some() => {
                message.properties_mut().must_route = false;
            }
            Some(Flaw::MixesScopes) => {
                if let Address::Subject(scope, _) = &mut message.address {
                    *scope = None;
                }
            }
            Some(Flaw::CutsLargePayloads) => {
                let most = self.capabilities().max_payload.unwrap_or(usize::MAX);
                message.payload.truncate(most);
            }
            Some(Flaw::TrimsPayloads) => {
                message.payload = message.payload.slice_ref(message.payload.trim_ascii_end());
            }
            _ => {}
        }
        message
    }
}

impl Backend for FlawedBackend {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

impl Publish for FlawedBackend {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        if self.has(Flaw::NeedsItsRuntime) && Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Internal, "no reactor is running"));
        }
        let message = self.spoil(message);
        let inner = self.inner.clone();
        if self.has(Flaw::PublishesWhenAwaited) {
            return Ok(Pending::later(async move { inner.publish(message).await?.await }));
        }
        let place = match self.flaw {
            Some(Flaw::UnawaitedOutcomesHoldRoom) => {
                Arc::clone(&self.room).acquire_owned().await.ok()
            }
            _ => None,
        };
        match (self.flaw, inner.publish(message).await) {
            (Some(Flaw::OkWhenNotSent), Err(err)) if err.kind() == ErrorKind::Disconnected => {
                Ok(Pending::ready(Ok(Receipt::Persisted(Position::new("memory", 0)))))
            }
            (Some(Flaw::OkAfterTheClose), Err(err)) if err.kind() == ErrorKind::Closed => {
                Ok(Pending::ready(Ok(Receipt::Persisted(Position::new("memory", 0)))))
            }
            (Some(Flaw::LiesAboutWhatWasSent), Err(err)) if err.is_transient() => {
                Err(err.with_sent(Sent::Yes))
            }
            (Some(Flaw::ClaimsLessThanItKnows), Ok(pending)) => {
                Ok(Pending::later(async { pending.await.map(|_| Receipt::Accepted) }))
            }
            (Some(Flaw::FlushesNothing), Ok(pending)) => Ok(Pending::later(async {
                tokio::task::yield_now().await;
                pending.await
            })),
            (Some(Flaw::UnawaitedOutcomesHoldRoom), Ok(pending)) => Ok(Pending::later(async {
                let _place = place;
                pending.await
            })),
            (_, other) => other,
        }
    }

    async fn flush(&self) -> Result<()> {
        match self.flaw {
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

impl Subscribe for FlawedBackend {
    async fn subscribe(&self, mut wanted: Subscription) -> Result<Incoming<Message>> {
        match self.flaw {
            Some(Flaw::IgnoresTheStart) => wanted.start = Start::New,
            Some(Flaw::IgnoresTheGroup) => wanted.group = None,
            Some(Flaw::IgnoresTheBytes) => wanted.buffer.bytes = usize::MAX,
            Some(Flaw::IgnoresTheOverflow) => {
                wanted.buffer.overflow = sinew_core::Overflow::DropNewest;
            }
            Some(Flaw::MixesScopes) => wanted.scope = None,
            Some(Flaw::TakesHashForTail) => intakes::take_hash_for_tail(&mut wanted.patterns)?,
            Some(Flaw::DeliversOncePerPattern) if wanted.patterns.len() > 1 => {
                return intakes::once_per_pattern(&self.inner, wanted).await;
            }
            // Often enough for who subscribes often.
            Some(Flaw::RegistersLater) if self.opened.fetch_add(1, Ordering::Relaxed) >= 150 => {
                // What is refused is refused at once.
                self.capabilities().check_subscription(&wanted)?;
                return Ok(intakes::registered_later(self.inner.clone(), wanted));
            }
            _ => {}
        }
        let incoming = self.inner.subscribe(wanted).await?;
        Ok(intakes::spoiled(incoming, self.flaw))
    }
}

impl Consume for FlawedBackend {
    async fn consume(&self, mut wanted: Consumption) -> Result<Incoming<Delivery>> {
        match self.flaw {
            Some(Flaw::IgnoresThePrefetch) => wanted.prefetch = 64,
            Some(Flaw::IgnoresTheLifetime) => wanted.lifetime = Lifetime::Durable,
            Some(Flaw::IgnoresExclusive) => wanted.exclusive = false,
            Some(Flaw::MixesScopes) => wanted.scope = None,
            _ => {}
        }
        let incoming = self.inner.consume(wanted).await?;
        Ok(deliveries::spoiled(incoming, self.flaw))
    }
}

impl Request for FlawedBackend {
    async fn request(&self, mut message: Message) -> Result<Incoming<Message>> {
        if self.has(Flaw::TakesAForeignReplyAddress) {
            message.reply_to = None;
        }
        let replies = self.inner.request(message).await?;
        Ok(match self.flaw {
            Some(Flaw::MixesUpReplies) => {
                let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
                let (replies, kept) = intakes::shared(replies, before.take());
                *before = Some(kept);
                replies
            }
            Some(Flaw::TakesOneReply) => intakes::only_one(replies),
            Some(Flaw::HidesThatNobodyListens) => tap(replies, |event| match event {
                Err(err) if err.kind() == ErrorKind::NoResponders => vec![Ok(Event::Lost(1))],
                other => vec![other],
            }),
            _ => replies,
        })
    }
}

impl Link for FlawedBackend {
    fn watch(&self) -> Incoming<()> {
        let watch = self.inner.watch();
        match self.flaw {
            Some(Flaw::HidesTheLink) => tap(watch, |event| match event {
                Ok(Event::Down) => vec![],
                other => vec![other],
            }),
            Some(Flaw::AWatchThatEndsClosesTheLink) => intakes::closing(watch, self.inner.clone()),
            _ => watch,
        }
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        match self.flaw {
            Some(Flaw::DrainCutsHandlers) => {
                self.inner.drain(Duration::ZERO).await.or_else(|err| match err.kind() {
                    ErrorKind::Timeout if !within.is_zero() => Ok(()),
                    _ => Err(err),
                })
            }
            Some(Flaw::DrainsForEver) => self.inner.drain(Duration::from_secs(3600)).await,
            Some(Flaw::ClosesOnce) if self.inner.watch().next().await.is_none() => {
                Err(Error::new(ErrorKind::Closed, "flawed drain"))
            }
            _ => self.inner.drain(within).await,
        }
    }
}
