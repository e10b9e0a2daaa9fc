//! The loop of one handler's intake: it takes an event when there is a worker for it, and hands back what it has not begun.
use std::{collections::VecDeque, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use futures_util::{FutureExt as _, future::join_all, poll};
use sinew_core::{
    Attempt, BoxFuture, Delivery, Event, Incoming, Message, Pending, Result, Verdict,
};
use tokio::{
    select,
    sync::mpsc::{Sender, channel},
    task::{JoinSet, coop::consume_budget},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    notifier::ServiceEvent,
    pace::Pace,
    permit::{Permit, Workers},
    processor::Processor,
    settling::{ANSWER, Settling, settle},
};

/// What came in: to be settled, or not.
pub(super) enum Work {
    Settled(Delivery),
    Unsettled(Message),
}

impl From<Delivery> for Work {
    fn from(delivery: Delivery) -> Self {
        Self::Settled(delivery)
    }
}

impl From<Message> for Work {
    fn from(message: Message) -> Self {
        Self::Unsettled(message)
    }
}

impl Work {
    pub(super) fn message(&self) -> &Message {
        match self {
            Self::Settled(delivery) => &delivery.message,
            Self::Unsettled(message) => message,
        }
    }

    pub(super) fn attempt(&self) -> Attempt {
        match self {
            Self::Settled(delivery) => delivery.attempt,
            Self::Unsettled(_) => Attempt::Unknown,
        }
    }

    pub(super) fn revoked(&self) -> BoxFuture<'static, ()> {
        match self {
            Self::Settled(delivery) => delivery.revoked(),
            Self::Unsettled(_) => Box::pin(std::future::pending()),
        }
    }

    pub(super) fn settle(self, verdict: Verdict) -> Pending<()> {
        match self {
            Self::Settled(delivery) => delivery.settle(verdict),
            Self::Unsettled(_) => Pending::ready(Ok(())),
        }
    }
}

/// One handler's intake, and the runs of its handler.
pub(super) struct Intake {
    processor: Arc<Processor>,
    workers: Workers,
    /// No new work.
    stop: CancellationToken,
    /// Nor any other.
    give_up: CancellationToken,
    runs: JoinSet<()>,
    pace: Arc<Pace>,
}

impl Intake {
    pub(super) fn new(
        processor: Arc<Processor>,
        workers: Workers,
        stop: CancellationToken,
        give_up: CancellationToken,
    ) -> Self {
        let (runs, pace) = (JoinSet::new(), Arc::default());
        Self { processor, workers, stop, give_up, runs, pace }
    }

    /// Works until it is stopped, or nothing can come any more. What it has begun goes on.
    pub(super) async fn through<T: Into<Work>>(&mut self, mut incoming: Incoming<T>) -> Result<()> {
        let (stop, give_up) = (self.stop.clone(), self.give_up.clone());
        let (settled, given) = channel(usize::from(self.processor.prefetch).max(1));
        self.runs.spawn(settle(given));
        let mut stopped = pin!(stop.cancelled());
        let (mut waiting, mut over) = (VecDeque::new(), None);
        let ended = loop {
            let mut permit = None;
            if waiting.is_empty() {
                if let Some(ended) = over {
                    break ended;
                }
                let next = select! {
                    biased;
                    () = &mut stopped => break Ok(()),
                    next = incoming.next() => next,
                };
                over = self.take_in(next, &mut waiting);
                // What has waited may have been taken back, and is looked at first.
                permit = if waiting.is_empty() { None } else { self.workers.try_take() };
            }
            if permit.is_none() && !waiting.is_empty() {
                permit = select! {
                    biased;
                    () = &mut stopped => break Ok(()),
                    permit = self.worker(&mut incoming, &mut waiting, &mut over) => permit,
                };
            }
            if let (Some(work), Some(permit)) = (waiting.pop_front(), permit) {
                self.begin(work, permit, &settled).await;
            }
            // Here, and not as they end: that would wake the loop once more for each event.
            while self.runs.try_join_next().is_some() {}
            // Others on this thread have their turn, too.
            consume_budget().await;
        };
        drop(settled);
        if stop.is_cancelled() {
            // First: what is handed back before it would be sent here again.
            incoming.stop();
            let rest = async {
                while let Some(next) = incoming.next().await {
                    if let Some(Err(err)) = self.take_in(Some(next), &mut waiting) {
                        let handler = self.processor.name.as_str();
                        tracing::warn!(target: crate::trace::TARGET, handler, error = %err, "an intake that was stopped has failed");
                    }
                }
                self.hand_back(waiting).await;
            };
            select! {
                () = rest => {}
                () = give_up.cancelled() => {}
            }
        }
        ended
    }

