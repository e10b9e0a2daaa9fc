//! Outcomes still to come, and what a publish's outcome says.
use std::{
    fmt,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use crate::{BoxFuture, Error, ErrorKind, Result};

/// An outcome still to come. Its cause was handed over when this value was made, so dropping it withdraws nothing.
#[must_use = "await it to learn the outcome"]
pub struct Pending<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T>>),
    Later(BoxFuture<'static, Result<T>>),
}

impl<T> Pending<T> {
    /// An outcome that is known already. Allocates nothing.
    pub const fn ready(outcome: Result<T>) -> Self {
        Self(State::Ready(Some(outcome)))
    }

    /// An outcome that `outcome` ends with.
    pub fn later(outcome: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(State::Later(Box::pin(outcome)))
    }
}

impl<T: Unpin> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let state = &mut self.get_mut().0;
        match state {
            State::Ready(outcome) => Poll::Ready(outcome.take().unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Closed, "await outcome").with_detail("awaited twice"))
            })),
            State::Later(outcome) => {
                let outcome = ready!(outcome.as_mut().poll(cx));
                *state = State::Ready(None);
                Poll::Ready(outcome)
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "Pending(ready)",
            State::Later(_) => "Pending(later)",
        })
    }
}

/// What the broker has done with a message when its publish is `Ok`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Receipt {
    /// It left for the broker; no more is known.
    Buffered,
    /// The broker has taken it.
    Accepted,
    /// It is stored, at this position.
    Persisted(Position),
}

/// A place in a log. An offset means nothing without its log, so they travel together.
///
/// Compared by these two alone: when a message was stored is no part of where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Position {
    /// The stream, or the partition of it, in the backend's own words.
    pub log: Arc<str>,
    /// The message's number in that log.
    pub offset: u64,
    stored_at: Option<SystemTime>,
}

impl Position {
    /// The message `offset` of `log`.
    #[must_use]
    pub fn new(log: impl Into<Arc<str>>, offset: u64) -> Self {
        Self { log: log.into(), offset, stored_at: None }
    }

    /// For adapters: says when the broker stored the message, by the broker's clock.
    #[must_use]
    pub const fn with_stored_at(mut self, stored_at: SystemTime) -> Self {
        self.stored_at = Some(stored_at);
        self
    }

    /// When the broker stored the message, by the broker's clock; on what arrives, from backends that tell.
    #[must_use]
    pub const fn stored_at(&self) -> Option<SystemTime> {
        self.stored_at
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        (&self.log, self.offset) == (&other.log, other.offset)
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.log, self.offset).hash(state);
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.log, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn when_a_message_was_stored_is_no_part_of_its_position() {
        let plain = Position::new("ORDERS", 7);
        let told = plain.clone().with_stored_at(SystemTime::UNIX_EPOCH);
        assert_eq!(told.stored_at(), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(told, plain);
        assert!(HashSet::from([plain]).contains(&told));
    }

    #[test]
    fn awaiting_twice_is_an_error_and_no_panic() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for mut pending in [Pending::ready(Ok(1)), Pending::later(async { Ok(1) })] {
            let mut poll = || Pin::new(&mut pending).poll(&mut cx).map_err(|err| err.kind());
            assert_eq!(poll(), Poll::Ready(Ok(1)));
            assert_eq!(poll(), Poll::Ready(Err(ErrorKind::Closed)));
        }
    }
}
