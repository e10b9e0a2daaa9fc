//! One ask under way: the machine that decides, and the hands that it has.
use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use sinew_core::{FromPayload, Result, Subject};
use tokio::{runtime::Handle, time::Instant};
use tracing::{Instrument as _, Span};

use crate::{
    AgentError, AgentId, End, Ended, Predicate, Presence, Reply, SoFar,
    context::AskInfo,
    gather::{Gather, Outcome, Pick, Responder, Verdict},
    load::Counted,
    local::{Entries, admit, run},
    remote::RemoteAsk,
    stats::Meter,
};

/// Where what happens to an ask is told, by those who answer it.
pub(crate) trait Sink: Send + Sync {
    /// An answer came.
    fn answer(self: Arc<Self>, from: Responder<'_>, answer: Result<Bytes, AgentError>);
    /// An agent elsewhere is known to be gone.
    fn gone(self: Arc<Self>, agent: &AgentId);
    /// Nobody elsewhere can answer any more what `asked` was asked alone, or what all were: [`Ended::NoAgents`] or
    /// [`Ended::Disconnected`].
    fn remote_ended(self: Arc<Self>, asked: Option<&AgentId>, why: Ended);
    /// Answers may have been lost.
    fn gap(&self);
    /// The runtime that it is asked on has ended: nothing of it goes on.
    fn runtime_ended(&self);
    /// Why it ended, if it has.
    fn ended(&self) -> Option<Ended>;
    /// Whether somebody elsewhere may still work on it.
    fn is_worked_on(&self) -> bool;
}

/// An ask in the hands of a task. One that is dropped before it is done was on a runtime that has ended, which the timers of
/// the ask were on, too.
pub(crate) struct TaskGuard<S: Sink + ?Sized>(Option<Arc<S>>);

impl<S: Sink + ?Sized> TaskGuard<S> {
    pub(crate) fn new(sink: Arc<S>) -> Self {
        Self(Some(sink))
    }

    /// The ask.
    fn sink(&self) -> Option<&S> {
        self.0.as_deref()
    }

    /// The task has done its work.
    pub(crate) fn done(mut self) -> Option<Arc<S>> {
        self.0.take()
    }
}

impl<S: Sink + ?Sized> Drop for TaskGuard<S> {
    fn drop(&mut self) {
        if let Some(sink) = self.0.take() {
            sink.runtime_ended();
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) payload: Bytes,
    pub(crate) content_type: Option<&'static str>,
}

/// Those who were there when they were asked, and who knows whether they still are.
pub(crate) struct Watched {
    pub(crate) presence: Arc<dyn Presence>,
    pub(crate) names: Vec<AgentId>,
}

pub(crate) struct Asking<T> {
    pub(crate) runtime: Handle,
    pub(crate) info: Arc<AskInfo>,
    pub(crate) request: Bytes,
    pub(crate) agents: Entries,
    /// Where agents elsewhere are asked one after the other.
    pub(crate) remote: Option<Box<RemoteAsk>>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) span: Span,
    pub(crate) state: Mutex<State<T>>,
}

/// What of an ask changes.
pub(crate) struct State<T> {
    gather: Gather,
    /// Bounded by the machine: it delivers no more than an ask may take.
    replies: VecDeque<Reply<T>>,
    condition: Option<Predicate>,
    /// What the condition panicked with.
    panic: Option<Panic>,
    reader: Option<Waker>,
    /// Whether its end was counted.
    told: bool,
    /// Held until whoever asked is gone.
    pending: Option<Counted>,
}

/// What a panic left.
type Panic = Box<dyn Any + Send>;

impl<T> Asking<T> {
    pub(crate) fn topic(&self) -> &Subject {
        &self.info.topic
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().gather.ended()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lock().gather.next_deadline()
    }

    /// Whether there is something for whoever asked. Where not, what comes from now on is not to wake them: they look.
    pub(crate) fn is_ready(&self) -> bool {
        let mut state = self.lock();
        state.reader = None;
        !state.replies.is_empty() || state.panic.is_some() || state.gather.ended().is_some()
    }

    /// The next reply, none once all is over, or what the caller's condition panicked with.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Reply<T>>, Panic>> {
        let mut state = self.lock();
        if let Some(panic) = state.panic.take() {
            return Poll::Ready(Err(panic));
        }
        if let Some(reply) = state.replies.pop_front() {
            return Poll::Ready(Ok(Some(reply)));
        }
        if state.gather.ended().is_some() {
            return Poll::Ready(Ok(None));
        }
        if !state.reader.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends it, if it has not ended, and says how it did.
    pub(crate) fn finish(&self) -> End {
        let mut state = self.lock();
        let end = self.end_of(&mut state.gather);
        self.settle(state);
        end
    }

