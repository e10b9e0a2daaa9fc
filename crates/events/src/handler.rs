//! Which events come to which method of a service, and how.
use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;
use sinew_core::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AnyHandler, Context, HandlerError, HandlerKind, HeaderPrefix, Invocation, RetryPolicy,
    Returned,
    any_handler::{BoxError, Decode, decode},
    redact::Redacted,
};

/// A method of a service, and the events that it handles: nameko's `@event_handler`.
///
/// ```
/// use sinew_events::{Context, EventHandler, HandlerError, HandlerKind};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// let handler = EventHandler::new("orders", "created", "on_created", |ctx: Context, order: Order| async move {
///     ctx.emit("billed", &order.id).await?;
///     Ok::<_, HandlerError>(())
/// })
/// .with_kind(HandlerKind::ServicePool);
/// ```
///
/// The closure may return anything that is [`Send`]; it is seen by [result hooks](EventHandler::with_result_hook) and layers.
#[derive(Clone)]
pub struct EventHandler {
    pub(crate) source: Box<str>,
    pub(crate) event_type: Box<str>,
    pub(crate) method: Box<str>,
    pub(crate) kind: HandlerKind,
    pub(crate) is_reliable: bool,
    pub(crate) identifier: Option<Box<str>>,
    pub(crate) requeue_on_error: bool,
    pub(crate) concurrency: Option<usize>,
    pub(crate) prefetch: Option<u16>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) prefix: Option<HeaderPrefix>,
    pub(crate) redacted: Redacted,
    pub(crate) handler: AnyHandler,
    pub(crate) decode: Decode,
    pub(crate) is_expected: Expected,
}

type Expected = Arc<dyn Fn(&HandlerError) -> bool + Send + Sync>;

