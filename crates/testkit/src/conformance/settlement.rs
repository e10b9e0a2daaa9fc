//! Settlement: what an ack, a requeue, a discard and a dropped delivery do.
use std::time::{Duration, Instant};

use sinew_core::{
    AnyBackend, AnyPublisher, Attempt, Attempts, Consumption, Delivery, ErrorKind, Incoming,
    Requeue, Settlement, Subject, Verdict,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{numbered, refused, text},
    tally::{Intake, Tally},
    when,
};

behaviours! { "settlement";
    when::publishes_and_consumes => an_acked_delivery_is_gone,
    when::publishes_and_consumes => a_cancelled_ack_still_acks,
    when::publishes_and_consumes => a_delivery_can_be_acked_after_its_intake_ended,
    when::requeues => a_requeued_delivery_comes_back,
    when::requeues => many_requeues_lose_nothing,
    when::requeues => a_dropped_delivery_comes_back,
    when::requeues => a_panicking_handler_loses_nothing,
    when::requeues => a_cancelled_handler_loses_nothing,
    |it| when::publishes_and_consumes(it) && it.requeue == Requeue::None
        => what_was_not_acked_comes_back_to_the_next_consumer,
    when::settles_each => a_discarded_delivery_never_comes_back,
    when::settles_each => deliveries_are_settled_in_any_order,
    when::settles_cumulatively => an_ack_covers_the_contiguous_prefix,
    |it| when::requeues(it) && it.attempts == Attempts::Counted => attempts_are_counted,
    |it| when::requeues(it) && it.attempts == Attempts::Flag => a_second_delivery_is_flagged,
    |it| when::publishes_and_consumes(it) && it.attempts == Attempts::Unknown
        => attempts_are_unknown,
    when::delays => a_delayed_requeue_is_not_early,
    |it| when::delays(it) && it.max_delay.is_some() => a_longer_delay_than_the_longest_is_refused,
    when::publishes_and_consumes => a_verdict_that_the_backend_has_not_is_refused,
}

async fn an_acked_delivery_is_gone(cx: &Context) -> Outcome {
    let work = Work::open(cx, "acked").await?;
    let mut queue = work.consume().await?;
    work.publish(20).await?;
    for delivery in work.take(&mut queue, 20).await? {
        cx.soon("the ack", delivery.ack()).await??;
    }
    drop(queue);
    work.is_empty().await
}

async fn a_cancelled_ack_still_acks(cx: &Context) -> Outcome {
    let work = Work::open(cx, "cancelled-ack").await?;
    let mut queue = work.consume().await?;
    work.publish(20).await?;
    let mut deliveries = work.take(&mut queue, 20).await?;
    let last = deliveries.pop();
    for delivery in deliveries {
        // The verdict is handed over before there is anything to await.
        drop(delivery.ack());
    }
    // What is awaited was handed over after the others.
    if let Some(delivery) = last {
        cx.soon("the ack", delivery.ack()).await??;
    }
    drop(queue);
    work.is_empty().await
}

async fn a_delivery_can_be_acked_after_its_intake_ended(cx: &Context) -> Outcome {
    let work = Work::open(cx, "outlived").await?;
    let mut queue = work.consume().await?;
    work.publish(5).await?;
    let deliveries = work.take(&mut queue, 5).await?;
    drop(queue);
    for delivery in deliveries {
        cx.soon("the ack", delivery.ack()).await?.during("ack after the intake was dropped")?;
    }
    work.is_empty().await
}

async fn a_requeued_delivery_comes_back(cx: &Context) -> Outcome {
    let work = Work::open(cx, "requeued").await?;
    let mut queue = work.consume().await?;
    work.publish(10).await?;
    for delivery in work.take(&mut queue, 10).await? {
        let again = ["m-3", "m-7"].contains(&&*text(&delivery.message));
        let verdict = if again { Verdict::Requeue } else { Verdict::Ack };
        cx.soon("the answer", delivery.settle(verdict)).await??;
    }
    let promised = ["m-3", "m-7"].map(str::to_owned);
    work.yields(queue, promised).await
}

