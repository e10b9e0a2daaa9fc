//! A handler with its type erased, as layers see it: a tower service from an invocation to what the handler returned.
use std::{
    any::Any,
    cell::OnceCell,
    error::Error as StdError,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll},
};

use serde::de::DeserializeOwned;
use sinew_core::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Body, Context, HandlerError, PayloadError};

/// One run of a handler: what it is told, and what it is to handle.
#[non_exhaustive]
pub struct Invocation {
    /// What the handler is told beside the payload.
    pub context: Context,
    body: Body,
    decode: Decode,
    /// Read from the body once somebody looks.
    payload: OnceCell<Decoded>,
    is_changed: bool,
}

pub(crate) type Decode = fn(&Body) -> Decoded;
pub(crate) type Decoded = Result<Box<dyn Any + Send>, PayloadError>;

/// What reads a payload for a handler that takes it as this type.
pub(crate) fn decode<Payload: DeserializeOwned + Send + 'static>(body: &Body) -> Decoded {
    Ok(Box::new(body.decode::<Payload>()?))
}

impl Invocation {
    /// A run of a handler that takes a `Payload`, for a test of a layer; a service makes its own.
    ///
    /// # Errors
    ///
    /// Why `body` cannot be read as one.
    pub fn new<Payload: DeserializeOwned + Send + 'static>(
        context: Context,
        body: Body,
    ) -> Result<Self, PayloadError> {
        let payload = decode::<Payload>(&body)?;
        Ok(Self::decoded(context, body, decode::<Payload>, payload))
    }

    /// The same, of what is read already.
    pub(crate) fn decoded(
        context: Context,
        body: Body,
        decode: Decode,
        payload: Box<dyn Any + Send>,
    ) -> Self {
        Self { context, body, decode, payload: OnceCell::from(Ok(payload)), is_changed: false }
    }

    /// The same run once more, for layers that make it again: what tower's retry `Policy::clone_request` asks for. It
    /// copies no bytes; its payload is read anew if anyone looks at it, as no payload need be `Clone`. So there is none once
    /// [`Invocation::payload_mut`] was called: put what changes a payload inside of what runs it again.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        (!self.is_changed).then(|| Self {
            context: self.context.clone(),
            body: self.body.clone(),
            decode: self.decode,
            payload: OnceCell::new(),
            is_changed: false,
        })
    }

    /// The payload, where it is of this type: that which the handler takes.
    #[must_use]
    pub fn payload<T: 'static>(&self) -> Option<&T> {
        self.payload.get_or_init(|| (self.decode)(&self.body)).as_ref().ok()?.downcast_ref()
    }

    /// The same, to change.
    pub fn payload_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.payload::<T>()?;
        self.is_changed = true;
        self.payload.get_mut()?.as_mut().ok()?.downcast_mut()
    }

    pub(crate) fn into_parts<T: 'static>(self) -> Result<(Context, T), HandlerError> {
        let Self { context, body, decode, payload, .. } = self;
        let payload = payload.into_inner().unwrap_or_else(|| decode(&body))?;
        match payload.downcast() {
            Ok(payload) => Ok((context, *payload)),
            // It was decoded as what the handler takes; a layer can change it, not its type.
            Err(_) => Err(HandlerError::permanent("a payload of another type")),
        }
    }
}

/// Shows how long the payload is: what it says may be a secret.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("context", &self.context)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// What a handler returned.
pub struct Returned(Box<dyn Any + Send>);

impl Returned {
    /// Wraps what a handler, or a layer in its stead, returns.
    #[must_use]
    pub fn new(value: impl Any + Send) -> Self {
        Self(Box::new(value))
    }

    /// What it is, where it is of this type: that which the handler returns.
    #[must_use]
    pub fn value<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returned")
    }
}

/// What a layer wraps: always ready, and cheap to clone.
#[derive(Clone)]
pub struct AnyHandler(Arc<dyn HandlerDyn>);

trait HandlerDyn: Send + Sync {
    fn run(&self, invocation: Invocation) -> BoxFuture<'static, Result<Returned, HandlerError>>;
}

impl AnyHandler {
    /// Of a closure that needs no readiness.
    pub(crate) fn of_fn<F>(run: F) -> Self
    where
        F: Fn(Invocation) -> BoxFuture<'static, Result<Returned, HandlerError>>
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(OfFn(run)))
    }

    /// Wraps it into `layer`.
    pub(crate) fn within<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Invocation, Response = Returned> + Clone + Send + 'static,
        <L::Service as Service<Invocation>>::Error: Into<BoxError>,
        <L::Service as Service<Invocation>>::Future: Send,
    {
        Self(Arc::new(OfService(Mutex::new(layer.layer(self)))))
    }

    pub(crate) fn run(
        &self,
        invocation: Invocation,
    ) -> BoxFuture<'static, Result<Returned, HandlerError>> {
        self.0.run(invocation)
    }
}

impl Service<Invocation> for AnyHandler {
    type Response = Returned;
    type Error = HandlerError;
    type Future = BoxFuture<'static, Result<Returned, HandlerError>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        self.run(invocation)
    }
}

impl fmt::Debug for AnyHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHandler")
    }
}

struct OfFn<F>(F);

impl<F> HandlerDyn for OfFn<F>
where
    F: Fn(Invocation) -> BoxFuture<'static, Result<Returned, HandlerError>> + Send + Sync,
{
    fn run(&self, invocation: Invocation) -> BoxFuture<'static, Result<Returned, HandlerError>> {
        (self.0)(invocation)
    }
}

/// Cloned for each run, as a tower service is called through `&mut`; the lock is there as services need not be `Sync`.
struct OfService<S>(Mutex<S>);

impl<S> HandlerDyn for OfService<S>
where
    S: Service<Invocation, Response = Returned> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn run(&self, invocation: Invocation) -> BoxFuture<'static, Result<Returned, HandlerError>> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(unboxed)?;
            service.call(invocation).await.map_err(unboxed)
        })
    }
}

/// What layers of other crates make of an error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A handler's error on its way through layers that know boxed errors alone.
struct Boxed(HandlerError);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Boxed {}

impl From<HandlerError> for BoxError {
    fn from(err: HandlerError) -> Self {
        Box::new(Boxed(err))
    }
}

/// The handler's own error where it is one, else the layer's.
pub(crate) fn unboxed(err: impl Into<BoxError>) -> HandlerError {
    match err.into().downcast::<Boxed>() {
        Ok(boxed) => boxed.0,
        Err(other) => HandlerError::new(other),
    }
}
