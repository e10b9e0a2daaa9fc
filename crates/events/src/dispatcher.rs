//! Emitting events.
use std::{fmt, sync::Arc, time::SystemTime};

use serde::Serialize;
use sinew_core::{
    AnyBackend, AnyPublisher, Backend as _, Capabilities, Confirm, HeaderCarriage, Message, Need,
    Property, Publish as _, QueueAddressing, Receipt, Result, Scopes,
};

use crate::{
    CallId, ContextData, EmitOptions, Encoded, HeaderPrefix, PayloadError, PayloadOptions, Profile,
    Source, id::Id, stats::EmitMeter,
};

/// Emits the events of one service: from anywhere, or by [`Context::emit`](crate::Context::emit) from its handlers.
///
/// Cloning it shares it.
#[derive(Clone)]
pub struct EventDispatcher(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    source: Source,
    publisher: AnyPublisher,
    capabilities: Capabilities,
    profile: Profile,
    payload: PayloadOptions,
    options: EmitOptions,
    prefix: HeaderPrefix,
    calls_tracked: usize,
    context: ContextData,
    meter: Arc<EmitMeter>,
}

impl EventDispatcher {
    /// How many parents of a call go on with what it emits, as in nameko.
    pub(crate) const CALLS_TRACKED: usize = 10;

    /// Emits for the service called `source`, over `backend`.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](sinew_core::ErrorKind::InvalidName) as [`Source::parse`] has it; [`Unsupported`](sinew_core::ErrorKind::Unsupported) for a backend that does not publish,
    /// or has no scopes or no headers.
    pub fn new(backend: &AnyBackend, source: &str) -> Result<Self> {
        Self::of(backend.publisher()?, Source::parse(source)?)
    }

    pub(crate) fn of(publisher: AnyPublisher, source: Source) -> Result<Self> {
        let capabilities = publisher.capabilities();
        capabilities.require(Need::Confirm(Confirm::Buffered), "emit through another backend")?;
        capabilities.require(Need::Scopes(Scopes::Prefix), "emit through another backend")?;
        capabilities
            .require(Need::Headers(HeaderCarriage::Text), "emit through another backend")?;
        let meter = Arc::new(EmitMeter::new(source.as_str()));
        Ok(Self(Arc::new(Shared {
            source,
            publisher,
            capabilities,
            profile: Profile::default(),
            payload: PayloadOptions::default(),
            options: EmitOptions::default(),
            prefix: HeaderPrefix::default(),
            calls_tracked: Self::CALLS_TRACKED,
            context: ContextData::default(),
            meter,
        })))
    }

    /// With [`Profile::Nameko`] events have neither id nor time. Default: [`Profile::Safe`].
    #[must_use]
    pub fn with_profile(self, profile: Profile) -> Self {
        self.change(|shared| shared.profile = profile)
    }

    /// Writes payloads so. Default: JSON, as [`PayloadOptions::default`].
    #[must_use]
    pub fn with_payload(self, payload: PayloadOptions) -> Self {
        self.change(|shared| shared.payload = payload)
    }

    /// Emits so, where an emit says nothing else.
    #[must_use]
    pub fn with_options(self, options: EmitOptions) -> Self {
        self.change(|shared| shared.options = options)
    }

    /// What stands before the keys of the context in the names of headers. Default: `nameko`.
    #[must_use]
    pub fn with_header_prefix(self, prefix: HeaderPrefix) -> Self {
        self.change(|shared| shared.prefix = prefix)
    }

    /// How many parents of a call go on with what it emits: of a handler's, as nothing else is a call. Default: 10.
    #[must_use]
    pub(crate) fn with_calls_tracked(self, calls: usize) -> Self {
        self.change(|shared| shared.calls_tracked = calls)
    }

    /// Says this of what caused the events that are emitted outside of a handler. Default: nothing, as nameko's standalone
    /// dispatcher.
    #[must_use]
    pub fn with_context(self, context: ContextData) -> Self {
        self.change(|shared| shared.context = context)
    }

    /// Whose events it emits.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Emits an event, and waits for the broker's answer.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`](sinew_core::ErrorKind::InvalidPayload) for what cannot be written; [`InvalidSubject`](sinew_core::ErrorKind::InvalidSubject) for a type that is too long;
    /// else as [`Publish::publish`](sinew_core::Publish::publish) and its outcome have them. It is never emitted again:
    /// where [`Error::sent`](sinew_core::Error::sent) is [`Maybe`](sinew_core::Sent::Maybe), it may have arrived, and a
    /// second emit with the same [id](EmitOptions::with_message_id) is known as one by handlers that de-duplicate.
    ///
    /// # Cancel safety
    ///
    /// Dropped before hand-over it has sent nothing, after it the event is on its way.
    pub async fn emit<P: Serialize + Sync + ?Sized>(
        &self,
        event_type: &str,
        payload: &P,
    ) -> Result<Receipt> {
        self.emit_for(event_type, self.encode(payload), &EmitOptions::default(), None).await
    }

