//! Hears the answers to one ask, and calls the agents off.
use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream as _;
use sinew_core::{
    AnyPublisher, ErrorKind, Event, Incoming, Message, PublishExt as _, Result, Subject,
};
use tokio::{
    task::coop::{cooperative, poll_proceed},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    AgentError, AgentId, Ended,
    ask_id::AskId,
    asking::{Sink, Watched},
    context::AskInfo,
    gather::Responder,
    load::{Counted, Load},
    trace,
    wire::{AskHead, ReplyHead},
};

/// How long late answers are listened for, to count them.
const LINGER: Duration = Duration::from_secs(10);
/// How many asks that ended without all of their answers are listened to for late ones at once.
const LINGERING: usize = 1024;
/// How often is looked for agents that are gone.
const LOOK: Duration = Duration::from_millis(250);
/// How long the backend may take to carry a cancellation away.
const CALL_OFF: Duration = Duration::from_secs(5);

/// The answers to one ask that are on their way in. They are taken in as they come: by whoever asked while that awaits
/// them, which spares a task's turn for each, and else by the [`Listener`].
pub(crate) struct Answers {
    ask: Arc<AskInfo>,
    /// What frames of its answers begin with.
    name: AskId,
    /// Who was asked, where that was not everybody.
    asked: Option<AgentId>,
    state: Mutex<State>,
}

struct State {
    /// None once no more are taken in.
    incoming: Option<Incoming<Message>>,
    is_awaited: bool,
    listener: Option<Waker>,
}

impl Answers {
    pub(super) fn new(
        ask: &Arc<AskInfo>,
        name: AskId,
        asked: Option<AgentId>,
        incoming: Incoming<Message>,
    ) -> Arc<Self> {
        let state = State { incoming: Some(incoming), is_awaited: false, listener: None };
        Arc::new(Self { ask: Arc::clone(ask), name, asked, state: Mutex::new(state) })
    }

    /// Tells `sink` what has come; what comes next wakes whoever asked, until it [leaves](Self::leave).
    pub(crate) fn poll_awaited<S: Sink + ?Sized>(&self, cx: &mut Context<'_>, sink: &Arc<S>) {
        let mut state = self.lock();
        state.is_awaited = true;
        self.take_in(state, cx, sink);
    }

    /// Whoever asked does not await them any more: what comes next wakes the listener.
    pub(crate) fn leave<S: Sink + ?Sized>(&self, sink: &Arc<S>) {
        let mut state = self.lock();
        state.is_awaited = false;
        // Where it has had no turn yet it looks for itself.
        if let Some(listener) = state.listener.clone() {
            self.take_in(state, &mut Context::from_waker(&listener), sink);
        }
    }

