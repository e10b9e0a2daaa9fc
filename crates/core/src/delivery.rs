//! Deliveries: messages that want a verdict.
use std::{fmt, time::Duration};

use crate::{BoxFuture, Message, Pending};

/// One message to settle, by value and so at most once.
///
/// Dropped unsettled - by a panic, by a cancelled handler - it is requeued.
pub struct Delivery {
    /// What arrived; clone it to keep it, which copies nothing.
    pub message: Message,
    /// Which delivery of this message it is.
    pub attempt: Attempt,
    settle: Option<Box<dyn Settle>>,
}

/// Which delivery of the same message this is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Attempt {
    /// This one, counted from 1.
    Number(u32),
    /// Not the first.
    Redelivered,
    /// Nobody knows; on a backend that flags redelivery, the first.
    Unknown,
}

impl Attempt {
    /// Which one it is at least, counted from 1: one that is only known not to be the first may be the second.
    #[must_use]
    pub const fn at_least(self) -> u32 {
        match self {
            Self::Number(number) if number > 1 => number,
            Self::Number(_) | Self::Unknown => 1,
            Self::Redelivered => 2,
        }
    }
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Done.
    Ack,
    /// Deliver it again, to any consumer, as soon as may be.
    Requeue,
    /// Deliver it again, no sooner than this.
    RequeueAfter(Duration),
    /// Never deliver it again; where the queue has a dead-letter route, it goes there.
    Discard,
}

/// The adapter's side of a delivery.
pub trait Settle: Send + Sync {
    /// Hands the verdict over before it returns: room for it was reserved when the message was delivered, so that a
    /// cancelled `ack().await` still acks. The [`Pending`] is the broker's answer.
    ///
    /// # Errors
    ///
    /// The outcome: [`ErrorKind::Revoked`](crate::ErrorKind::Revoked) when the broker has taken the delivery back,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a verdict that it has not (the delivery is then
    /// requeued, or, where that is what it lacks, left to the broker),
    /// [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected) when the answer was lost with the link.
    ///
    /// # Cancel safety
    ///
    /// Dropping the outcome withdraws nothing.
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()>;

    /// Ends when the broker has taken the delivery back (link lost, lease over): the handler should stop.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn revoked(&self) -> BoxFuture<'static, ()>;
}

impl Delivery {
    /// For adapters: a message and the way to settle it.
    #[must_use]
    pub fn new(message: Message, attempt: Attempt, settle: impl Settle + 'static) -> Self {
        Self { message, attempt, settle: Some(Box::new(settle)) }
    }

    /// Hands `verdict` over, and tells the broker's answer.
    ///
    /// # Errors
    ///
    /// As [`Settle::settle`] has them.
    ///
    /// # Cancel safety
    ///
    /// The verdict is handed over before this returns: dropping the outcome withdraws nothing.
    pub fn settle(mut self, verdict: Verdict) -> Pending<()> {
        match self.settle.take() {
            Some(settle) => settle.settle(verdict),
            None => Pending::ready(Ok(())),
        }
    }

    /// Settles as done.
    ///
    /// # Errors
    ///
    /// As [`Settle::settle`] has them.
    ///
    /// # Cancel safety
    ///
    /// As [`Delivery::settle`].
    pub fn ack(self) -> Pending<()> {
        self.settle(Verdict::Ack)
    }

    /// Ends when the broker has taken the delivery back (link lost, lease over): the handler should stop.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub fn revoked(&self) -> BoxFuture<'static, ()> {
        match &self.settle {
            Some(settle) => settle.revoked(),
            None => Box::pin(std::future::pending()),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            drop(settle.settle(Verdict::Requeue));
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::Subject;

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<Verdict>>>);

    impl Settle for Recorder {
        fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
            self.0.lock().unwrap().push(verdict);
            Pending::ready(Ok(()))
        }

        fn revoked(&self) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_delivery_is_at_least_the_one_that_it_is_known_to_be() {
        let known =
            [Attempt::Number(0), Attempt::Number(7), Attempt::Redelivered, Attempt::Unknown];
        assert_eq!(known.map(Attempt::at_least), [1, 7, 2, 1]);
    }

    impl Recorder {
        fn deliver(&self) -> Delivery {
            let message = Message::new(Subject::parse("a").unwrap(), "");
            Delivery::new(message, Attempt::Number(1), self.clone())
        }

        fn verdicts(&self) -> Vec<Verdict> {
            self.0.lock().unwrap().clone()
        }
    }

    #[test]
    fn a_delivery_is_settled_once_even_if_the_answer_is_not_awaited() {
        let recorder = Recorder::default();
        drop(recorder.deliver().ack());
        drop(recorder.deliver().settle(Verdict::Discard));
        assert_eq!(recorder.verdicts(), [Verdict::Ack, Verdict::Discard]);
    }

    #[test]
    fn a_delivery_dropped_by_a_panic_is_requeued() {
        let recorder = Recorder::default();
        let delivery = recorder.deliver();
        let handler = AssertUnwindSafe(move || {
            let _at_work = delivery;
            panic!("a handler fails");
        });
        assert!(catch_unwind(handler).is_err());
        drop(recorder.deliver());
        assert_eq!(recorder.verdicts(), [Verdict::Requeue, Verdict::Requeue]);
    }
}
