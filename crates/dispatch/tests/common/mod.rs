//! What the tests share: agents that do one thing.
use std::{future::pending, time::Duration};

use sinew_core::Result;
use sinew_dispatch::{AgentError, AgentId, AnyAgent, Context, Reply};
use tokio::time::timeout;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Lets virtual time pass, and everything happen that is due within it.
pub(crate) async fn pass(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}

/// Answers with its name, after a while.
pub(crate) fn slow(name: &'static str, after: Duration) -> Result<AnyAgent> {
    AnyAgent::new(name, move |_: Context, _: String| async move {
        pass(after).await;
        Ok(name)
    })
}

/// Answers with its name at once.
pub(crate) fn quick(name: &'static str) -> Result<AnyAgent> {
    AnyAgent::new(name, move |_: Context, _: String| async move { Ok(name) })
}

/// Fails at once.
pub(crate) fn failing(name: &'static str) -> Result<AnyAgent> {
    AnyAgent::new(name, |_: Context, _: String| async {
        Err::<String, _>(AgentError::new("broken", "the camera is dark"))
    })
}

/// Never answers.
pub(crate) fn silent(name: &'static str) -> Result<AnyAgent> {
    AnyAgent::new(name, |_: Context, _: String| pending::<Result<String, AgentError>>())
}

/// Who answered, or `-`.
pub(crate) fn who<T>(reply: &Reply<T>) -> &str {
    reply.agent.as_ref().map_or("-", AgentId::as_str)
}

pub(crate) fn names(agents: &[AgentId]) -> Vec<&str> {
    agents.iter().map(AgentId::as_str).collect()
}