    /// The listener's part: ready once nothing can come any more.
    fn poll_listener<S: Sink + ?Sized>(&self, cx: &mut Context<'_>, sink: &Arc<S>) -> Poll<()> {
        let mut state = self.lock();
        if !state.listener.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            state.listener = Some(cx.waker().clone());
        }
        let is_open = match state.is_awaited {
            true => state.incoming.is_some(),
            false => self.take_in(state, cx, sink),
        };
        if is_open { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Tells `sink` what has come while the ask goes on, as much as is this task's turn. Says whether more can come.
    fn take_in<S: Sink + ?Sized>(
        &self,
        mut state: MutexGuard<'_, State>,
        cx: &mut Context<'_>,
        sink: &Arc<S>,
    ) -> bool {
        let Some(incoming) = &mut state.incoming else { return false };
        while !self.ask.over.is_told() {
            let Poll::Ready(turn) = poll_proceed(cx) else { break };
            let Poll::Ready(event) = Pin::new(&mut *incoming).poll_next(cx) else { break };
            turn.made_progress();
            let Some(why) = tell(&self.ask, &self.name, sink, event) else { continue };
            let (listener, ended) = (state.listener.take(), state.incoming.take());
            drop(state);
            drop(ended);
            Arc::clone(sink).remote_ended(self.asked.as_ref(), why);
            listener.into_iter().for_each(Waker::wake);
            return false;
        }
        true
    }

    /// What comes from now on is whoever takes this.
    fn close(&self) -> Option<Incoming<Message>> {
        self.lock().incoming.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells `sink` of one event; why nothing can come after it, if so.
fn tell<S: Sink + ?Sized>(
    ask: &AskInfo,
    name: &AskId,
    sink: &Arc<S>,
    event: Option<Result<Event<Message>>>,
) -> Option<Ended> {
    match event {
        Some(Ok(Event::Item(reply))) => {
            let (agent, answer) = read(name, reply);
            let from = agent.as_ref().map_or(Responder::Unnamed, Responder::Named);
            Arc::clone(sink).answer(from, answer);
        }
        Some(Ok(Event::Lost(_) | Event::Up { gap: true })) => sink.gap(),
        Some(Ok(_)) => {}
        Some(Err(err)) if err.kind() == ErrorKind::NoResponders => return Some(Ended::NoAgents),
        Some(Err(err)) => {
            trace::cut_off(&ask.topic, &err);
            return Some(Ended::Disconnected);
        }
        None => return Some(Ended::Disconnected),
    }
    None
}

/// Who answers the ask called `name`, and what.
fn read(name: &AskId, reply: Message) -> (Option<AgentId>, Result<Bytes, AgentError>) {
    match ReplyHead::read(&reply.headers, &reply.payload) {
        // Whatever else stands in its headers: a broker, or what stands between two, may add some on the way.
        ReplyHead { agent: None, error: None } => match name.unframe(&reply.payload) {
            Some((agent, answer)) => (Some(agent), Ok(answer)),
            None => (None, Ok(reply.payload)),
        },
        ReplyHead { agent, error } => (agent, error.map_or(Ok(reply.payload), Err)),
    }
}

/// Who hears the answers to one ask while nobody awaits them, and sees to it that the agents are told.
pub(super) struct Listener {
    pub(super) ask: Arc<AskInfo>,
    pub(super) answers: Arc<Answers>,
    pub(super) sink: Arc<dyn Sink>,
    /// Whom nobody waits for once they are gone.
    pub(super) watched: Option<Watched>,
    /// Where to say that nobody waits any more, and of what.
    pub(super) cancel: (Subject, AskId),
    pub(super) publisher: AnyPublisher,
    pub(super) lingering: Arc<Load>,
    /// Held until the ask is over, and those whom nobody waits for are told.
    pub(super) under_way: Option<Counted>,
}

impl Listener {
    pub(super) async fn hear(mut self) {
        let ask = Arc::clone(&self.ask);
        let is_over = tokio::select! {
            biased;
            // First, so that a flood of answers does not hold it up.
            () = ask.over.told() => true,
            () = poll_fn(|cx| self.answers.poll_listener(cx, &self.sink)) => false,
            never = self.watch() => match never {},
            // Whoever asked may not look; the agents know by themselves.
            () = sleep_until(self.ask.deadline) => true,
        };
        let incoming = self.answers.close();
        match self.sink.ended() {
            _ if !is_over => {}
            Some(ended) if ended.is_told() => {
                drop(incoming);
                if self.sink.is_worked_on() && ask.over.claim() {
                    self.call_off().await;
                }
            }
            // Some may not have answered: what they say yet is late, and is counted.
            None | Some(Ended::Deadline) => {
                self.under_way = None;
                let place = Load::try_count(&self.lingering, LINGERING);
                if let (Some(mut incoming), Some(_place)) = (incoming, place) {
                    drop(timeout(LINGER, self.linger(&mut incoming)).await);
                }
            }
            Some(_) => {}
        }
    }

    /// Ends when nothing can come any more.
    async fn linger(&self, incoming: &mut Incoming<Message>) {
        let (ask, name) = (&self.ask, &self.cancel.1);
        while tell(ask, name, &self.sink, cooperative(incoming.next()).await).is_none() {}
    }

    /// Tells of those who were there, and are not any more.
    async fn watch(&self) -> Infallible {
        let Some(Watched { presence, names }) = &self.watched else { return pending().await };
        loop {
            sleep(LOOK).await;
            let topic = &self.ask.topic;
            let gone = names.iter().filter(|name| !presence.is_present(topic, name));
            gone.for_each(|name| Arc::clone(&self.sink).gone(name));
        }
    }

    /// Tells the agents that nobody waits any more. Those who do not hear of it work until their time is over.
    async fn call_off(self) {
        let (subject, id) = self.cancel;
        if let Err(err) = cancel(&self.publisher, subject, id).await {
            trace::not_called_off(&self.ask.topic, &err);
        }
    }
}

async fn cancel(publisher: &AnyPublisher, subject: Subject, id: AskId) -> Result<()> {
    let mut message = Message::new(subject, "");
    AskHead { id: Some(id), ..AskHead::default() }.write(&mut message.headers)?;
    match timeout(CALL_OFF, publisher.send(message)).await {
        Ok(sent) => sent.map(drop),
        Err(_) => Err(sinew_core::Error::new(ErrorKind::Timeout, "call off")),
    }
}
