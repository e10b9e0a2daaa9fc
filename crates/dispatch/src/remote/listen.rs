//! Hears the answers to one ask, and calls the agents off.
use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use sinew_core::{
    AnyPublisher, ErrorKind, Event, Incoming, Message, PublishExt as _, Result, Subject,
};
use tokio::{
    sync::Semaphore,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    AskHead, AskId, Ended, ReplyHead,
    asking::{Sink, Watched},
    context::AskInfo,
    gather::Responder,
    load::Counted,
};

/// How long late answers are listened for, to count them.
const LINGER: Duration = Duration::from_secs(10);
/// How often is looked for agents that are gone.
const LOOK: Duration = Duration::from_millis(250);
/// How long the backend may take to carry a cancellation away.
const CALL_OFF: Duration = Duration::from_secs(5);

/// Who hears the answers to one ask.
pub(super) struct Listener {
    pub(super) ask: Arc<AskInfo>,
    pub(super) sink: Arc<dyn Sink>,
    /// Whom nobody waits for once they are gone.
    pub(super) watched: Option<Watched>,
    /// Where to say that nobody waits any more, and of what.
    pub(super) cancel: Option<(Subject, AskId)>,
    pub(super) publisher: AnyPublisher,
    pub(super) lingering: Arc<Semaphore>,
    /// Held until the ask is over, and those whom nobody waits for are told.
    pub(super) under_way: Option<Counted>,
}

impl Listener {
    pub(super) async fn hear(mut self, mut incoming: Incoming<Message>) {
        let ask = Arc::clone(&self.ask);
        let is_over = tokio::select! {
            biased;
            // First, so that a flood of answers does not hold it up.
            () = ask.over.told() => true,
            () = self.listen(&mut incoming) => false,
            never = self.watch() => match never {},
            // Whoever asked may not look; the agents know by themselves.
            () = sleep_until(self.ask.deadline) => true,
        };
        match self.sink.ended() {
            _ if !is_over => {}
            Some(ended) if ended.is_told() => {
                drop(incoming);
                self.call_off().await;
            }
            // Some may not have answered: what they say yet is late, and is counted.
            None | Some(Ended::Deadline) => {
                self.under_way = None;
                if let Ok(_place) = self.lingering.try_acquire() {
                    drop(timeout(LINGER, self.listen(&mut incoming)).await);
                }
            }
            Some(_) => {}
        }
    }

    /// Ends when nothing can come any more.
    async fn listen(&self, incoming: &mut Incoming<Message>) {
        let why = loop {
            match incoming.next().await {
                Some(Ok(Event::Item(reply))) => self.answer(reply),
                Some(Ok(Event::Lost(_) | Event::Up { gap: true })) => self.sink.gap(),
                Some(Ok(_)) => {}
                Some(Err(err)) if err.kind() == ErrorKind::NoResponders => break Ended::NoAgents,
                Some(Err(err)) => {
                    tracing::debug!(error = %err, topic = %self.ask.topic, "answers cannot come any more");
                    break Ended::Disconnected;
                }
                None => break Ended::Disconnected,
            }
        };
        self.sink.nobody_elsewhere(why);
    }

    /// Tells of those who were there, and are not any more.
    async fn watch(&self) -> Infallible {
        let Some(Watched { presence, names }) = &self.watched else { return pending().await };
        loop {
            sleep(LOOK).await;
            let topic = &self.ask.topic;
            let gone = names.iter().filter(|name| !presence.is_present(topic, name));
            gone.for_each(|name| self.sink.gone(name));
        }
    }

    fn answer(&self, reply: Message) {
        let ReplyHead { agent, error } = ReplyHead::read(&reply.headers, &reply.payload);
        let from = agent.as_ref().map_or(Responder::Unnamed, Responder::Named);
        let answer = error.map_or(Ok(reply.payload), Err);
        Arc::clone(&self.sink).answer(from, answer);
    }

    /// Tells the agents that nobody waits any more. Those who do not hear of it work until their time is over.
    async fn call_off(self) {
        let Some((subject, id)) = self.cancel else { return };
        if let Err(err) = cancel(&self.publisher, subject, id).await {
            tracing::debug!(error = %err, topic = %self.ask.topic, "an ask could not be called off");
        }
    }
}

async fn cancel(publisher: &AnyPublisher, subject: Subject, id: AskId) -> Result<()> {
    let mut message = Message::new(subject, "");
    AskHead { id: Some(id), remaining: None }.write(&mut message.headers)?;
    match timeout(CALL_OFF, publisher.send(message)).await {
        Ok(sent) => sent.map(drop),
        Err(_) => Err(sinew_core::Error::new(ErrorKind::Timeout, "call off")),
    }
}
