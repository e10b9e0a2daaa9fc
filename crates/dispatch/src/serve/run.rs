//! The loop of a served agent: it always reads, and works on tasks of its own where that takes more than a moment.
use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{
    Address, AnyPublisher, BoxFuture, Error, ErrorKind, Event, Headers, Incoming, Message,
    Property, PublishExt, ReplyTo, Result,
};
use tokio::{
    task::{JoinSet, coop::cooperative},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    counts::Counts,
    in_flight::{Admission, InFlight},
    pace::Pace,
};
use crate::{
    AgentError, AgentId, AgentState,
    ask_id::AskId,
    context::AskInfo,
    load::Load,
    local::{self, Entry},
    over::Over,
    remote::Remote,
    trace,
    wire::{AskHead, ReplyHead, Subjects},
};

/// How long an answer is worth publishing once its ask is over: whoever waited counts it as late.
const LATE: Duration = Duration::from_secs(5);
/// How often the loop turns when nothing comes.
const TURN: Duration = Duration::from_secs(1);
/// How many refusals may be on their way out at once; beyond that they are not said.
const REFUSALS: usize = 1024;
/// How long whoever asked by a plain request is taken to wait.
const PLAIN: Duration = Duration::from_secs(5);

/// One served agent.
pub(super) struct Run {
    subjects: Subjects,
    entry: Arc<Entry>,
    stop: CancellationToken,
    /// What is called off: heard until all that has come is done.
    cancels: Incoming<Message>,
    in_flight: Arc<SharedInFlight>,
    answering: Arc<Answering>,
    tasks: JoinSet<()>,
    refusals: Arc<Load>,
}

/// What is worked on: the loop adds to it, each task takes its own away.
type SharedInFlight = Mutex<InFlight<Arc<AskInfo>>>;

fn lock(in_flight: &SharedInFlight) -> MutexGuard<'_, InFlight<Arc<AskInfo>>> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that is worked on. Dropped, it is not any more, however the work ended.
struct InFlightGuard {
    in_flight: Arc<SharedInFlight>,
    id: AskId,
    number: u64,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.in_flight).done(&self.id, self.number);
    }
}

