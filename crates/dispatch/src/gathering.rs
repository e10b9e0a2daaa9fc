//! The replies of one ask, as they arrive.
use std::{
    fmt,
    future::poll_fn,
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use sinew_core::{Error, ErrorKind, FromPayload, Result};
use tokio::time::{Sleep, sleep_until};

use crate::{End, Ended, Reply, asking::Asking};

/// The replies of one ask, as they arrive; after the last one, [`finish`](Self::finish) says how it ended.
///
/// It is a [`Stream`], too. Dropping it ends the ask: the agents are told, and nothing of it stays behind.
#[must_use = "dropping it ends the ask"]
pub struct Gathering<T> {
    asking: Arc<Asking<T>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the agents were let run before there is a timer: they may all answer at once.
    has_yielded: bool,
}

impl<T: FromPayload + Send + 'static> Gathering<T> {
    pub(crate) fn new(asking: Arc<Asking<T>>) -> Self {
        Self { asking, timer: None, has_yielded: false }
    }

    /// The next reply; `None` once the ask is over and everything was taken.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Reply<T>> {
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    /// How the ask ended; where it has not, it ends here, and those who have not answered are called off.
    #[must_use]
    pub fn finish(self) -> End {
        self.asking.finish()
    }

    /// Every reply until the ask is over, and how it ended. Failures are replies: they are told one by one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoResponders`] when there was nobody to answer, [`ErrorKind::Disconnected`] when the way of the
    /// replies broke before there was any.
    ///
    /// # Cancel safety
    ///
    /// A dropped call ends the ask.
    pub async fn collect(mut self) -> Result<(Vec<Reply<T>>, End)> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            replies.push(reply);
        }
        let topic = self.asking.topic().clone();
        let end = self.finish();
        let kind = match end.ended {
            Ended::NoAgents => ErrorKind::NoResponders,
            Ended::Disconnected if replies.is_empty() => ErrorKind::Disconnected,
            _ => return Ok((replies, end)),
        };
        Err(Error::new(kind, "ask").with_subject(topic.as_str()))
    }

    /// Why it ended, if it has: replies may wait to be taken yet.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.asking.ended()
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reply<T>>> {
        loop {
            let due = match self.asking.poll_next(cx) {
                Poll::Ready(Ok(reply)) => return Poll::Ready(reply),
                Poll::Ready(Err(panic)) => resume_unwind(panic),
                Poll::Pending => self.asking.next_deadline(),
            };
            // It ended in between.
            let Some(due) = due else { continue };
            if self.timer.is_none() && !mem::replace(&mut self.has_yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let timer = self.timer.get_or_insert_with(|| {
                let _inside = self.asking.runtime().enter();
                Box::pin(sleep_until(due))
            });
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) => self.asking.tick(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: FromPayload + Send + 'static> Stream for Gathering<T> {
    type Item = Reply<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Reply<T>>> {
        self.get_mut().poll_reply(cx)
    }
}

impl<T> Drop for Gathering<T> {
    fn drop(&mut self) {
        self.asking.close();
    }
}

impl<T> fmt::Debug for Gathering<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("topic", self.asking.topic()).finish_non_exhaustive()
    }
}