impl EventHandler {
    /// Handles the events of `event_type` that the service `source` emits, as `method` of the service that it is put into.
    ///
    /// The type may hold wildcards: words joined by dots, of which `*` is any one and `#` any number.
    #[must_use]
    pub fn new<F, Payload, Running, Value, Failure>(
        source: &str,
        event_type: &str,
        method: &str,
        handler: F,
    ) -> Self
    where
        F: Fn(Context, Payload) -> Running + Send + Sync + 'static,
        Payload: DeserializeOwned + Send + 'static,
        Running: Future<Output = Result<Value, Failure>> + Send + 'static,
        Value: Send + 'static,
        Failure: Into<HandlerError>,
    {
        let run = move |invocation: Invocation| -> BoxFuture<'static, _> {
            match invocation.into_parts::<Payload>() {
                Ok((context, payload)) => {
                    let running = handler(context, payload);
                    Box::pin(async move { running.await.map(Returned::new).map_err(Into::into) })
                }
                Err(err) => Box::pin(async { Err(err) }),
            }
        };
        Self {
            source: source.into(),
            event_type: event_type.into(),
            method: method.into(),
            kind: HandlerKind::default(),
            is_reliable: true,
            identifier: None,
            requeue_on_error: false,
            concurrency: None,
            prefetch: None,
            retry: None,
            prefix: None,
            redacted: Redacted::default(),
            handler: AnyHandler::of_fn(run),
            decode: decode::<Payload>,
            is_expected: Arc::new(|_| false),
        }
    }

    /// Who of several instances has each event. Default: [`HandlerKind::ServicePool`].
    #[must_use]
    pub fn with_kind(mut self, kind: HandlerKind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether its queue outlives its consumers, so that nothing is missed meanwhile. Where not, what fails for good is gone
    /// in either profile. Default: yes.
    ///
    /// A reliable broadcast needs an [identifier](EventHandler::with_broadcast_identifier).
    #[must_use]
    pub fn with_reliable_delivery(mut self, reliable: bool) -> Self {
        self.is_reliable = reliable;
        self
    }

    /// What tells this instance from the others of a broadcast: the same after a restart, another on each host. Default:
    /// a fresh one for each start, for a broadcast that is not reliable.
    #[must_use]
    pub fn with_broadcast_identifier(mut self, identifier: &str) -> Self {
        self.identifier = Some(identifier.into());
        self
    }

    /// Whether a failed event is requeued at once, as often as it fails, in [`Profile::Nameko`](crate::Profile::Nameko);
    /// [`Profile::Safe`](crate::Profile::Safe) refuses it, as it retries in its own way. Default: no.
    #[must_use]
    pub fn with_requeue_on_error(mut self, requeue: bool) -> Self {
        self.requeue_on_error = requeue;
        self
    }

    /// How many of its events are handled at once, of the service's workers; 0 counts as 1. Default: as many as there are
    /// workers.
    #[must_use]
    pub fn with_concurrency(mut self, limit: usize) -> Self {
        self.concurrency = Some(limit.max(1));
        self
    }

    /// How many of its events it is sent at most before the first of them is settled, as [`Service::with_prefetch`] has it.
    /// Default, `None`: as the service has it.
    ///
    /// [`Service::with_prefetch`]: crate::Service::with_prefetch
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: impl Into<Option<u16>>) -> Self {
        self.prefetch = prefetch.into();
        self
    }

    /// How its failures are tried again, in [`Profile::Safe`](crate::Profile::Safe). Default: as the service has it.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What stands before the keys of the context in the names of headers that it reads; what it emits has the service's, as in
    /// nameko. Default: as the service has it.
    #[must_use]
    pub fn with_header_prefix(mut self, prefix: HeaderPrefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Which failures are part of the game: they are logged as warnings, not as errors. What becomes of the event is the
    /// same. Default: none.
    #[must_use]
    pub fn with_expected_errors(
        mut self,
        is_expected: impl Fn(&HandlerError) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_expected = Arc::new(is_expected);
        self
    }

    /// Which parts of the payload are not shown where it is logged (at `trace` alone): keys joined by dots, of which an
    /// index is one, too, and `*` is any; the empty path is all of it. With any, what a
    /// panic says is not logged either (Rust's own hook still prints it to stderr). It is about what is received: AMQP's
    /// client logs what it emitted and the broker returned, payload and all, as warnings of the target
    /// `lapin::returned_messages`. Default: none.
    #[must_use]
    pub fn with_sensitive_arguments<'a>(
        mut self,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.redacted = Redacted::new(paths);
        self
    }

    /// Sees what each run of what was given so far has ended in, and may end it otherwise: nameko's `handle_result`. It sees
    /// no panic, and nothing of the layers that are added after it.
    #[must_use]
    pub fn with_result_hook(
        mut self,
        hook: impl Fn(&Context, Result<Returned, HandlerError>) -> Result<Returned, HandlerError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let (inner, hook) = (self.handler, Arc::new(hook));
        self.handler = AnyHandler::of_fn(move |invocation| {
            let (context, hook) = (invocation.context.clone(), Arc::clone(&hook));
            let running = inner.run(invocation);
            Box::pin(async move { hook(&context, running.await) })
        });
        self
    }

    /// Puts a layer around each run, outside of those that it has: this crate's, tower's, or your own, whose services are
    /// `Clone`. What makes a run again has it from [`Invocation::try_clone`].
    ///
    /// What is outside of all layers is fixed: an event is decoded, looked up if it was handled before, run (through the
    /// layers) and run again, put into the error queue.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AnyHandler>,
        L::Service: Service<Invocation, Response = Returned> + Clone + Send + 'static,
        <L::Service as Service<Invocation>>::Error: Into<BoxError>,
        <L::Service as Service<Invocation>>::Future: Send,
    {
        self.handler = self.handler.within(&layer);
        self
    }
}

impl fmt::Debug for EventHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHandler")
            .field("source", &self.source)
            .field("event_type", &self.event_type)
            .field("method", &self.method)
            .field("kind", &self.kind)
            .field("reliable", &self.is_reliable)
            .finish_non_exhaustive()
    }
}