impl Run {
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`], which no name of an agent comes to.
    pub(super) fn new(
        remote: &Remote,
        subjects: Subjects,
        entry: Arc<Entry>,
        counts: Arc<Counts>,
        stop: CancellationToken,
        cancels: Incoming<Message>,
    ) -> Result<Self> {
        let answering = Arc::new(Answering::new(remote, &entry, counts)?);
        Ok(Self {
            subjects,
            entry,
            stop,
            cancels,
            in_flight: Arc::new(Mutex::new(InFlight::new(remote.mark()))),
            answering,
            tasks: JoinSet::new(),
            refusals: Arc::default(),
        })
    }

    /// The same, and beats for as long as the loop turns: degraded while it would refuse an ask.
    #[cfg(feature = "beat")]
    pub(super) async fn beating(
        self,
        incoming: Incoming<Message>,
        heart: sinew_beat::Heart<AnyPublisher>,
    ) -> Result<()> {
        use sinew_beat::{Health, Progress};
        let entry = Arc::clone(&self.entry);
        let agent = &entry.agent;
        let health = || match AgentState::of(agent) {
            AgentState::Ready => Health::Up,
            AgentState::Busy => Health::Degraded,
        };
        let progress = Progress::new();
        let turned = || progress.tick();
        let (ended, stopped) = heart.run(&progress, health, self.turning(incoming, turned)).await;
        if let Err(err) = stopped {
            trace::stop_not_sent(agent.id(), &err);
        }
        ended
    }

    /// Serves until it is stopped or nothing can come any more, and what has come is done.
    pub(super) async fn through(self, incoming: Incoming<Message>) -> Result<()> {
        self.turning(incoming, || ()).await
    }

    async fn turning(
        mut self,
        mut incoming: Incoming<Message>,
        turned: impl Fn() + Send,
    ) -> Result<()> {
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = pin!(self.stop.clone().cancelled_owned());
        let mut is_stopped = false;
        let ended = loop {
            tokio::select! {
                biased;
                // In this order, so that what was called off is not begun; each has its turn however much comes.
                cancel = called_off(&mut self.cancels, &self.answering.counts) => self.cancel(&cancel),
                event = cooperative(incoming.next()) => match event {
                    None => break Ok(()),
                    Some(Err(err)) => break Err(err),
                    Some(Ok(event)) => self.hear(event),
                },
                () = &mut stopped, if !is_stopped => {
                    incoming.stop();
                    is_stopped = true;
                }
                _ = turn.tick() => {}
            }
            // Here, and not as they end: that would wake the loop once more for each ask.
            while self.tasks.try_join_next().is_some() {}
            turned();
        };
        drop(incoming);
        loop {
            tokio::select! {
                done = self.tasks.join_next() => if done.is_none() { break ended },
                cancel = called_off(&mut self.cancels, &self.answering.counts) => self.cancel(&cancel),
                _ = turn.tick() => {}
            }
            turned();
        }
    }

    fn hear(&mut self, event: Event<Message>) {
        match event {
            Event::Item(message) => match message.subject() {
                Some(subject) if *subject == self.subjects.ask => self.ask(message),
                Some(subject) if *subject == self.subjects.ping => self.ping(&message),
                _ => {}
            },
            Event::Lost(count) => self.answering.counts.lost(count),
            _ => {}
        }
    }

    fn ask(&mut self, message: Message) {
        let now = Instant::now();
        let counts = &self.answering.counts;
        // What nobody waits for is not asked.
        let Message { reply_to: Some(asker), headers, payload, .. } = message else { return };
        let head = AskHead::of(&headers, Some(&asker));
        if head.to.as_ref().is_some_and(|to| to != self.entry.agent.id()) {
            return counts.for_another(1);
        }
        match lock(&self.in_flight).check(&head, &asker) {
            Admission::Run => {}
            Admission::Own => return,
            Admission::Expired => return counts.expired(1),
            Admission::Cancelled => return counts.cancelled(1),
            Admission::Duplicate => return counts.duplicate(1),
        }
        let info = Arc::new(AskInfo {
            topic: self.subjects.ask.clone(),
            headers,
            sent: now,
            deadline: now + head.remaining.unwrap_or(PLAIN),
            over: Over::default(),
        });
        let (entry, answering) = (Arc::clone(&self.entry), Arc::clone(&self.answering));
        let until = info.deadline + LATE;
        let context = match local::admit(&entry.agent, &info, &entry.load) {
            Ok(context) => context,
            Err(busy) => {
                counts.busy(1);
                return self
                    .refuse(async move { answering.answer(&asker, None, Err(busy), until).await });
            }
        };
        let frame = head.id.clone().filter(|_| head.is_framed);
        let guard = head.id.map(|id| {
            let number = lock(&self.in_flight).open(id.clone(), asker.clone(), Arc::clone(&info));
            InFlightGuard { in_flight: Arc::clone(&self.in_flight), id, number }
        });
        let span =
            trace::served(&info.topic, entry.agent.id(), info.headers.text(trace::TRACEPARENT));
        let work: BoxFuture<'static, ()> = Box::pin(async move {
            let _guard = guard;
            // Until its answer is out it counts as running, so that a slow broker slows it.
            let _running = context.clone();
            let pause = entry.agent.pause();
            let counts = &answering.counts;
            let call = local::run(&entry.agent, &info, context, payload);
            let answer = answering.pace.timed(call).await;
            let Some(answer) = answer else { return counts.cancelled(1) };
            if !pause.is_zero() {
                // It is to come in time, too.
                let left = info.deadline.saturating_duration_since(Instant::now());
                drop(timeout(pause.min(left / 2), info.over.told()).await);
            }
            match &answer {
                Ok(_) => counts.ok(1),
                Err(_) => counts.failed(1),
            }
            answering.answer(&asker, frame.as_ref(), answer, until).await;
        });
        self.begin(if span.is_disabled() { work } else { Box::pin(work.instrument(span)) });
    }

    /// Works on an ask: here, where the calls before it were quick ones, and else, or from where it first waits, on a task.
    fn begin(&mut self, mut work: BoxFuture<'static, ()>) {
        if self.answering.pace.is_quick() {
            // Nobody is to be woken here: what it waits for, its task looks for again.
            let mut cx = Context::from_waker(Waker::noop());
            let first = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut cx)));
            // What panics beside the handler, as a recorder of metrics may, ends its ask alone, as it does on a task.
            if !matches!(first, Ok(Poll::Pending)) {
                return;
            }
        }
        self.tasks.spawn(work);
    }

    fn cancel(&self, cancel: &Message) {
        let Some(id) = AskHead::read(&cancel.headers).id else { return };
        let ask = lock(&self.in_flight).cancel(id);
        if let Some(ask) = ask {
            ask.over.tell();
        }
    }

    fn ping(&mut self, message: &Message) {
        let Some(mut reply) = message.reply(Bytes::new()) else { return };
        let agent = &self.entry.agent;
        let said = ReplyHead::new(agent.id().clone())
            .write(&mut reply.headers)
            .and_then(|_| AgentState::of(agent).write(&mut reply.headers));
        if said.is_err() {
            return;
        }
        let (answering, until) = (Arc::clone(&self.answering), Instant::now() + LATE);
        self.refuse(async move { drop(answering.publish(reply, until).await) });
    }

    /// Says something that takes no work. A flood of it is answered as far as it can be.
    fn refuse(&mut self, saying: impl Future<Output = ()> + Send + 'static) {
        let Some(place) = Load::try_count(&self.refusals, REFUSALS) else {
            return self.answering.counts.unsent(1);
        };
        self.tasks.spawn(async move {
            saying.await;
            drop(place);
        });
    }
}

/// The next cancellation. Waits for ever once none can come: the loop ends by other means.
async fn called_off(cancels: &mut Incoming<Message>, counts: &Counts) -> Message {
    loop {
        match cooperative(cancels.next()).await {
            Some(Ok(Event::Item(cancel))) => return cancel,
            Some(Ok(Event::Lost(count))) => counts.lost(count),
            Some(Ok(_)) => {}
            // The last item: what is asked is still answered.
            Some(Err(err)) => trace::deaf(&err),
            None => pending().await,
        }
    }
}

/// What it takes to answer asks.
struct Answering {
    publisher: AnyPublisher,
    agent: AgentId,
    /// What each good reply says of itself.
    good: Headers,
    content_type: Option<&'static str>,
    counts: Arc<Counts>,
    pace: Pace,
}

impl Answering {
    fn new(remote: &Remote, entry: &Entry, counts: Arc<Counts>) -> Result<Self> {
        let agent = entry.agent.id().clone();
        let mut good = Headers::default();
        ReplyHead::new(agent.clone()).write(&mut good)?;
        let content_type =
            entry.agent.content_type().filter(|_| remote.carries(Property::ContentType));
        let (publisher, pace) = (remote.publisher.clone(), Pace::default());
        Ok(Self { publisher, agent, good, content_type, counts, pace })
    }

    /// Answers, in a frame of the ask `frame` where its asker reads that.
    async fn answer(
        &self,
        asker: &ReplyTo,
        frame: Option<&AskId>,
        answer: Result<Bytes, AgentError>,
        until: Instant,
    ) {
        let failed = match self.reply(asker, frame, answer) {
            Ok(reply) => self.publish(reply, until).await.err(),
            Err(err) => Some(err),
        };
        let Some(err) = failed else { return };
        trace::unsent(&self.agent, &err);
        // What the broker does not carry is said in fewer words.
        if err.kind() == ErrorKind::TooLarge {
            let why = err.detail().unwrap_or("the backend does not carry it").to_owned();
            let told = self.reply(asker, None, Err(AgentError::new(AgentError::TOO_LARGE, why)));
            if let Ok(told) = told
                && self.publish(told, until).await.is_ok()
            {
                return;
            }
        }
        self.counts.unsent(1);
    }

    fn reply(
        &self,
        asker: &ReplyTo,
        frame: Option<&AskId>,
        answer: Result<Bytes, AgentError>,
    ) -> Result<Message> {
        let mut reply = Message::to(Address::Reply(asker.clone()), Bytes::new());
        let framed = match &answer {
            Ok(payload) => frame.and_then(|frame| frame.frame(&self.agent, payload)),
            Err(_) => None,
        };
        // Its asker knows what it takes, so that no header has to say what it is.
        if let Some(framed) = framed {
            reply.payload = framed;
            return Ok(reply);
        }
        reply.headers = self.good.clone();
        match answer {
            Ok(payload) => {
                reply.payload = payload;
                if let Some(content_type) = self.content_type {
                    reply = reply.with_content_type(content_type);
                }
            }
            Err(error) => {
                let head = ReplyHead::default().with_error(self.telling(error));
                reply.payload = head.write(&mut reply.headers)?.unwrap_or_default().into();
            }
        }
        Ok(reply)
    }

    /// What others may read of an error: a panic's text may hold anything that this process knows.
    fn telling(&self, error: AgentError) -> AgentError {
        if error.code() != AgentError::PANIC {
            return error;
        }
        trace::panicked(&self.agent, error.message());
        AgentError::new(AgentError::PANIC, "it panicked; its own log says why")
    }

    async fn publish(&self, reply: Message, until: Instant) -> Result<()> {
        let mut sending = pin!(self.publisher.send(reply));
        // Nearly always it is taken at once, and needs no timer.
        let at_once = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx)));
        if let Poll::Ready(sent) = at_once.await {
            return sent.map(drop);
        }
        match timeout_at(until, sending).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use sinew_core::Subject;

    use super::*;

    #[test]
    fn work_that_panics_lets_go_of_its_ask() {
        let in_flight = Arc::new(SharedInFlight::new(InFlight::new("us")));
        let id = AskId::parse("a").unwrap();
        let (head, asker) = (AskHead::new(id.clone(), PLAIN), ReplyTo::new("x"));
        let now = Instant::now();
        let info = AskInfo {
            topic: Subject::parse("t").unwrap(),
            headers: Headers::default(),
            sent: now,
            deadline: now + PLAIN,
            over: Over::default(),
        };
        let info = Arc::new(info);
        let number = lock(&in_flight).open(id.clone(), asker.clone(), Arc::clone(&info));
        let guard = InFlightGuard { in_flight: Arc::clone(&in_flight), id, number };
        let work = AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("as a recorder of metrics may");
        });
        assert!(catch_unwind(work).is_err());
        assert_eq!(Arc::strong_count(&info), 1);
        assert_eq!(
            lock(&in_flight).check(&head, &asker),
            Admission::Duplicate,
            "it is not begun again"
        );
    }
}
