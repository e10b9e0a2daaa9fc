//! Handlers that block, kept off the runtime's own threads.
use std::{panic::resume_unwind, sync::Arc};

use sinew_core::{BoxFuture, IntoPayload};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{AgentError, Context};

/// Makes an agent of a handler that blocks: that sleeps, computes, or waits for a device.
///
/// ```
/// use sinew_dispatch::{AnyAgent, Context, blocking};
///
/// let prober = AnyAgent::new("prober", blocking(|_: Context, die: String| {
///     std::thread::sleep(std::time::Duration::from_millis(10)); // a device that takes its time
///     Ok(format!("{die} measured"))
/// }))?
/// .with_concurrency(4);
/// # Ok::<(), sinew_core::Error>(())
/// ```
///
/// Each call has a thread of tokio's pool for blocking work. A thread cannot be ended from outside: a handler whose ask
/// is over goes on unless it looks at [`Context::is_cancelled`], and counts against the agent's
/// [concurrency](crate::AnyAgent::with_concurrency) until it returns, so threads do not pile up.
pub fn blocking<Request, Reply>(
    handler: impl Fn(Context, Request) -> Result<Reply, AgentError> + Send + Sync + 'static,
) -> impl Fn(Context, Request) -> BoxFuture<'static, Result<Reply, AgentError>> + Send + Sync + 'static
where
    Request: Send + 'static,
    Reply: IntoPayload + Send + 'static,
{
    let handler = Arc::new(handler);
    move |context: Context, request: Request| {
        let handler = Arc::clone(&handler);
        // The handler may drop its own; the call still runs.
        let running = context.clone();
        Box::pin(async move {
            let mut work = OnDrop(spawn_blocking(move || {
                // It may have waited for a thread for longer than anybody waits for it.
                let answer = match running.is_cancelled() {
                    true => {
                        Err(AgentError::new(AgentError::CANCELLED, "no thread was free in time"))
                    }
                    false => handler(context, request),
                };
                drop(running);
                answer
            }));
            match (&mut work.0).await {
                Ok(answer) => answer,
                Err(err) if err.is_panic() => resume_unwind(err.into_panic()),
                Err(_) => Err(AgentError::new(AgentError::CANCELLED, "its runtime shuts down")),
            }
        })
    }
}

/// What has not begun when nobody waits for it any more does not begin.
struct OnDrop<T>(JoinHandle<T>);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