    /// The same, otherwise than this dispatcher has it.
    ///
    /// # Errors
    ///
    /// As [`EventDispatcher::emit`] has them; [`Unroutable`](sinew_core::ErrorKind::Unroutable) where the event must be routed and is not;
    /// [`Unsupported`](sinew_core::ErrorKind::Unsupported) for an option that the backend does not carry.
    ///
    /// # Cancel safety
    ///
    /// As [`EventDispatcher::emit`].
    pub async fn emit_with<P: Serialize + Sync + ?Sized>(
        &self,
        event_type: &str,
        payload: &P,
        options: &EmitOptions,
    ) -> Result<Receipt> {
        self.emit_for(event_type, self.encode(payload), options, None).await
    }

    /// Ends when all that was emitted before, through any clone, is answered.
    ///
    /// # Errors
    ///
    /// The first failure of an emit that did not wait for its answer, or the link's.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn flush(&self) -> Result<()> {
        self.0.publisher.flush().await
    }

    /// Emits a payload that is written already.
    ///
    /// # Errors
    ///
    /// As [`EventDispatcher::emit_with`] has them.
    ///
    /// # Cancel safety
    ///
    /// As [`EventDispatcher::emit`].
    pub async fn emit_encoded(
        &self,
        event_type: &str,
        payload: Encoded,
        options: &EmitOptions,
    ) -> Result<Receipt> {
        self.emit_for(event_type, Ok(payload), options, None).await
    }

    /// Emits for the run of a handler, if it is one's.
    pub(crate) async fn emit_for(
        &self,
        event_type: &str,
        payload: Result<Encoded, PayloadError>,
        options: &EmitOptions,
        cause: Option<(&ContextData, &CallId)>,
    ) -> Result<Receipt> {
        let emitted = self.publish(event_type, payload, options, cause).await;
        self.0.meter.emitted(&emitted);
        emitted
    }

    async fn publish(
        &self,
        event_type: &str,
        payload: Result<Encoded, PayloadError>,
        options: &EmitOptions,
        cause: Option<(&ContextData, &CallId)>,
    ) -> Result<Receipt> {
        let options = options.or(&self.0.options)?;
        let confirm = options.confirm.unwrap_or(true);
        let message = self.message(event_type, payload?, options, cause)?;
        let answer = self.0.publisher.publish(message).await?;
        match confirm {
            true => answer.await,
            false => Ok(Receipt::Buffered),
        }
    }

    fn message(
        &self,
        event_type: &str,
        mut payload: Encoded,
        options: EmitOptions,
        cause: Option<(&ContextData, &CallId)>,
    ) -> Result<Message> {
        let shared = &*self.0;
        payload.check()?;
        if let Some(compression) = options.compression {
            payload = payload.compressed(compression)?;
        }
        let mut message = payload.into_message(shared.source.address(event_type)?)?;
        // What the payload says of itself wins over what is asked for, and the context over both.
        let own = std::mem::replace(&mut message.headers, options.headers);
        for (name, value) in own.iter() {
            message.headers.insert(name, value.clone())?;
        }
        match cause {
            Some((data, own)) => {
                data.write(&mut message.headers, &shared.prefix, own, shared.calls_tracked)?;
            }
            None => shared.context.write_keys(&mut message.headers, &shared.prefix)?,
        }
        let carries = |property| shared.capabilities.properties.has(property);
        let is_safe = shared.profile == Profile::Safe;
        let fresh = || (is_safe && carries(Property::Id)).then(|| Id::fresh().to_string());
        let properties = message.properties_mut();
        properties.must_route = options.must_route.unwrap_or(false);
        properties.ttl = options.expiration;
        properties.correlation_id = options.correlation_id;
        properties.id = options.message_id.or_else(fresh);
        properties.timestamp = (is_safe && carries(Property::Timestamp)).then(SystemTime::now);
        properties.priority = options.priority.or_else(|| carries(Property::Priority).then_some(0));
        properties.durable = options.durable.or_else(|| carries(Property::Durable).then_some(true));
        Ok(message)
    }

    /// Whether a message may be sent straight to a queue.
    pub(crate) fn addresses_queues(&self) -> bool {
        self.0.capabilities.queue_addressing != QueueAddressing::None
    }

    /// Writes a payload as this dispatcher does.
    pub(crate) fn encode<P: Serialize + ?Sized>(
        &self,
        payload: &P,
    ) -> Result<Encoded, PayloadError> {
        self.0.payload.encode(payload)
    }

    fn change(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Debug for EventDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDispatcher")
            .field("source", &self.0.source.as_str())
            .field("backend", &self.0.capabilities.backend)
            .field("profile", &self.0.profile)
            .finish_non_exhaustive()
    }
}
