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

use crate::{End, Ended, Gathered, Reply, asking::Asking, remote::Answers};

/// The replies of one ask, as they arrive; after the last one, [`finish`](Self::finish) says how it ended.
///
/// It is a [`Stream`], too. Dropping it ends the ask: the agents are told, and nothing of it stays behind.
#[must_use = "dropping it ends the ask"]
pub struct Gathering<T> {
    asking: Arc<Asking<T>>,
    /// Those that come from elsewhere.
    answers: Option<Arc<Answers>>,
    /// Whether it takes them in itself, as it is awaited.
    is_awaited: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the agents were let run before there is a timer: they may all answer at once.
    has_yielded: bool,
}

impl<T: FromPayload + Send + 'static> Gathering<T> {
    pub(crate) fn new(asking: Arc<Asking<T>>) -> Self {
        Self { asking, answers: None, is_awaited: false, timer: None, has_yielded: false }
    }

    pub(crate) fn set_answers(&mut self, answers: Option<Arc<Answers>>) {
        self.answers = answers;
    }

    /// The next reply; `None` once the ask is over and everything was taken.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has taken nothing. One that is kept without being polled keeps what comes from elsewhere from
    /// being taken in: drop it, or go by the [`Stream`].
    pub async fn next(&mut self) -> Option<Reply<T>> {
        let awaiting = Awaiting(self);
        poll_fn(|cx| awaiting.0.poll_awaited(cx)).await
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
    pub async fn collect(mut self) -> Result<Gathered<T>> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            replies.push(reply);
        }
        let topic = self.asking.topic().clone();
        let end = self.finish();
        let kind = match end.ended {
            Ended::NoAgents => ErrorKind::NoResponders,
            Ended::Disconnected if replies.is_empty() => ErrorKind::Disconnected,
            _ => return Ok(Gathered { replies, end }),
        };
        Err(Error::new(kind, "ask").with_subject(topic.as_str()))
    }

    /// Why it ended, if it has: replies may wait to be taken yet.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.asking.ended()
    }

    /// The same as [`poll_reply`](Self::poll_reply), by one who says when it does not look any more.
    fn poll_awaited(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reply<T>>> {
        if let Some(answers) = &self.answers
            && !self.asking.is_ready()
        {
            self.is_awaited = true;
            answers.poll_awaited(cx, &self.asking);
        }
        self.poll_reply(cx)
    }

    fn leave(&mut self) {
        if let Some(answers) = &self.answers
            && mem::take(&mut self.is_awaited)
        {
            answers.leave(&self.asking);
        }
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
            let may_all_be_here = self.timer.is_none() && self.answers.is_none();
            if may_all_be_here && !mem::replace(&mut self.has_yielded, true) {
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

/// Whoever awaits the next reply; dropped, it does not look any more.
struct Awaiting<'a, T: FromPayload + Send + 'static>(&'a mut Gathering<T>);

impl<T: FromPayload + Send + 'static> Drop for Awaiting<'_, T> {
    fn drop(&mut self) {
        self.0.leave();
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
