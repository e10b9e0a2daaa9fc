//! Layers around a handler that come with the crate. Any layer of tower's does as well.
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use sinew_core::BoxFuture;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument as _, Span};

use crate::{
    HandlerError, Invocation, Returned,
    any_handler::{BoxError, unboxed},
    trace::TARGET,
};

type Run = BoxFuture<'static, Result<Returned, HandlerError>>;

/// Ends a run that takes longer, as a failure that is tried again.
///
/// The handler is dropped; one that [blocks](crate::blocking()) goes on in its thread, beside the next run, and is told by its
/// context.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer(Duration);

impl TimeoutLayer {
    /// No run takes longer than `limit`.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self(limit)
    }
}

/// Lets no more than so many runs through at once; the others wait, each holding its delivery.
///
/// Shared between the handlers that it is put around: a limit over several of them. For one handler alone,
/// [`EventHandler::with_concurrency`](crate::EventHandler::with_concurrency) leaves its events to other members meanwhile.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer(Arc<Semaphore>);

impl ConcurrencyLayer {
    /// No more than `limit` at once; 0 counts as 1.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

/// Runs again what has failed, after each of a few pauses, unless it has failed [for good](HandlerError::permanent) or
/// panicked. Its service and its [`Context`](crate::Context) know of one run; the delivery and its worker are held meanwhile.
///
/// So it is for what passes within moments, and for [`Profile::Nameko`](crate::Profile::Nameko), which has no retries of its
/// own. A [`TimeoutLayer`] inside of it bounds each try, one outside of it all of them. In
/// [`Profile::Safe`](crate::Profile::Safe) the last failure meets the handler's [`RetryPolicy`](crate::RetryPolicy), which runs
/// it all again: once, with `with_immediate(0)`.
#[derive(Clone, Debug)]
pub struct RetryLayer(Arc<[Duration]>);

impl RetryLayer {
    /// Once more after each of `pauses`; none is no retry.
    #[must_use]
    pub fn new(pauses: impl IntoIterator<Item = Duration>) -> Self {
        Self(pauses.into_iter().collect())
    }
}

/// Puts each run into a span of the user's making, in that which the service makes of the event.
#[derive(Clone, Copy, Debug)]
pub struct TracingLayer<F>(F);

impl<F: Fn(&Invocation) -> Span> TracingLayer<F> {
    /// Into the span that `make` makes of it.
    pub const fn new(make: F) -> Self {
        Self(make)
    }
}

/// A handler inside one of this crate's layers.
#[derive(Clone, Debug)]
pub struct Layered<S, L> {
    inner: S,
    layer: L,
}

impl<S: Clone, L> Layered<S, L> {
    /// The one that was asked whether it is ready: it is the one to call.
    fn take_ready(&mut self) -> S {
        let next = self.inner.clone();
        std::mem::replace(&mut self.inner, next)
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Layered<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered { inner, layer: *self }
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Layered<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered { inner, layer: self.clone() }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Layered<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered { inner, layer: self.clone() }
    }
}

impl<S, F: Clone> Layer<S> for TracingLayer<F> {
    type Service = Layered<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered { inner, layer: self.clone() }
    }
}

impl<S> Service<Invocation> for Layered<S, TimeoutLayer>
where
    S: Service<Invocation, Response = Returned>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Returned;
    type Error = HandlerError;
    type Future = Run;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(unboxed)
    }

    fn call(&mut self, invocation: Invocation) -> Run {
        let limit = self.layer.0;
        let running = self.inner.call(invocation);
        Box::pin(async move {
            match timeout(limit, running).await {
                Ok(ended) => ended.map_err(unboxed),
                Err(_) => Err(HandlerError::new(format!("not done within {limit:?}"))),
            }
        })
    }
}

impl<S> Service<Invocation> for Layered<S, ConcurrencyLayer>
where
    S: Service<Invocation, Response = Returned> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Returned;
    type Error = HandlerError;
    type Future = Run;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(unboxed)
    }

    fn call(&mut self, invocation: Invocation) -> Run {
        let (room, mut inner) = (Arc::clone(&self.layer.0), self.take_ready());
        Box::pin(async move {
            let _running = room.acquire_owned().await;
            inner.call(invocation).await.map_err(unboxed)
        })
    }
}

impl<S> Service<Invocation> for Layered<S, RetryLayer>
where
    S: Service<Invocation, Response = Returned> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Returned;
    type Error = HandlerError;
    type Future = Run;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(unboxed)
    }

    fn call(&mut self, mut invocation: Invocation) -> Run {
        let (pauses, mut inner) = (Arc::clone(&self.layer.0), self.take_ready());
        Box::pin(async move {
            for pause in &*pauses {
                let again = invocation.try_clone();
                match (inner.call(invocation).await.map_err(unboxed), again) {
                    (Err(err), Some(again)) if !err.is_permanent() => {
                        let (handler, error) = (again.context.handler().as_str(), err.to_string());
                        tracing::warn!(target: TARGET, handler, error, ?pause, "run failed; made again");
                        invocation = again;
                    }
                    (ended, _) => return ended,
                }
                sleep(*pause).await;
                poll_fn(|cx| inner.poll_ready(cx)).await.map_err(unboxed)?;
            }
            inner.call(invocation).await.map_err(unboxed)
        })
    }
}

impl<S, F> Service<Invocation> for Layered<S, TracingLayer<F>>
where
    S: Service<Invocation, Response = Returned>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    F: Fn(&Invocation) -> Span,
{
    type Response = Returned;
    type Error = HandlerError;
    type Future = Run;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(unboxed)
    }

    fn call(&mut self, invocation: Invocation) -> Run {
        let span = (self.layer.0)(&invocation);
        let running = span.in_scope(|| self.inner.call(invocation));
        Box::pin(async move { running.await.map_err(unboxed) }.instrument(span))
    }
}
