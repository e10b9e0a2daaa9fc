//! A channel that publishes to one exchange: what goes wrong there costs no other exchange's messages.
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{Confirmation, message::BasicReturnMessage, types::ShortString};
use sinew_core::{ErrorKind, Sent};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::coop::unconstrained,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    connect::Inner,
    error::Cause,
    returns::{Returned, Returns},
    session::Session,
    wire::{Confirmed, Outbound, Wire},
};

/// How often overdue answers are given up: deadlines are kept to this.
const SWEEP: Duration = Duration::from_millis(100);
/// How many confirms are looked at in one turn.
const BATCH: usize = 256;

/// Whether the broker has taken a message, or why not.
pub(crate) type Answer = Result<(), Cause>;

/// One channel and the task that reads its confirms. It ends with the last handle, once all is confirmed.
#[derive(Debug)]
pub(crate) struct Lane {
    generation: u64,
    wire: Arc<Wire>,
    /// Bounded by the places in the window, and by who flushes.
    jobs: UnboundedSender<Job>,
    /// Shared with every message in flight.
    flying: Arc<()>,
    inner: Weak<Inner>,
}

#[derive(Debug)]
enum Job {
    Confirm(InFlight),
    /// Wants to know when all that came before is answered.
    Flush(oneshot::Sender<()>),
}

/// A message that the client has, until the broker has confirmed it.
struct InFlight {
    confirmed: Confirmed,
    /// Set where it must be routed.
    routed: Option<Returned>,
    answer: oneshot::Sender<Answer>,
    hold: Hold,
}

/// What a message takes up for as long as the client has it.
#[derive(Debug)]
struct Hold {
    _place: OwnedSemaphorePermit,
    _flying: Arc<()>,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").field("routed", &self.routed).finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) async fn open(inner: &Arc<Inner>, session: &Session) -> Result<Arc<Self>, Cause> {
        let wire = Arc::new(Wire::open(session).await?);
        let (jobs, received) = mpsc::unbounded_channel();
        let reader = Reader {
            wire: Arc::clone(&wire),
            jobs: received,
            answer_timeout: inner.settings.answer_timeout,
            clogged: inner.publishes.places() / 2,
            confirmed: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            flushes: VecDeque::new(),
            next: 0,
            returns: Returns::default(),
            inner: Arc::downgrade(inner),
        };
        inner.handle.spawn(reader.run());
        Ok(Arc::new(Self {
            generation: session.generation(),
            wire,
            jobs,
            flying: Arc::default(),
            inner: Arc::downgrade(inner),
        }))
    }

    /// Whether a message can be handed over to it.
    pub(crate) fn is_open(&self, session: &Session) -> bool {
        self.generation == session.generation() && self.wire.is_open()
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.flying) == 1
    }

    /// Hands a message to the client. When this ends well, the client has it; the outcome comes later.
    pub(crate) fn publish(
        &self,
        outbound: Outbound,
        place: OwnedSemaphorePermit,
    ) -> Result<Outcome, Cause> {
        let routed = outbound.mandatory.then(|| Returned {
            id: outbound.properties.message_id().as_ref().map_or("", ShortString::as_str).into(),
            key: outbound.key.as_str().into(),
        });
        let hold = Hold { _place: place, _flying: Arc::clone(&self.flying) };
        let (answer, outcome) = oneshot::channel();
        self.wire.hand_over(outbound, |confirmed| {
            let job = Job::Confirm(InFlight { confirmed, routed, answer, hold });
            self.jobs.send(job).map_err(|_| Cause::broke())
        })?;
        Ok(Outcome { answer: outcome, inner: Weak::clone(&self.inner) })
    }

    /// Ends when all that was handed over before is answered, which takes as long as an answer may at most.
    pub(crate) fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, flushed) = oneshot::channel();
        // It fails when the lane is gone, and everything on it is answered.
        let _ = self.jobs.send(Job::Flush(done));
        async move { drop(flushed.await) }
    }
}

/// What the broker will say of a message. A failure that nobody looks at is told by the next flush.
#[derive(Debug)]
pub(crate) struct Outcome {
    answer: oneshot::Receiver<Answer>,
    inner: Weak<Inner>,
}

impl Future for Outcome {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        // Not a matter of the caller's fair share: an answer that is there is there at the first look.
        let answer = Pin::new(&mut unconstrained(&mut self.answer)).poll(cx);
        // A lane that ended without an answer has lost its link.
        answer.map(|answer| answer.unwrap_or_else(|_| Err(Cause::broke())))
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if let Ok(Err(cause)) = self.answer.try_recv()
            && let Some(inner) = self.inner.upgrade()
        {
            inner.publishes.keep_unread(cause);
        }
    }
}

/// Reads the confirms of one channel.
struct Reader {
    wire: Arc<Wire>,
    jobs: UnboundedReceiver<Job>,
    answer_timeout: Duration,
    /// With more than this many places taken by messages that are overdue, the channel is given up.
    clogged: usize,
    confirmed: FuturesUnordered<Numbered>,
    /// Who waits, in the order of their deadlines.
    waiting: BTreeMap<u64, Waiting>,
    /// Who waits for all before a number.
    flushes: VecDeque<(u64, oneshot::Sender<()>)>,
    next: u64,
    returns: Returns,
    inner: Weak<Inner>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    deadline: Instant,
}

/// What the client will say of a message.
struct Numbered {
    number: u64,
    confirmed: Confirmed,
    /// Taken out with the outcome.
    rest: Option<(Option<Returned>, Hold)>,
}