    /// Waits for a worker for the first of those that wait; none where that was taken back. What comes meanwhile waits behind
    /// it, as far as it is sent ahead: what is told of the link is behind that, and does not wait.
    async fn worker<T: Into<Work>>(
        &self,
        incoming: &mut Incoming<T>,
        waiting: &mut VecDeque<Work>,
        over: &mut Option<Result<()>>,
    ) -> Option<Arc<Permit>> {
        let mut revoked = waiting.front()?.revoked();
        let mut permit = pin!(self.workers.take());
        loop {
            let has_room = waiting.len() <= usize::from(self.processor.prefetch);
            select! {
                biased;
                () = &mut revoked => return None,
                permit = &mut permit => return Some(permit),
                next = incoming.next(), if over.is_none() && has_room => {
                    *over = self.take_in(next, waiting);
                }
            }
        }
    }

    /// Notes what came; what the intake has ended with, where it has.
    fn take_in<T: Into<Work>>(
        &self,
        next: Option<Result<Event<T>>>,
        waiting: &mut VecDeque<Work>,
    ) -> Option<Result<()>> {
        match next {
            None => return Some(Ok(())),
            Some(Err(err)) => return Some(Err(err)),
            Some(Ok(Event::Item(item))) => waiting.push_back(item.into()),
            Some(Ok(event)) => self.note(&event),
        }
        None
    }

    /// Ends when all that it has begun is done.
    pub(super) async fn finish(mut self) {
        while self.runs.join_next().await.is_some() {}
    }

    /// Runs the handler. One that is quick is run here, as a task for each event would cost more than it does; what it then
    /// waits for, it waits for in a task.
    async fn begin(&mut self, work: Work, permit: Arc<Permit>, settled: &Sender<Settling>) {
        let processor = Arc::clone(&self.processor);
        let run = processor.handle(work, permit, self.give_up.clone(), settled.clone());
        let pace = Arc::clone(&self.pace);
        // Dropped by a panic, the event is handed back.
        let run = async move { drop(pace.timed(AssertUnwindSafe(run).catch_unwind()).await) };
        let mut run = Box::pin(run);
        if !(self.pace.is_quick() && poll!(&mut run).is_ready()) {
            self.runs.spawn(run);
        }
    }

    /// Gives the broker what was not begun. What is not settled cannot be given back, and is lost.
    async fn hand_back(&self, rest: VecDeque<Work>) {
        let lost = rest.iter().filter(|work| matches!(work, Work::Unsettled(_))).count();
        if lost > 0 {
            self.lost(u64::try_from(lost).unwrap_or(u64::MAX));
        }
        let answers: Vec<_> = rest.into_iter().map(|work| work.settle(Verdict::Requeue)).collect();
        // One that was taken back is with the broker already.
        drop(timeout(ANSWER, join_all(answers)).await);
    }

    fn note<T>(&self, event: &Event<T>) {
        let processor = &self.processor;
        let handler = || processor.name.clone();
        match event {
            Event::Lost(count) => self.lost(*count),
            Event::Down => {
                processor.meter.down(1);
                tracing::warn!(target: crate::trace::TARGET, handler = %processor.name, "link down");
                processor.notifier.tell(|| ServiceEvent::Down { handler: handler() });
            }
            Event::Up { gap } => {
                tracing::info!(target: crate::trace::TARGET, handler = %processor.name, gap, "link up");
                processor.notifier.tell(|| ServiceEvent::Up { handler: handler(), gap: *gap });
            }
            _ => {}
        }
    }

    fn lost(&self, count: u64) {
        let processor = &self.processor;
        processor.meter.lost(count);
        tracing::warn!(target: crate::trace::TARGET, handler = %processor.name, count, "events lost");
        processor.notifier.tell(|| ServiceEvent::Lost { handler: processor.name.clone(), count });
    }
}