async fn many_requeues_lose_nothing(cx: &Context) -> Outcome {
    let work = Work::open(cx, "requeues").await?;
    let mut queues = [work.consume().await?, work.consume().await?, work.consume().await?];
    work.publish(50).await?;
    for queue in &mut queues {
        for _ in 0..20 {
            for delivery in work.take(queue, 1).await? {
                cx.soon("the answer", delivery.settle(Verdict::Requeue)).await??;
            }
        }
    }
    // What two of them hold, the third gets.
    let [first, second, third] = queues;
    drop((first, second));
    work.yields(third, numbered("m", 50)).await
}

async fn a_dropped_delivery_comes_back(cx: &Context) -> Outcome {
    let work = Work::open(cx, "dropped").await?;
    let mut queue = work.consume().await?;
    work.publish(10).await?;
    drop(work.take(&mut queue, 10).await?);
    work.yields(queue, numbered("m", 10)).await
}

async fn a_panicking_handler_loses_nothing(cx: &Context) -> Outcome {
    handlers_die(cx, "panicking", Death::Panic).await
}

async fn a_cancelled_handler_loses_nothing(cx: &Context) -> Outcome {
    handlers_die(cx, "cancelled", Death::Cancellation).await
}

#[derive(Clone, Copy)]
enum Death {
    Panic,
    Cancellation,
}

/// Fifty handlers die with their deliveries; all fifty come back, and then nothing is left unsettled.
async fn handlers_die(cx: &Context, name: &str, death: Death) -> Outcome {
    let work = Work::open(cx, name).await?;
    let mut queue = work.consume().await?;
    work.publish(50).await?;
    let mut handlers = JoinSet::new();
    let (start, mut started) = mpsc::channel(50);
    for delivery in work.take(&mut queue, 50).await? {
        let start = start.clone();
        handlers.spawn(async move {
            let _held = delivery;
            let _ = start.send(()).await;
            match death {
                // A panic, without the noise of one.
                Death::Panic => std::panic::resume_unwind(Box::new("a handler's panic")),
                Death::Cancellation => std::future::pending().await,
            }
        });
    }
    for _ in 0..50 {
        cx.soon("a handler's start", started.recv()).await?;
    }
    if let Death::Cancellation = death {
        handlers.abort_all();
    }
    let mut died = 0;
    while let Some(end) = cx.soon("a handler's end", handlers.join_next()).await? {
        let end: Result<(), _> = end;
        died += match (end, death) {
            (Err(err), Death::Panic) if err.is_panic() => 1,
            (Err(err), Death::Cancellation) if err.is_cancelled() => 1,
            _ => 0,
        };
    }
    ensure_eq("handlers that died as they should", &died, &50)?;
    work.yields(queue, numbered("m", 50)).await?;
    work.is_empty().await
}

async fn what_was_not_acked_comes_back_to_the_next_consumer(cx: &Context) -> Outcome {
    let work = Work::open(cx, "unacked").await?;
    let mut queue = work.consume().await?;
    work.publish(10).await?;
    drop(work.take(&mut queue, 10).await?);
    drop(queue);
    work.yields(work.consume().await?, numbered("m", 10)).await
}

async fn a_discarded_delivery_never_comes_back(cx: &Context) -> Outcome {
    let work = Work::open(cx, "discarded").await?;
    let mut queue = work.consume().await?;
    work.publish(10).await?;
    for delivery in work.take(&mut queue, 10).await? {
        cx.soon("the answer", delivery.settle(Verdict::Discard)).await??;
    }
    work.yields(queue, []).await.during("after all was discarded")?;
    work.is_empty().await
}

async fn deliveries_are_settled_in_any_order(cx: &Context) -> Outcome {
    let work = Work::open(cx, "any-order").await?;
    let mut queue = work.consume().await?;
    work.publish(6).await?;
    let mut held = Vec::new();
    for delivery in work.take(&mut queue, 6).await?.into_iter().rev() {
        if ["m-1", "m-4"].contains(&&*text(&delivery.message)) {
            held.push(delivery);
        } else {
            cx.soon("the ack", delivery.ack()).await??;
        }
    }
    drop((queue, held));
    let promised = ["m-1", "m-4"].map(str::to_owned);
    work.yields(work.consume().await?, promised).await
}

async fn an_ack_covers_the_contiguous_prefix(cx: &Context) -> Outcome {
    let work = Work::open(cx, "prefix").await?;
    let mut queue = work.consume().await?;
    work.publish(6).await?;
    for delivery in work.take(&mut queue, 6).await? {
        if ["m-0", "m-1", "m-3"].contains(&&*text(&delivery.message)) {
            cx.soon("the ack", delivery.ack()).await??;
        }
    }
    drop(queue);
    let promised = (2..6).map(|number| format!("m-{number}"));
    work.yields(work.consume().await?, promised).await
}