impl Future for Numbered {
    type Output = (u64, lapin::Result<Confirmation>, Option<(Option<Returned>, Hold)>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.confirmed.as_mut().poll(cx).map(|outcome| (this.number, outcome, this.rest.take()))
    }
}

/// A message that the broker has taken, and may have returned.
type Routed = (Option<oneshot::Sender<Answer>>, Returned);

impl Reader {
    async fn run(mut self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = true;
        while open || !self.confirmed.is_empty() {
            tokio::select! {
                count = self.jobs.recv_many(&mut batch, BATCH), if open => {
                    open = count > 0;
                    batch.drain(..).for_each(|job| self.take(job));
                }
                Some(done) = self.confirmed.next(), if !self.confirmed.is_empty() => {
                    self.settle(done);
                }
                _ = tick.tick(), if !self.waiting.is_empty() => {
                    self.sweep();
                    if self.is_clogged() {
                        unclog(&self.wire, self.answer_timeout).await;
                    }
                }
            }
            self.tell_flushes();
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Confirm(InFlight { confirmed, routed, answer, hold }) => {
                let number = self.next;
                self.next += 1;
                let deadline = Instant::now() + self.answer_timeout;
                self.waiting.insert(number, Waiting { answer, deadline });
                let rest = Some((routed, hold));
                self.confirmed.push(Numbered { number, confirmed, rest });
            }
            Job::Flush(done) => self.flushes.push_back((self.next, done)),
        }
    }

    /// Settles `first` and all that is there with it.
    ///
    /// A confirm may bring along what the broker returned of any other message: so one of a message that must be routed
    /// waits until all that the client says at once is read.
    fn settle(&mut self, first: <Numbered as Future>::Output) {
        let mut routed = Vec::new();
        self.note(first, &mut routed);
        self.read(&mut routed);
        if routed.is_empty() {
            return;
        }
        self.wire.fence();
        while let Ok(job) = self.jobs.try_recv() {
            self.take(job);
        }
        self.read(&mut routed);
        for (asker, message) in routed {
            let is_returned = self.returns.take(&message);
            if let Some(asker) = asker {
                self.answer(asker, if is_returned { Err(unroutable()) } else { Ok(()) });
            }
        }
    }

    fn read(&mut self, routed: &mut Vec<Routed>) {
        while let Some(Some(done)) = self.confirmed.next().now_or_never() {
            self.note(done, routed);
        }
    }

    fn note(
        &mut self,
        (number, outcome, rest): <Numbered as Future>::Output,
        routed: &mut Vec<Routed>,
    ) {
        let asker = self.waiting.remove(&number).map(|waiting| waiting.answer);
        let message = rest.and_then(|(message, _hold)| message);
        let answer = match outcome {
            Ok(Confirmation::Ack(returned)) => {
                self.note_returned(returned);
                Ok(())
            }
            Ok(Confirmation::Nack(returned)) => {
                self.note_returned(returned);
                Err(refused())
            }
            Ok(Confirmation::NotRequested) => Err(Cause::broke()),
            Err(err) => Err(Cause::after_sending(err)),
        };
        match (message, answer, asker) {
            // Even with nobody left to tell, what was returned of it is not another's.
            (Some(message), Ok(()), asker) => routed.push((asker, message)),
            (_, answer, Some(asker)) => self.answer(asker, answer),
            (_, _, None) => {}
        }
    }

    fn note_returned(&mut self, returned: Option<BasicReturnMessage>) {
        let Some(returned) = returned else { return };
        let id = returned.properties.message_id().as_ref().map_or("", ShortString::as_str).into();
        self.returns.note(Returned { id, key: returned.routing_key.as_str().into() });
    }

    /// Gives up what is overdue; its place is taken until the client has done with it.
    fn sweep(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry()
            && entry.get().deadline <= now
        {
            let Waiting { answer, .. } = entry.remove();
            self.answer(answer, Err(Cause::late()));
        }
    }

    /// Whether messages that are overdue take half of the places.
    fn is_clogged(&self) -> bool {
        let overdue = self.confirmed.len().saturating_sub(self.waiting.len());
        overdue > self.clogged && self.wire.is_open()
    }

    fn tell_flushes(&mut self) {
        let first = self.waiting.first_key_value().map(|(number, _)| *number);
        while let Some((number, _)) = self.flushes.front()
            && first.is_none_or(|first| first >= *number)
        {
            if let Some((_, done)) = self.flushes.pop_front() {
                // Whoever flushed may have gone away.
                let _ = done.send(());
            }
        }
    }

    /// Tells whoever published; a failure that nobody hears is kept for the next flush.
    fn answer(&self, asker: oneshot::Sender<Answer>, answer: Answer) {
        if let Err(Err(cause)) = asker.send(answer)
            && let Some(inner) = self.inner.upgrade()
        {
            inner.publishes.keep_unread(cause);
        }
    }
}

/// Gives up a channel: a broker that never confirms, as one whose queue has lost its majority, would take every place.
async fn unclog(wire: &Wire, within: Duration) {
    tracing::warn!("the broker does not confirm what is published; the channel is given up");
    // Where this is not answered either, the heartbeats will tell.
    drop(timeout(within, wire.channel().close(200, "OK".into())).await);
}

const fn unroutable() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Unroutable,
        detail: "the broker returned it: no queue is bound for it",
        sent: Sent::No,
    }
}

const fn refused() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Overloaded,
        detail: "the broker refused it; a queue that takes no more has it not, another one may",
        sent: Sent::Maybe,
    }
}
