//! The loop of a served agent: it always reads, and works on tasks of its own.
use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use sinew_core::{AnyPublisher, ErrorKind, Event, Headers, Incoming, Message, PublishExt, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    counts::Counts,
    desk::{Desk, Taken},
};
use crate::{
    AgentError, AgentId, AgentState, AskHead, AskId, ReplyHead,
    context::AskInfo,
    local::{self, Entry},
    over::Over,
    remote::Remote,
    trace,
    wire::Subjects,
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
    publisher: AnyPublisher,
    subjects: Subjects,
    entry: Arc<Entry>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    desk: Desk<Arc<AskInfo>>,
    tasks: JoinSet<Done>,
    refusals: usize,
}

/// What a task has done.
enum Done {
    Asked(Option<AskId>, u64),
    Refused,
}

impl Run {
    pub(super) fn new(
        remote: &Remote,
        subjects: Subjects,
        entry: Arc<Entry>,
        counts: Arc<Counts>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            publisher: remote.publisher.clone(),
            subjects,
            entry,
            counts,
            stop,
            desk: Desk::new(remote.mark()),
            tasks: JoinSet::new(),
            refusals: 0,
        }
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
            tracing::debug!(error = %err, "the stop of an agent was not sent");
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
                () = &mut stopped, if !is_stopped => {
                    incoming.stop();
                    is_stopped = true;
                }
                event = incoming.next() => match event {
                    None => break Ok(()),
                    Some(Err(err)) => break Err(err),
                    Some(Ok(event)) => self.hear(event),
                },
                _ = turn.tick() => {}
            }
            // Here, and not as they end: that would wake the loop once more for each ask.
            while let Some(done) = self.tasks.try_join_next() {
                self.note(done.ok());
            }
            turned();
        };
        drop(incoming);
        loop {
            tokio::select! {
                done = self.tasks.join_next() => match done {
                    None => break ended,
                    Some(done) => self.note(done.ok()),
                },
                _ = turn.tick() => {}
            }
            turned();
        }
    }

    /// A task that panicked was ended by this one, which is gone, too, or is the fault of a handler's drop.
    fn note(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Asked(id, number)) => self.desk.done(id.as_ref(), number),
            Some(Done::Refused) => self.refusals -= 1,
            None => {}
        }
    }

    fn hear(&mut self, event: Event<Message>) {
        match event {
            Event::Item(message) => match message.subject() {
                Some(subject) if *subject == self.subjects.ask => self.ask(message),
                Some(subject) if *subject == self.subjects.cancel => self.cancel(&message.headers),
                Some(subject) if *subject == self.subjects.ping => self.ping(&message),
                _ => {}
            },
            Event::Lost(count) => self.counts.lost(count),
            _ => {}
        }
    }

    fn ask(&mut self, message: Message) {
        let now = Instant::now();
        // What nobody waits for is not asked.
        let Some(asker) = message.reply_to.clone() else { return };
        let head = AskHead::read(&message.headers);
        match self.desk.look(&head, &asker) {
            Taken::Run => {}
            Taken::Own => return,
            Taken::Expired => return self.counts.expired(1),
            Taken::Cancelled => return self.counts.cancelled(1),
            Taken::Duplicate => return self.counts.duplicate(1),
        }
        let info = Arc::new(AskInfo {
            topic: self.subjects.ask.clone(),
            headers: message.headers.clone(),
            sent: now,
            deadline: now + head.remaining.unwrap_or(PLAIN),
            over: Over::default(),
        });
        let entry = Arc::clone(&self.entry);
        let agent = &entry.agent;
        let desk = Answering {
            publisher: self.publisher.clone(),
            agent: agent.id().clone(),
            counts: Arc::clone(&self.counts),
            until: info.deadline + LATE,
        };
        let context = match local::admit(agent, &info, &self.entry.load) {
            Ok(context) => context,
            Err(busy) => {
                self.counts.busy(1);
                return self.refuse(async move { desk.answer(&message, Err(busy)).await });
            }
        };
        let number = self.desk.open(head.id.clone(), asker, Arc::clone(&info));
        let span = trace::served(&info.topic, agent.id(), info.headers.text("traceparent"));
        let work = async move {
            let request = message.payload.clone();
            // Until its answer is out it counts as running, so that a slow broker slows it.
            let _running = context.clone();
            let pause = entry.agent.pause();
            match local::run(entry, Arc::clone(&info), context, request).await {
                Some(answer) => {
                    if !pause.is_zero() {
                        // It is to come in time, too.
                        let left = info.deadline.saturating_duration_since(Instant::now());
                        drop(timeout(pause.min(left / 2), info.over.told()).await);
                    }
                    match &answer {
                        Ok(_) => desk.counts.ok(1),
                        Err(_) => desk.counts.failed(1),
                    }
                    desk.answer(&message, answer).await;
                }
                None => desk.counts.cancelled(1),
            }
            Done::Asked(head.id, number)
        };
        self.tasks.spawn(work.instrument(span));
    }

    fn cancel(&mut self, headers: &Headers) {
        if let Some(id) = AskHead::read(headers).id
            && let Some(ask) = self.desk.cancel(id)
        {
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
        let (publisher, until) = (self.publisher.clone(), Instant::now() + LATE);
        self.refuse(async move { drop(timeout_at(until, publisher.send(reply)).await) });
    }

    /// Says something that takes no work. A flood of it is answered as far as it can be.
    fn refuse(&mut self, saying: impl Future<Output = ()> + Send + 'static) {
        if self.refusals >= REFUSALS {
            return self.counts.unsent(1);
        }
        self.refusals += 1;
        self.tasks.spawn(async move {
            saying.await;
            Done::Refused
        });
    }
}

/// What it takes to answer one ask.
struct Answering {
    publisher: AnyPublisher,
    agent: AgentId,
    counts: Arc<Counts>,
    until: Instant,
}

impl Answering {
    async fn answer(&self, asked: &Message, answer: Result<Bytes, AgentError>) {
        let Err(err) = self.publish(asked, answer).await else { return };
        tracing::debug!(error = %err, agent = %self.agent, "an answer could not be published");
        // What the broker does not carry is said in fewer words.
        if err.kind() == ErrorKind::TooLarge {
            let why = err.detail().unwrap_or("the backend does not carry it").to_owned();
            let told = self.publish(asked, Err(AgentError::new(AgentError::TOO_LARGE, why))).await;
            if told.is_ok() {
                return;
            }
        }
        self.counts.unsent(1);
    }

    async fn publish(&self, asked: &Message, answer: Result<Bytes, AgentError>) -> Result<()> {
        let head = ReplyHead::new(self.agent.clone());
        let (head, payload) = match answer {
            Ok(payload) => (head, payload),
            Err(error) => (head.with_error(error), Bytes::new()),
        };
        let Some(mut reply) = asked.reply(payload) else { return Ok(()) };
        if let Some(text) = head.write(&mut reply.headers)? {
            reply.payload = text.into();
        }
        match timeout_at(self.until, self.publisher.send(reply)).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(sinew_core::Error::new(ErrorKind::Timeout, "answer")),
        }
    }
}
