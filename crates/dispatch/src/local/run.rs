//! One call of a handler: admitted or refused, its panics caught, its time kept.
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use sinew_core::BoxFuture;
use tokio::time::{sleep, timeout_at};

use crate::{
    AgentError, AnyAgent, Context,
    context::AskInfo,
    load::{Load, Slot},
};

/// The context of a call, if the agent may run one more.
///
/// # Errors
///
/// [`AgentError::BUSY`].
pub(crate) fn admit(
    agent: &AnyAgent,
    ask: &Arc<AskInfo>,
    registration: &Arc<Load>,
) -> Result<Context, AgentError> {
    let (load, limit) = agent.limit();
    let slot = Slot::take(load, limit, registration).ok_or_else(|| {
        AgentError::new(AgentError::BUSY, "it runs as many calls as it may").with_retryable(true)
    })?;
    Ok(Context::new(Arc::clone(ask), agent.id().clone(), slot))
}

/// Answers one request; `None` when the ask was over before there was an answer.
///
/// A handler that works on when its ask is over has the agent's grace, and is dropped then. One whose time is up
/// already is not begun.
pub(crate) async fn run(
    agent: &AnyAgent,
    ask: &Arc<AskInfo>,
    context: Context,
    request: Bytes,
) -> Option<Result<Bytes, AgentError>> {
    if context.is_cancelled() {
        return None;
    }
    let kept = context.clone();
    let mut handler = match catch_unwind(AssertUnwindSafe(|| agent.handle(context, request))) {
        Ok(handler) => Some(handler),
        Err(panic) => return Some(Err(panicked(&*panic))),
    };
    let mut end = GraceTimer::new(Arc::clone(ask), agent.grace());
    let answer = std::future::poll_fn(|cx| {
        let Some(running) = &mut handler else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => Poll::Ready(Some(answer)),
            Ok(Poll::Pending) => end.poll(cx).map(|()| None),
            Err(panic) => Poll::Ready(Some(Err(panicked(&*panic)))),
        }
    })
    .await;
    drop_quietly(handler.take());
    drop(kept);
    answer
}

/// What a dropped handler's own drops do is theirs.
fn drop_quietly(handler: Option<BoxFuture<'static, Result<Bytes, AgentError>>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handler)));
}

fn panicked(panic: &(dyn Any + Send)) -> AgentError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    AgentError::new(AgentError::PANIC, text.unwrap_or("it panicked").to_owned())
}

/// Ends a grace after the ask has. Handlers that answer at once set no timer.
struct GraceTimer {
    ask: Arc<AskInfo>,
    grace: Duration,
    timer: Option<Pin<Box<Timer>>>,
}

type Timer = dyn Future<Output = ()> + Send;

impl GraceTimer {
    fn new(ask: Arc<AskInfo>, grace: Duration) -> Self {
        Self { ask, grace, timer: None }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| {
            let (ask, grace) = (Arc::clone(&self.ask), self.grace);
            Box::pin(async move {
                // Nobody may be there to end the ask in time; its agents learn of it all the same.
                if timeout_at(ask.deadline, ask.over.told()).await.is_err() {
                    ask.over.tell();
                }
                sleep(grace).await;
            })
        });
        timer.as_mut().poll(cx)
    }
}
