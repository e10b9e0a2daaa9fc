//! What can go wrong in a broker that is only memory, and what each cause means to callers.
use std::{io, time::Duration};

use sinew_core::{Error, ErrorKind, Position, Queue};
use thiserror::Error;

/// A failure's cause; `operation` is what was being done, as [`Error::operation`] shows it.
#[derive(Debug, Error)]
pub(crate) enum MemoryError {
    #[error("this connection was drained; connect again")]
    Closed,
    #[error("the broker was killed; start it, and try again")]
    Down,
    #[error("the broker is frozen and gave no answer within {0:?}; thaw it, or allow more time")]
    Frozen(Duration),
    #[error(
        "no room within {0:?}: a queue or a blocking subscriber is full; read it, or bound it higher"
    )]
    Full(Duration),
    #[error(
        "the subscriber fell behind by more than its buffer holds; read faster, or bound it higher"
    )]
    FellBehind,
    #[error("bind a queue, or subscribe, before publishing; or leave must-route unset")]
    Unroutable,
    #[error("nobody subscribes to it")]
    NoResponders,
    #[error("the log ends at {end}, {wanted} was expected")]
    WrongPosition { end: Box<Position>, wanted: Box<Position> },
    #[error("there is no position {wanted}: the log ends at {end}")]
    NoPosition { end: Box<Position>, wanted: Box<Position> },
    #[error("no such queue; it is made when it is declared, or consumed")]
    NoQueue,
    #[error("queue {0:?} has other patterns, another scope or another lifetime")]
    QueueDiffers(Queue),
    #[error("queue {0:?} has a consumer, and one of the two wants it exclusively")]
    QueueTaken(Queue),
    #[error("a group has no start of its own; subscribe without a group, or consume a queue")]
    GroupStart,
    #[error("the message has a reply address already; publish it, and subscribe to that address")]
    HasReplyTo,
    #[error(
        "the reply address was made by another broker; reply through the connection that the request came from"
    )]
    ForeignReply,
    #[error("the broker was killed, or the connection closed, after this delivery was made")]
    Revoked,
    #[error("{left} deliveries were unsettled after {within:?}; they went back to their queues")]
    Undrained { left: usize, within: Duration },
    #[error("no thread for timers could be started outside of tokio")]
    NoTimer(#[source] io::Error),
}

impl MemoryError {
    const fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Closed,
            Self::Down => ErrorKind::Disconnected,
            Self::Frozen(_) | Self::Undrained { .. } => ErrorKind::Timeout,
            Self::Full(_) | Self::FellBehind | Self::NoTimer(_) => ErrorKind::Overloaded,
            Self::Unroutable => ErrorKind::Unroutable,
            Self::NoResponders => ErrorKind::NoResponders,
            Self::WrongPosition { .. } => ErrorKind::WrongPosition,
            Self::NoPosition { .. } | Self::NoQueue => ErrorKind::NotFound,
            Self::QueueDiffers(_) | Self::QueueTaken(_) => ErrorKind::Conflict,
            Self::GroupStart => ErrorKind::Unsupported,
            Self::HasReplyTo | Self::ForeignReply => ErrorKind::InvalidOptions,
            Self::Revoked => ErrorKind::Revoked,
        }
    }

    /// The error that callers see. No message of a failed publish was taken, so it stays [`Sent::No`](sinew_core::Sent).
    pub(crate) fn during(self, operation: &'static str) -> Error {
        let err = Error::new(self.kind(), operation).with_detail(self.to_string());
        match self {
            Self::NoTimer(source) => err.with_source(source),
            _ => err,
        }
    }
}
