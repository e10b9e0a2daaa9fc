//! Verdicts that are handed over, and what is done once the broker has answered.
use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::poll;
use sinew_core::{Message, Pending, Result, Verdict};
use tokio::{
    sync::mpsc::{Receiver, Sender, error::TrySendError},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tracing::Span;

use super::{
    intake::Work,
    notifier::{ServiceEvent, Settled, SettledAs},
    processor::Processor,
};
use crate::{
    stats::{InHand, Meter},
    trace,
};

/// How long a verdict's answer is waited for; the verdict itself is with the adapter by then.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long it may hold up what is told of those after it.
const LATE: Duration = Duration::from_millis(100);

/// One delivery whose verdict is with the adapter.
pub(super) struct Settling {
    processor: Arc<Processor>,
    _in_hand: InHand,
    verdict: Verdict,
    count: fn(&Meter, u64),
    answer: Pending<()>,
    until: Instant,
    span: Span,
    message: Message,
    outcome: SettledAs,
    runs: u32,
    error: Option<Arc<str>>,
}

impl Settling {
    /// Hands the verdict over.
    pub(super) fn new(
        processor: Arc<Processor>,
        in_hand: InHand,
        work: Work,
        message: Message,
        outcome: SettledAs,
        runs: u32,
        error: Option<Arc<str>>,
    ) -> Self {
        let (verdict, count): (_, fn(&Meter, u64)) = match outcome {
            SettledAs::Handled => (Verdict::Ack, Meter::succeeded),
            SettledAs::Duplicate => (Verdict::Ack, Meter::duplicate),
            SettledAs::PassedOver => (Verdict::Ack, Meter::passed_over),
            SettledAs::DeadLettered => (Verdict::Ack, Meter::dead_lettered),
            // It was never run: where its queue has a dead-letter route, it goes there.
            SettledAs::Dropped if runs == 0 => (Verdict::Discard, Meter::dropped),
            SettledAs::Dropped => (Verdict::Ack, Meter::dropped),
            SettledAs::Requeued => (Verdict::Requeue, Meter::requeued),
            SettledAs::Cancelled => (Verdict::Requeue, Meter::cancelled),
            SettledAs::Delayed(delay) => (Verdict::RequeueAfter(delay), Meter::delayed),
        };
        Self {
            processor,
            _in_hand: in_hand,
            verdict,
            count,
            answer: work.settle(verdict),
            until: Instant::now() + ANSWER,
            span: Span::none(),
            message,
            outcome,
            runs,
            error,
        }
    }

    /// What becomes of it belongs to `span`.
    pub(super) fn within(mut self, span: Span) -> Self {
        span.record("outcome", tracing::field::debug(self.outcome));
        self.span = span;
        self
    }

    /// Ends it where it is answered; hands it to whoever waits for all of them, as far as they have room; else, and where
    /// an answer takes longer than others, waits for it here.
    pub(super) async fn end(mut self, others: &Sender<Self>) {
        match poll!(&mut self.answer) {
            Poll::Ready(answer) => self.ended(Some(answer)),
            Poll::Pending if matches!(self.outcome, SettledAs::Delayed(_)) => self.wait().await,
            Poll::Pending => match others.try_send(self) {
                Ok(()) => {}
                Err(TrySendError::Full(own) | TrySendError::Closed(own)) => own.wait().await,
            },
        }
    }

    /// Waits for its answer.
    async fn wait(mut self) {
        let answer = timeout_at(self.until, &mut self.answer).await.ok();
        self.ended(answer);
    }

    /// Tells what has become of it; no answer came in time where there is none.
    fn ended(self, answer: Option<Result<()>>) {
        let Self { processor, verdict, span, message, outcome, runs, error, .. } = self;
        let _within = span.enter();
        let comes_again = match answer {
            Some(Ok(())) => matches!(verdict, Verdict::Requeue | Verdict::RequeueAfter(_)),
            // It was taken back before: that is why.
            _ if outcome == SettledAs::Cancelled => true,
            Some(Err(err)) => {
                processor.meter.unsettled(1);
                tracing::warn!(target: trace::TARGET, handler = %processor.name, error = %err, "the broker delivers the event again");
                true
            }
            None => {
                processor.meter.unsettled(1);
                tracing::warn!(target: trace::TARGET, handler = %processor.name, "no answer to a verdict");
                true
            }
        };
        (self.count)(&processor.meter, 1);
        processor.notifier.tell(|| {
            let handler = processor.name.clone();
            ServiceEvent::Settled(Settled { handler, message, outcome, comes_again, runs, error })
        });
    }
}

/// Waits for the answers of all that is handed to it, in this order, which is about theirs: several come at once, and so
/// it is not woken for each. One that is late is put aside with all that came after it, to hold up nothing of what is told;
/// no more than may be handed over ahead.
pub(super) async fn settle(mut given: Receiver<Settling>) {
    let (aside, mut late) = (given.max_capacity(), JoinSet::new());
    while let Some(mut settling) = given.recv().await {
        match timeout(LATE, &mut settling.answer).await {
            Ok(answer) => settling.ended(Some(answer)),
            Err(_) => {
                while late.try_join_next().is_some() {}
                let mut next = Some(settling);
                while let Some(settling) = next.take() {
                    if late.len() == aside {
                        settling.wait().await;
                        break;
                    }
                    late.spawn(settling.wait());
                    next = given.try_recv().ok();
                }
            }
        }
    }
    while late.join_next().await.is_some() {}
}