async fn attempts_are_counted(cx: &Context) -> Outcome {
    let work = Work::open(cx, "attempts").await?;
    let mut queue = work.consume().await?;
    work.publish(1).await?;
    for number in 1..=5 {
        for delivery in work.take(&mut queue, 1).await? {
            ensure_eq("the attempt", delivery.attempt, Attempt::Number(number))?;
            cx.soon("the answer", delivery.settle(Verdict::Requeue)).await??;
        }
    }
    // Each message has a count of its own.
    for delivery in work.take(&mut queue, 1).await? {
        delivery.ack().await?;
    }
    work.publish(1).await?;
    for delivery in work.take(&mut queue, 1).await? {
        ensure_eq("another message's attempt", delivery.attempt, Attempt::Number(1))?;
        delivery.ack().await?;
    }
    Ok(())
}

async fn a_second_delivery_is_flagged(cx: &Context) -> Outcome {
    let work = Work::open(cx, "flagged").await?;
    let mut queue = work.consume().await?;
    work.publish(1).await?;
    for attempt in [Attempt::Unknown, Attempt::Redelivered, Attempt::Redelivered] {
        for delivery in work.take(&mut queue, 1).await? {
            ensure_eq("the attempt", delivery.attempt, attempt)?;
            cx.soon("the answer", delivery.settle(Verdict::Requeue)).await??;
        }
    }
    Ok(())
}

async fn attempts_are_unknown(cx: &Context) -> Outcome {
    let work = Work::open(cx, "unknown").await?;
    let mut queue = work.consume().await?;
    work.publish(1).await?;
    for delivery in work.take(&mut queue, 1).await? {
        ensure_eq("the attempt", delivery.attempt, Attempt::Unknown)?;
        delivery.ack().await?;
    }
    Ok(())
}

async fn a_delayed_requeue_is_not_early(cx: &Context) -> Outcome {
    let work = Work::open(cx, "delayed").await?;
    let mut queue = work.consume().await?;
    work.publish(3).await?;
    let delays = [Duration::from_millis(900), Duration::from_millis(300), Duration::ZERO];
    let mut due = Vec::new();
    for (delivery, delay) in work.take(&mut queue, 3).await?.into_iter().zip(delays) {
        due.push((text(&delivery.message), Instant::now() + delay));
        let verdict = Verdict::RequeueAfter(delay);
        cx.soon("the answer", delivery.settle(verdict)).await??;
    }
    for _ in 0..3 {
        for delivery in work.take(&mut queue, 1).await? {
            let name = text(&delivery.message);
            let early = due
                .iter()
                .find(|(it, _)| *it == name)
                .map(|(_, due)| due.saturating_duration_since(Instant::now()));
            ensure(early.is_some_and(|early| early < ROUNDING), || {
                format!("{name} came back {early:?} early")
            })?;
            due.retain(|(it, _)| *it != name);
            delivery.ack().await?;
        }
    }
    work.yields(queue, []).await.during("after all came back once")
}

async fn a_longer_delay_than_the_longest_is_refused(cx: &Context) -> Outcome {
    let Some(longest) = cx.capabilities().max_delay else { return Ok(()) };
    let work = Work::open(cx, "too-long").await?;
    let mut queue = work.consume().await?;
    work.publish(1).await?;
    for delivery in work.take(&mut queue, 1).await? {
        let verdict = Verdict::RequeueAfter(longest + Duration::from_secs(1));
        let answer = cx.soon("the answer", delivery.settle(verdict)).await?;
        refused("too long a delay", answer, &[ErrorKind::Unsupported])?;
    }
    // It is requeued instead.
    work.yields(queue, numbered("m", 1)).await
}