    fn end_of(&self, gather: &mut Gather) -> End {
        // What is over needs no clock.
        let now = gather.ended_at().unwrap_or_else(Instant::now);
        gather.finish(now, |place| Some(self.agents.get(place)?.agent.id().clone()))
    }

    /// Whoever asked is gone: everything that is kept for them is let go.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let Some(pending) = state.pending.take() else { return };
        state.stop();
        let kept =
            (std::mem::take(&mut state.replies), state.condition.take(), state.reader.take());
        self.settle(state);
        drop(pending);
        // Theirs to drop, so outside of the lock.
        drop(kept);
    }

    /// Passes on what the machine has come to: wakes who asked, and where it ended tells the agents, once.
    fn settle(&self, mut state: MutexGuard<'_, State<T>>) {
        let has_news = !state.replies.is_empty() || state.panic.is_some();
        let end = match state.gather.ended() {
            Some(_) if !std::mem::replace(&mut state.told, true) => {
                Some(self.end_of(&mut state.gather))
            }
            Some(_) => None,
            None if has_news => None,
            None => return,
        };
        let reader = state.reader.take();
        drop(state);
        if let Some(end) = end {
            self.info.over.tell();
            self.meter.ended(&end);
            crate::trace::ended(&self.span, &end);
        }
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: FromPayload + Send + 'static> Asking<T> {
    /// Asks all agents of this process.
    pub(crate) fn ask_all(self: &Arc<Self>) {
        // It may be over before: where too few are left to make a quorum, say.
        self.settle(self.lock());
        (0..self.agents.len()).for_each(|place| self.ask_on(Some(Pick::Local(place))));
    }

    /// Time has passed.
    pub(crate) fn tick(self: &Arc<Self>) {
        self.ask_on(self.note(Gather::tick));
    }

    /// Asks an agent, and if it refuses or is not there, whomever the machine says to ask instead.
    pub(crate) fn ask_on(self: &Arc<Self>, mut next: Option<Pick>) {
        while let Some(pick) = next {
            next = match pick {
                Pick::Local(place) => {
                    let refusal = self.ask_local(place).err();
                    refusal.and_then(|it| self.take(Responder::Local(place), Err(it)))
                }
                Pick::Remote(agent) => match &self.remote {
                    Some(remote) if remote.is_present(self.topic(), &agent) => {
                        let sink = Arc::<Self>::clone(self);
                        remote.begin(Arc::clone(&self.info), agent, sink);
                        None
                    }
                    _ => self.note(|gather, now| gather.absent(&agent, now)),
                },
            };
        }
    }

    /// Tells the machine something that may be a reason to ask another agent: whom.
    fn note(&self, what: impl FnOnce(&mut Gather, Instant)) -> Option<Pick> {
        let now = Instant::now();
        let mut state = self.lock();
        what(&mut state.gather, now);
        let next = state.gather.hedge(now);
        self.settle(state);
        next
    }

    fn ask_local(self: &Arc<Self>, place: usize) -> Result<(), AgentError> {
        let Some(entry) = self.agents.get(place) else { return Ok(()) };
        let context = admit(&entry.agent, &self.info, &entry.load)?;
        let span = crate::trace::agent(&self.span, entry.agent.id());
        let guard = TaskGuard::new(Arc::clone(self));
        // Owned by the ask: it ends with it, or an agent's grace later.
        let work = async move {
            let answer = match guard.sink() {
                Some(asking) => asking.run_local(place, context).await,
                None => None,
            };
            if let Some((sink, answer)) = guard.done().zip(answer) {
                sink.answer(Responder::Local(place), answer);
            }
        };
        match span.is_disabled() {
            true => self.runtime.spawn(work),
            false => self.runtime.spawn(work.instrument(span)),
        };
        Ok(())
    }

    /// What the agent at `place` answers. It borrows the agent: all asks share it, and two threads would fight for its count.
    async fn run_local(
        &self,
        place: usize,
        context: crate::Context,
    ) -> Option<Result<Bytes, AgentError>> {
        let entry = self.agents.get(place)?;
        run(&entry.agent, &self.info, context, self.request.clone()).await
    }

    fn name_of(&self, from: Responder<'_>) -> Option<AgentId> {
        match from {
            Responder::Local(place) => self.agents.get(place).map(|it| it.agent.id().clone()),
            Responder::Named(name) => Some(name.clone()),
            Responder::Unnamed => None,
        }
    }

    /// Takes an answer in; whom to ask next, if anybody.
    fn take(
        self: &Arc<Self>,
        from: Responder<'_>,
        answer: Result<Bytes, AgentError>,
    ) -> Option<Pick> {
        // Here, so that what does not decode counts as failed, and the agents' tasks share the work.
        let is_for_nobody =
            |it: &Bytes| it.len() > DECODED_UNSEEN && !self.lock().gather.takes(it.len());
        let result = match &answer {
            Ok(payload) if is_for_nobody(payload) => Err(too_large()),
            Ok(payload) => decode(payload),
            Err(err) => Err(err.clone()),
        };
        let now = Instant::now();
        let mut state = self.lock();
        if self.info.over.is_told() {
            // Its agents were told that time is up: what they say of it is no answer, be it as quick as it may.
            state.gather.tick(now);
        }
        let outcome = match (&result, &answer) {
            (Ok(_), Ok(bytes)) => Outcome::Ok(bytes.len()),
            (Err(err), _) | (_, Err(err)) => {
                Outcome::Failed(err.code().len() + err.message().len())
            }
        };
        let verdict = state.gather.reply(from, outcome, now);
        let result = match verdict {
            Verdict::Deliver => result,
            Verdict::TooLarge => Err(too_large()),
            Verdict::Late | Verdict::Duplicate => {
                self.settle(state);
                let count = self.meter.undelivered(verdict);
                // Once, and then ever more seldom: each ask of such a topic has one.
                if verdict == Verdict::Duplicate && count.is_power_of_two() {
                    crate::trace::answered_twice(self.topic(), self.name_of(from).as_ref(), count);
                }
                return None;
            }
        };
        let agent = self.name_of(from);
        state.judge(agent.as_ref(), result.as_ref().err(), answer.as_ref().ok(), now);
        let elapsed = now.saturating_duration_since(self.info.sent);
        if state.gather.is_first() {
            self.meter.first(elapsed);
        }
        state.replies.push_back(Reply { agent, elapsed, result });
        let next = state.gather.hedge(now);
        self.settle(state);
        next
    }
}

impl<T> State<T> {
    pub(crate) fn new(gather: Gather, condition: Option<Predicate>, pending: Counted) -> Self {
        Self {
            gather,
            replies: VecDeque::new(),
            condition,
            panic: None,
            reader: None,
            told: false,
            pending: Some(pending),
        }
    }

