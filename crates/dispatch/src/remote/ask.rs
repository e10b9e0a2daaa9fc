//! How agents elsewhere are asked: all of them at once, or one by name after the other.
use std::sync::Arc;

use sinew_core::{Error, ErrorKind, Message, Property, Request as _, Result, Subject};
use tokio::time::{Instant, timeout_at};

use super::{
    Remote,
    listen::{Answers, Listener},
};
use crate::{
    AgentId, Ended, Presence,
    ask_id::AskId,
    asking::{Request, Sink, TaskGuard, Watched},
    context::AskInfo,
    load::Load,
    trace,
    wire::{AskHead, Subjects},
};

/// What it takes to ask agents elsewhere: as often as one ask does, under the one name that takes it back.
#[derive(Clone)]
pub(crate) struct RemoteAsk {
    remote: Arc<Remote>,
    request: Request,
    /// Who knows whether those that are asked are there.
    presence: Option<Arc<dyn Presence>>,
    name: AskId,
    cancel: Subject,
}

/// Whom to ask.
pub(crate) enum Whom {
    /// Everybody who hears it; whether these are still there is watched.
    All(Vec<AgentId>),
    /// The agent of this name alone.
    One(AgentId),
}

impl RemoteAsk {
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] where the topic is too long.
    pub(crate) fn new(
        remote: &Arc<Remote>,
        topic: &Subject,
        request: Request,
        presence: Option<Arc<dyn Presence>>,
    ) -> Result<Self> {
        let (name, cancel) = (remote.name()?, Subjects::cancel(topic)?);
        Ok(Self { remote: Arc::clone(remote), request, presence, name, cancel })
    }

    /// Whether an agent is there, or nobody knows better.
    pub(crate) fn is_present(&self, topic: &Subject, agent: &AgentId) -> bool {
        self.presence.as_ref().is_none_or(|it| it.is_present(topic, agent))
    }

    /// Asks one more, by a task that ends with the ask; `sink` is told where that cannot be done.
    pub(crate) fn begin(&self, ask: Arc<AskInfo>, agent: AgentId, sink: Arc<dyn Sink>) {
        let (asking, guard) = (self.clone(), TaskGuard::new(Arc::clone(&sink)));
        self.remote.runtime.spawn(async move {
            let asked = asking.ask(&ask, Whom::One(agent.clone()), Arc::clone(&sink));
            if let Err(err) = asked.await {
                trace::not_asked(&ask.topic, &agent, &err);
                sink.remote_ended(Some(&agent), Ended::Disconnected);
            }
            guard.done();
        });
    }

    /// Sends an ask there, and tells `sink` what comes of it until it is over; whoever asked may do that, too. An ask that
    /// is over before the backend has taken it, as those who are here have answered, does not wait for that.
    ///
    /// # Errors
    ///
    /// What the backend says to a request.
    ///
    /// # Cancel safety
    ///
    /// The ask may have been sent; nobody listens.
    pub(crate) async fn ask(
        self,
        ask: &Arc<AskInfo>,
        whom: Whom,
        sink: Arc<dyn Sink>,
    ) -> Result<Option<Arc<Answers>>> {
        let Self { remote, request, presence, name, cancel } = self;
        let (asked, names) = match whom {
            Whom::All(names) => (None, names),
            Whom::One(agent) => (Some(agent.clone()), vec![agent]),
        };
        let remaining = ask.deadline.saturating_duration_since(Instant::now());
        let head = AskHead::new(name.clone(), remaining).with_to(asked.clone()).framed();
        let note = head.note().filter(|_| remote.has_notes);
        let mut message = remote.message(ask, &head, request);
        if note.is_none() {
            head.write(&mut message.headers)?;
        }
        let requesting = async {
            match &note {
                Some(note) => remote.requester.request_noted(message, note).await,
                None => remote.requester.request(message).await,
            }
        };
        let asking = {
            let _inside = remote.runtime.enter();
            timeout_at(ask.deadline, requesting)
        };
        let sent = tokio::select! {
            biased;
            () = ask.over.told() => return Ok(None),
            sent = asking => sent,
        };
        let incoming = sent.map_err(|_| {
            Error::new(ErrorKind::Timeout, "ask")
                .with_subject(ask.topic.as_str())
                .with_detail("the backend did not take it before its deadline")
        })??;
        let answers = Answers::new(ask, name.clone(), asked, incoming);
        let guard = TaskGuard::new(Arc::clone(&sink));
        let listener = Listener {
            ask: Arc::clone(ask),
            answers: Arc::clone(&answers),
            sink,
            watched: presence.map(|presence| Watched { presence, names }),
            cancel: (cancel, name),
            publisher: remote.publisher.clone(),
            lingering: Arc::clone(&remote.lingering),
            under_way: Some(Load::count(&remote.under_way)),
        };
        // It ends with the ask, or a while after it.
        remote.runtime.spawn(async move {
            listener.hear().await;
            guard.done();
        });
        Ok(Some(answers))
    }
}

impl Remote {
    /// The ask as a message, without its head.
    fn message(&self, ask: &AskInfo, head: &AskHead, request: Request) -> Message {
        let mut message = Message::new(ask.topic.clone(), request.payload);
        message.headers = ask.headers.clone();
        if let Some(content_type) = request.content_type
            && self.carries(Property::ContentType)
        {
            message = message.with_content_type(content_type);
        }
        // A broker that keeps time itself need not deliver what nobody waits for.
        if let Some(remaining) = head.remaining.filter(|it| it.as_millis() > 0)
            && self.carries(Property::Ttl)
        {
            message = message.with_ttl(remaining);
        }
        message
    }
}
