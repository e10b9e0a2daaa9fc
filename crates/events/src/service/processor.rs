//! One delivery of an event, from its bytes to its verdict.
use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use sinew_core::{Attempt, Message, Queue};
use tokio::{
    select,
    sync::mpsc::Sender,
    task::coop::{consume_budget, unconstrained},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Level};

use super::{
    claim::Claim,
    intake::Work,
    notifier::{Notifier, SettledAs},
    permit::{Attachment, Permit, Stop},
    settling::Settling,
};
use crate::{
    Begun, Context, EventDispatcher, EventHandler, HandlerName, HeaderPrefix, Invocation,
    PayloadOptions, Source,
    dead_letter::{self, Cause, DeadLetters, Failure},
    dedup::AnyDedupStore,
    policy::{Disposition, Outcome, Policy},
    stats::Meter,
    trace,
};

/// All that it takes to handle the events of one handler.
pub(super) struct Processor {
    pub(super) name: HandlerName,
    pub(super) source: Source,
    pub(super) queue: Queue,
    pub(super) handler: EventHandler,
    /// What it listens to.
    pub(super) pattern: Arc<str>,
    pub(super) prefetch: u16,
    pub(super) policy: Policy,
    pub(super) payload: PayloadOptions,
    pub(super) prefix: HeaderPrefix,
    pub(super) dispatcher: EventDispatcher,
    pub(super) dedup: Option<AnyDedupStore>,
    pub(super) dead_letters: Option<DeadLetters>,
    pub(super) meter: Arc<Meter>,
    pub(super) notifier: Notifier,
}

/// How long the error queue may take to take an event.
const PUT: Duration = Duration::from_secs(30);

/// How the work on one delivery has ended.
struct End {
    outcome: Outcome,
    disposition: Disposition,
    runs: u32,
    failure: Option<Failure>,
}

impl Processor {
    /// Handles one delivery to its verdict, whose answer is waited for elsewhere, if it does not come at once. Dropped, or
    /// ended by a panic that is not the handler's, it is handed back.
    pub(super) async fn handle(
        self: Arc<Self>,
        work: Work,
        permit: Arc<Permit>,
        give_up: CancellationToken,
        settled: Sender<Settling>,
    ) {
        self.meter.received(1);
        let span = trace::delivered(&self.name, work.message(), work.attempt(), &self.prefix);
        let settling =
            Self::deal(&self, work, &permit, give_up).instrument(span.clone()).await.within(span);
        settling.end(&settled).await;
        // Not before: where answers do not come, there are no more of them than workers, and what others wait for.
        drop(permit);
    }

    async fn deal(
        self: &Arc<Self>,
        work: Work,
        permit: &Arc<Permit>,
        give_up: CancellationToken,
    ) -> Settling {
        let in_hand = self.meter.in_hand();
        let (mut message, attempt) = (work.message().clone(), work.attempt());
        let settle = |work, message, outcome, runs, error| {
            Settling::new(Arc::clone(self), in_hand, work, message, outcome, runs, error)
        };
        let has_address = self.dispatcher.addresses_queues();
        if !dead_letter::is_for(&mut message, &self.queue, &self.source, has_address) {
            return settle(work, message, SettledAs::PassedOver, 0, None);
        }
        if let Some(at) = message.properties().and_then(|it| it.timestamp) {
            self.meter.emitted_at(at);
        }
        let mut claim = Claim::none(self);
        let stop = Stop::default();
        let end = {
            let over = async {
                select! {
                    () = work.revoked() => {}
                    () = give_up.cancelled() => {}
                }
                stop.stop();
            };
            select! {
                // First: most wait for nothing, and so for nothing that could end them before.
                biased;
                end = self.caught(&message, attempt, permit, &stop, &mut claim) => Some(end),
                // Heard even where the run has spent all that its task may do in one turn.
                () = unconstrained(over) => None,
            }
        };
        let Some(end) = end else {
            claim.forget().await;
            return settle(work, message, SettledAs::Cancelled, 0, None);
        };
        match end.outcome {
            Outcome::Handled => claim.finish().await,
            _ => claim.forget().await,
        }
        let outcome = self.becomes(&message, attempt, &end).await;
        let text = end.failure.map(|it| it.text);
        settle(work, message, outcome, end.runs, text)
    }

