//! Handlers that block, kept off the runtime's own threads.
use std::{panic::resume_unwind, sync::Arc};

use sinew_core::BoxFuture;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{Context, HandlerError};

/// Makes a handler of a closure that blocks: that computes, or calls a database without `await`.
///
/// ```
/// use sinew_events::{Context, EventHandler, HandlerError, blocking};
///
/// let handler = EventHandler::new("orders", "created", "on_created", blocking(|_: Context, id: u64| {
///     std::thread::sleep(std::time::Duration::from_millis(10)); // a printer that takes its time
///     Ok::<_, HandlerError>(id)
/// }));
/// ```
///
/// Each run has a thread of tokio's pool for blocking work. A thread cannot be ended from outside: a run that was given up goes
/// on unless it looks at [`Context::is_cancelled`], and counts as one of the service's workers until it returns, so threads do
/// not pile up.
///
/// Two runs of one event may overlap: one that a [`TimeoutLayer`](crate::TimeoutLayer) has ended goes on in its thread while
/// the event is run again, here or elsewhere. And a runtime that is dropped, as that of `#[tokio::main]` is at its end, waits
/// for such threads, however long: a program that must end makes its runtime itself, and ends it with
/// `Runtime::shutdown_background`.
pub fn blocking<Payload, Value, Failure>(
    handler: impl Fn(Context, Payload) -> Result<Value, Failure> + Send + Sync + 'static,
) -> impl Fn(Context, Payload) -> BoxFuture<'static, Result<Value, HandlerError>> + Send + Sync + 'static
where
    Payload: Send + 'static,
    Value: Send + 'static,
    Failure: Into<HandlerError> + 'static,
{
    let handler = Arc::new(handler);
    move |context: Context, payload: Payload| {
        let handler = Arc::clone(&handler);
        let (permit, token) = match context.attachment() {
            Some(attachment) => (attachment.permit.upgrade(), attachment.cancelled.clone()),
            None => Default::default(),
        };
        Box::pin(async move {
            let mut work = OnDrop {
                token: token.clone(),
                thread: Some(spawn_blocking(move || {
                    let _counted = permit;
                    match token.is_cancelled() {
                        true => Err(HandlerError::new("no thread was free in time")),
                        false => handler(context, payload).map_err(Into::into),
                    }
                })),
            };
            let Some(thread) = &mut work.thread else { return Err(HandlerError::new("no thread")) };
            let ended = thread.await;
            work.thread = None;
            match ended {
                Ok(result) => result,
                Err(err) if err.is_panic() => resume_unwind(err.into_panic()),
                Err(_) => Err(HandlerError::new("its runtime shuts down")),
            }
        })
    }
}

/// What has not begun when nobody waits for it any more does not begin; what has is told.
struct OnDrop<T> {
    token: CancellationToken,
    /// Gone once it has ended.
    thread: Option<JoinHandle<T>>,
}

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        if let Some(thread) = &self.thread {
            self.token.cancel();
            thread.abort();
        }
    }
}