    /// Whoever asked has enough.
    fn stop(&mut self) {
        if self.gather.ended().is_none() {
            self.gather.stop(Ended::Stopped, Instant::now());
        }
    }

    /// Asks the caller's condition about an answer that counts.
    fn judge(
        &mut self,
        agent: Option<&AgentId>,
        failure: Option<&AgentError>,
        payload: Option<&Bytes>,
        now: Instant,
    ) {
        let (ok, failed) = self.gather.counts();
        let result = match (failure, payload) {
            (Some(failure), _) => Err(failure),
            (None, Some(payload)) => Ok(payload),
            (None, None) => return,
        };
        let Some(condition) = self.condition.as_mut() else { return };
        let so_far = SoFar { agent, result, ok, failed };
        match catch_unwind(AssertUnwindSafe(|| condition(&so_far))) {
            Ok(false) => return,
            Ok(true) => {}
            Err(panic) => self.panic = Some(panic),
        }
        self.gather.stop(Ended::Condition, now);
    }
}

/// Up to so many bytes a payload is decoded without a look at whether it is late or too large: a value may take many times
/// the bytes that it is made of.
const DECODED_UNSEEN: usize = 4096;

fn too_large() -> AgentError {
    AgentError::new(AgentError::TOO_LARGE, "its reply is more than this ask may still take")
}

fn decode<T: FromPayload>(payload: &Bytes) -> Result<T, AgentError> {
    let bad = |message: String| AgentError::new(AgentError::BAD_REPLY, message);
    match catch_unwind(AssertUnwindSafe(|| T::from_payload(payload))) {
        Ok(decoded) => decoded.map_err(|err| bad(err.to_string())),
        Err(_) => Err(bad("decoding it panicked".to_owned())),
    }
}

impl<T: FromPayload + Send + 'static> Sink for Asking<T> {
    fn answer(self: Arc<Self>, from: Responder<'_>, answer: Result<Bytes, AgentError>) {
        let span = match from {
            Responder::Named(agent) => crate::trace::answer(&self.span, agent, self.info.sent),
            _ => Span::none(),
        };
        let next = span.in_scope(|| self.take(from, answer));
        self.ask_on(next);
    }

    fn gone(self: Arc<Self>, agent: &AgentId) {
        self.ask_on(self.note(|gather, now| gather.gone(agent, now)));
    }

    fn remote_ended(self: Arc<Self>, asked: Option<&AgentId>, why: Ended) {
        self.ask_on(self.note(|gather, now| gather.remote_ended(asked, why, now)));
    }

    fn gap(&self) {
        self.lock().gather.gap();
    }

    fn runtime_ended(&self) {
        let mut state = self.lock();
        state.gather.stop(Ended::Disconnected, Instant::now());
        self.settle(state);
    }

    fn is_worked_on(&self) -> bool {
        self.lock().gather.is_worked_on()
    }

    fn ended(&self) -> Option<Ended> {
        self.lock().gather.ended()
    }
}