async fn a_verdict_that_the_backend_has_not_is_refused(cx: &Context) -> Outcome {
    let has = cx.capabilities();
    let mut lacking = Vec::new();
    if has.requeue < Requeue::Immediate {
        lacking.push(Verdict::Requeue);
    }
    if has.requeue < Requeue::Delayed {
        lacking.push(Verdict::RequeueAfter(Duration::from_secs(1)));
    }
    if has.settlement < Settlement::Each {
        lacking.push(Verdict::Discard);
    }
    for (index, verdict) in lacking.into_iter().enumerate() {
        let work = Work::open(cx, &format!("lacking-{index}")).await?;
        let mut queue = work.consume().await?;
        work.publish(1).await?;
        for delivery in work.take(&mut queue, 1).await? {
            let answer = cx.soon("the answer", delivery.settle(verdict)).await?;
            refused(format_args!("{verdict:?}"), answer, &[ErrorKind::Unsupported])?;
        }
        // It is not lost by it.
        let mut again = if has.requeue < Requeue::Immediate {
            drop(queue);
            work.consume().await?
        } else {
            queue
        };
        work.take(&mut again, 1).await.during(format_args!("after {verdict:?}"))?;
    }
    Ok(())
}

/// A queue, and what publishes into it.
pub(super) struct Work<'a> {
    cx: &'a Context,
    pub(super) backend: AnyBackend,
    pub(super) publisher: AnyPublisher,
    pub(super) subject: Subject,
    pub(super) wanted: Consumption,
}

impl<'a> Work<'a> {
    pub(super) async fn open(cx: &'a Context, name: &str) -> Outcome<Self> {
        let backend = cx.connect().await?;
        let publisher = backend.publisher()?;
        let subject = cx.subject(name)?;
        let wanted = cx.consumption(name, &subject)?;
        Ok(Self { cx, backend, publisher, subject, wanted })
    }

    pub(super) async fn consume(&self) -> Outcome<Incoming<Delivery>> {
        self.cx.consume(&self.backend, self.wanted.clone()).await
    }

    /// Publishes `m-0` and so on.
    pub(super) async fn publish(&self, count: u32) -> Outcome {
        self.cx.send_all(&self.publisher, &self.subject, numbered("m", count)).await
    }

    /// Takes `count` different deliveries, and settles none.
    pub(super) async fn take(
        &self,
        queue: &mut Incoming<Delivery>,
        count: usize,
    ) -> Outcome<Vec<Delivery>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let what = format!("delivery {} of {count}", taken.len() + 1);
            taken.push(self.cx.item(queue, what).await?);
        }
        let mut names: Vec<_> = taken.iter().map(|it| text(&it.message)).collect();
        names.sort();
        names.dedup();
        ensure_eq("different messages among the unsettled", names.len(), count)?;
        Ok(taken)
    }

    /// A new consumer of the queue finds nothing in it.
    pub(super) async fn is_empty(&self) -> Outcome {
        let queue = self.consume().await?;
        self.yields(queue, []).await.during("from a queue whose every message was settled")
    }

    /// What `queue` yields is each of `promised`, once, and nothing else before what is published next; acks them.
    pub(super) async fn yields(
        &self,
        queue: Incoming<Delivery>,
        promised: impl IntoIterator<Item = String>,
    ) -> Outcome {
        let promised = Tally::new(promised).fenced(&self.publisher, &self.subject);
        Intake::Queue(queue).exactly(self.cx, promised).await
    }

    /// What all of `queues` yield together is each of `count` numbered messages, once; acks them.
    pub(super) async fn share(&self, queues: Vec<Incoming<Delivery>>, count: u32) -> Outcome {
        let (sender, mut taken) = mpsc::channel(count as usize);
        let mut tasks = JoinSet::new();
        for mut queue in queues {
            let sender = sender.clone();
            tasks.spawn(async move {
                while let Some(Ok(delivery)) = queue.next_item().await {
                    let message = delivery.message.clone();
                    let acked = delivery.ack().await;
                    if sender.send(acked.map(|()| message)).await.is_err() {
                        break;
                    }
                }
            });
        }
        let mut tally = Tally::new(numbered("m", count));
        while !tally.is_complete() {
            let what = format!("one of {:?}", tally.missing());
            match self.cx.soon(what, taken.recv()).await? {
                Some(message) => tally.count(&message?),
                None => return Err(Failure::new("the consumers ended")),
            }
        }
        self.cx.quiet(1).await;
        while let Ok(more) = taken.try_recv() {
            tally.count(&more?);
        }
        tally.verdict()
    }
}

/// What clocks of different resolution may differ by.
const ROUNDING: Duration = Duration::from_millis(10);
