//! A handler with its type erased, as layers see it: a tower service from an invocation to what the handler returned.
use std::{
    any::Any,
    error::Error as StdError,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll},
};

use sinew_core::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Context, HandlerError};

/// One run of a handler: what it is told, and what it is to handle.
#[derive(Debug)]
#[non_exhaustive]
pub struct Invocation {
    /// What the handler is told beside the payload.
    pub context: Context,
    payload: Box<dyn Any + Send>,
}

impl Invocation {
    pub(crate) fn new(context: Context, payload: Box<dyn Any + Send>) -> Self {
        Self { context, payload }
    }

    /// The payload, where it is of this type: that which the handler takes.
    #[must_use]
    pub fn payload<T: 'static>(&self) -> Option<&T> {
        self.payload.downcast_ref()
    }

    /// The same, to change.
    pub fn payload_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.payload.downcast_mut()
    }

    pub(crate) fn into_parts<T: 'static>(self) -> Option<(Context, T)> {
        let payload = self.payload.downcast().ok()?;
        Some((self.context, *payload))
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
