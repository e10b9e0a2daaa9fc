//! A topic of a behaviour's own, and the agents and askers on it, each with a connection of its own.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{AnyBackend, Incoming, Message, Result, Subject, Subscribe as _, Subscription};
use sinew_dispatch::{AgentId, AnyAgent, Context, Dispatcher, End, Expect, Reply, Service};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    broker::{Broker, Kind},
    failed,
};

/// Long enough for whatever is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a behaviour is held on.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) kind: Kind,
    pub(crate) broker: Arc<Broker>,
    topic: String,
}

/// An agent over a connection of its own.
pub(crate) struct Served {
    pub(crate) service: Service,
    agent: AnyAgent,
    _dispatcher: Dispatcher,
}

impl Served {
    /// How many of its calls run now.
    pub(crate) fn running(&self) -> usize {
        self.agent.running()
    }
}

impl Scene {
    pub(crate) fn new(kind: Kind, broker: Arc<Broker>, name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let topic = format!("table.{}.{name}", NEXT.fetch_add(1, Relaxed));
        Self { kind, broker, topic }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn subject(&self) -> Result<Subject> {
        Subject::parse(&self.topic)
    }

    pub(crate) async fn connect(&self) -> Result<AnyBackend> {
        self.broker.connect().await
    }

    /// Who asks, over a connection of its own.
    pub(crate) async fn dispatcher(&self) -> Result<Dispatcher> {
        Dispatcher::over(&self.connect().await?)
    }

    pub(crate) async fn serve(&self, agent: AnyAgent) -> Result<Served> {
        let dispatcher = self.dispatcher().await?;
        let service = dispatcher.serve(self.topic(), &agent).await?;
        Ok(Served { service, agent, _dispatcher: dispatcher })
    }

    /// An agent that says its name after what it was asked.
    pub(crate) async fn echo(&self, name: &'static str) -> Result<Served> {
        self.serve(echo(name)?).await
    }

    /// A responder that knows nothing of agents: what it hears comes here.
    pub(crate) async fn hear(&self, backend: &AnyBackend) -> Result<Incoming<Message>> {
        backend.subscriber()?.subscribe(Subscription::new(self.subject()?)).await
    }
}

pub(crate) fn echo(name: &'static str) -> Result<AnyAgent> {
    AnyAgent::new(name, move |_: Context, asked: String| async move {
        Ok(format!("{asked} from {name}"))
    })
}

/// An agent that answers when `gate` is opened, whatever becomes of its ask for as long as `grace`.
pub(crate) fn gated(
    name: &str,
    gate: &Arc<tokio::sync::Semaphore>,
    grace: Duration,
) -> Result<AnyAgent> {
    let gate = Arc::clone(gate);
    let agent = AnyAgent::new(name, move |_: Context, asked: String| {
        let gate = Arc::clone(&gate);
        async move {
            drop(gate.acquire().await);
            Ok(asked)
        }
    })?;
    Ok(agent.with_grace(grace))
}

pub(crate) fn expect(names: &[&str]) -> Result<Expect> {
    Ok(Expect::Agents(names.iter().map(|name| AgentId::parse(name)).collect::<Result<_>>()?))
}

pub(crate) fn names(agents: &[AgentId]) -> Vec<&str> {
    agents.iter().map(AgentId::as_str).collect()
}

/// What they said, in the order of what they said.
pub(crate) fn said(replies: &[Reply<String>]) -> Vec<&str> {
    let mut said: Vec<_> = replies.iter().filter_map(|it| it.result.as_deref().ok()).collect();
    said.sort_unstable();
    said
}

/// What an end counts.
pub(crate) fn tally(end: &End) -> (usize, usize, usize, usize) {
    (end.ok, end.failed, end.missing.len(), end.cancelled.len())
}

/// Waits for a fact that comes by itself.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + SOON;
    let mut look = interval(Duration::from_millis(5));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !holds().await? {
        if Instant::now() > end {
            return Err(failed(format!("not so after {SOON:?}: {what}")));
        }
        look.tick().await;
    }
    Ok(())
}

/// Waits for what is to end by itself.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(SOON, future).await.map_err(|_| failed(format!("not after {SOON:?}: {what}")))
}

/// A request by hand, with these headers.
pub(crate) fn by_hand(scene: &Scene, headers: &[(&str, &str)]) -> Result<Message> {
    let message = Message::new(scene.subject()?, Bytes::from_static(b"hand"));
    headers.iter().try_fold(message, |message, (name, value)| message.with_header(name, *value))
}