    /// What panics beside the handler (the decoding of its payload, say) is a failure, too: unwound through the delivery, it
    /// would come again at once, for ever.
    async fn caught(
        &self,
        message: &Message,
        attempt: Attempt,
        permit: &Arc<Permit>,
        stop: &Stop,
        claim: &mut Claim<'_>,
    ) -> End {
        let work = self.work(message, attempt, permit, stop, claim);
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
            let outcome = Outcome::Failed { permanent: false };
            self.not_run(outcome, self.panicked(&*panic), attempt)
        })
    }

    /// A failure that was none of the handler's: it is not made again at once.
    fn not_run(&self, outcome: Outcome, failure: Failure, attempt: Attempt) -> End {
        let disposition = self.policy.decide(outcome, attempt, u32::MAX, fastrand::u32(..));
        self.log(&failure, disposition);
        End { outcome, disposition, runs: 0, failure: Some(failure) }
    }

    /// Decodes, looks up, runs as often as it is to be run at once.
    async fn work(
        &self,
        message: &Message,
        attempt: Attempt,
        permit: &Arc<Permit>,
        stop: &Stop,
        claim: &mut Claim<'_>,
    ) -> End {
        let draw = fastrand::u32(..);
        let end = |outcome, runs, failure| End {
            outcome,
            disposition: self.policy.decide(outcome, attempt, runs, draw),
            runs,
            failure,
        };
        let undecodable = |cause: String| {
            self.meter.undecodable(1);
            let failure = Failure::new(Cause::Undecodable, cause);
            let ended = end(Outcome::Undecodable, 0, Some(failure.clone()));
            self.log(&failure, ended.disposition);
            ended
        };
        if let Some(max) = self.policy.retry.exceeded(attempt) {
            let what = format!("delivery {}, and it may have {max}", attempt.at_least());
            let failure = Failure::new(Cause::Redelivered, what);
            return self.not_run(Outcome::Exceeded, failure, attempt);
        }
        let body = match self.payload.open(message) {
            Ok(body) => body,
            Err(err) => return undecodable(err.to_string()),
        };
        let mut payload = match (self.handler.decode)(&body) {
            Ok(payload) => payload,
            Err(err) => return undecodable(err.to_string()),
        };
        match claim.begin(message).await {
            Ok(Begun::Fresh) => {}
            Ok(Begun::Done) => return end(Outcome::Duplicate, 0, None),
            Ok(Begun::Running) => return end(Outcome::InHand, 0, None),
            Err(err) => {
                let failure = Failure::new(Cause::Failed, err.to_string());
                return self.not_run(Outcome::Unknown, failure, attempt);
            }
        }
        let mut run = 1;
        loop {
            let context = self.context(message, attempt, run, permit, stop);
            if tracing::enabled!(target: trace::TARGET, Level::TRACE) {
                let payload = self.handler.redacted.show(&body);
                tracing::trace!(target: trace::TARGET, handler = %self.name, payload, "payload");
            }
            let decode = self.handler.decode;
            let invocation = Invocation::decoded(context, body.clone(), decode, payload);
            let Err(failure) = self.run(invocation).await else {
                return end(Outcome::Handled, run, None);
            };
            self.meter.failed(1);
            let permanent = failure.cause == Cause::Permanent;
            let ended = end(Outcome::Failed { permanent }, run, Some(failure.clone()));
            self.log(&failure, ended.disposition);
            if ended.disposition != Disposition::RunAgain {
                return ended;
            }
            self.meter.rerun(1);
            // A handler that waits for nothing would hold its thread, and could not be called off.
            consume_budget().await;
            payload = match (self.handler.decode)(&body) {
                Ok(payload) => payload,
                Err(err) => return undecodable(err.to_string()),
            };
            run += 1;
        }
    }

    /// Runs the handler once.
    async fn run(&self, invocation: Invocation) -> Result<(), Failure> {
        let span = trace::run(&invocation.context);
        let began = Instant::now();
        let running = async { self.handler.handler.run(invocation).await };
        let ended = AssertUnwindSafe(running).catch_unwind().instrument(span).await;
        self.meter.took(began.elapsed());
        match ended {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(err)) => {
                let cause = if err.is_permanent() { Cause::Permanent } else { Cause::Failed };
                let is_expected = (self.handler.is_expected)(&err);
                Err(Failure { is_expected, ..Failure::new(cause, err.to_string()) })
            }
            Err(panic) => Err(self.panicked(&*panic)),
        }
    }

    /// What a panic says may hold any part of a payload: it stays in the log here, and only where nothing is sensitive.
    fn panicked(&self, panic: &(dyn Any + Send)) -> Failure {
        if self.handler.redacted.is_empty() {
            let panic = panicked(panic);
            tracing::warn!(target: trace::TARGET, handler = %self.name, panic, "the handler panicked");
        }
        Failure::new(Cause::Panicked, "the handler panicked; see its log".to_owned())
    }

    fn context(
        &self,
        message: &Message,
        attempt: Attempt,
        run: u32,
        permit: &Arc<Permit>,
        stop: &Stop,
    ) -> Context {
        let context = Context::received(
            self.name.clone(),
            self.source.clone(),
            Arc::clone(&self.pattern),
            message.clone(),
            attempt,
            &self.prefix,
        )
        .attached(Attachment {
            dispatcher: self.dispatcher.clone(),
            run,
            cancelled: stop.next(),
            permit: Arc::downgrade(permit),
        });
        // What it emits is a child of this run, in the trace that the event came with.
        match context.traceparent().and_then(trace::child_of) {
            Some(child) => context.clone().with("traceparent", child).unwrap_or(context),
            None => context,
        }
    }

    /// What becomes of the event: it is put into the error queue here, and handed back where that does not take it.
    async fn becomes(&self, message: &Message, attempt: Attempt, end: &End) -> SettledAs {
        let mut disposition = end.disposition;
        if let (Disposition::ErrorQueue, Some(dead_letters), Some(failure)) =
            (disposition, &self.dead_letters, &end.failure)
        {
            let put =
                timeout(PUT, dead_letters.put(message, failure, attempt.at_least(), end.runs))
                    .await;
            let error = match put {
                Ok(Ok(())) => return SettledAs::DeadLettered,
                Ok(Err(err)) => err.to_string(),
                Err(_) => format!("no answer within {PUT:?}"),
            };
            self.meter.dead_letter_failed(1);
            tracing::error!(target: trace::TARGET, handler = %self.name, error, "not put into the error queue; handed back");
            disposition = self.policy.not_dead_lettered();
        }
        match (disposition, end.outcome) {
            (Disposition::Requeue | Disposition::RunAgain, _) => SettledAs::Requeued,
            (Disposition::RequeueAfter(delay), _) => SettledAs::Delayed(delay),
            (Disposition::Ack, Outcome::Duplicate) => SettledAs::Duplicate,
            (Disposition::Ack, _) => SettledAs::Handled,
            (Disposition::Drop | Disposition::ErrorQueue, _) => SettledAs::Dropped,
        }
    }

    /// What comes again, and what is part of the game, is a warning.
    fn log(&self, failure: &Failure, next: Disposition) {
        let (handler, error, cause) = (self.name.as_str(), &*failure.text, failure.cause.as_str());
        let comes_again = matches!(
            next,
            Disposition::RunAgain | Disposition::Requeue | Disposition::RequeueAfter(_)
        );
        if comes_again || failure.is_expected {
            tracing::warn!(target: trace::TARGET, handler, cause, error, ?next, "event failed");
        } else {
            tracing::error!(target: trace::TARGET, handler, cause, error, ?next, "event failed");
        }
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}
