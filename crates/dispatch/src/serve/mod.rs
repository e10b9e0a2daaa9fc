//! Agents that are asked over a broker.
mod counts;
mod in_flight;
mod pace;
mod run;

use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{
    Error, ErrorKind, Incoming, Message, Result, Subject, Subscribe as _, Subscription, ToSubject,
};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::counts::ServiceCounts;
use self::{counts::Counts, run::Run};
use crate::{AgentId, AnyAgent, Dispatcher, Registered, remote::Remote, wire::Subjects};

/// An agent that is asked over a broker, and in this process. Dropping it ends both for asks that are sent later; those
/// that have come are answered.
#[must_use = "dropping it ends the service"]
pub struct Service {
    registration: Registered,
    counts: Arc<Counts>,
    stop: DropGuard,
    /// Gone once its end was told.
    task: Option<JoinHandle<Result<()>>>,
}

impl Dispatcher {
    /// Serves `agent` under `topic`: to this dispatcher's own asks, which it answers in this process, and to everybody's
    /// over the broker. Ends when what anyone asks from then on comes to it, where the backend can tell.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a dispatcher that is over no backend. [`ErrorKind::InvalidSubject`], also where the
    /// topic is longer than 242 bytes; [`ErrorKind::Conflict`] when an agent of that name is registered here; and what
    /// the backend says to a subscription.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing registered and nothing subscribed.
    pub async fn serve(&self, topic: impl ToSubject, agent: &AnyAgent) -> Result<Service> {
        self.start(topic, agent, |run, remote, _, incoming| {
            Ok(remote.runtime.spawn(run.through(incoming)))
        })
        .await
    }

    /// The same for an agent that others know by its beats, as [`BeatPresence::process`](crate::BeatPresence::process) names it: `beat` while
    /// its loop turns, `degraded` while it has as much to do as it may, `stop` at its end.
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::serve`], and as [`HeartOptions::build`](sinew_beat::HeartOptions::build) has them.
    ///
    /// # Cancel safety
    ///
    /// As [`Dispatcher::serve`].
    #[cfg(feature = "beat")]
    pub async fn serve_beating(
        &self,
        topic: impl ToSubject,
        agent: &AnyAgent,
        heart: sinew_beat::HeartOptions,
    ) -> Result<Service> {
        self.start(topic, agent, |run, remote, topic, incoming| {
            let process = crate::BeatPresence::process(topic, agent.id())?;
            let heart = heart.build(remote.publisher.clone(), process.as_str())?;
            Ok(remote.runtime.spawn(run.beating(incoming, heart)))
        })
        .await
    }

    async fn start(
        &self,
        topic: impl ToSubject,
        agent: &AnyAgent,
        spawn: impl FnOnce(Run, &Remote, &Subject, Incoming<Message>) -> Result<JoinHandle<Result<()>>>,
    ) -> Result<Service> {
        let shared = self.shared();
        let Some(remote) = &shared.remote else {
            return Err(Error::new(ErrorKind::Unsupported, "serve agent").with_detail(
                "there is no broker; register it for this process, or build with `Dispatcher::over`",
            ));
        };
        let topic = topic.to_subject()?;
        let entry = shared.registry.add(&topic, agent.clone(), true, &shared.meters)?;
        let (runtime, served) = (Some(remote.runtime.clone()), Arc::clone(&entry));
        let registration = Registered::new(&shared.registry, topic.clone(), served, runtime);
        let subjects = Subjects::of(&topic)?;
        // Apart from the asks, so that who leaves still hears what is called off of what it works on.
        let cancels = remote.subscriber.subscribe(Subscription::new(subjects.cancel.clone()));
        let cancels = cancels.await?;
        let wanted = Subscription::new(subjects.ask.clone()).and(subjects.ping.clone());
        let incoming = remote.subscriber.subscribe(wanted).await?;
        let counts = Arc::new(Counts::default());
        let stop = CancellationToken::new();
        let run = Run::new(remote, subjects, entry, Arc::clone(&counts), stop.clone(), cancels)?;
        let task = spawn(run, remote, &topic, incoming)?;
        Ok(Service { registration, counts, stop: stop.drop_guard(), task: Some(task) })
    }
}

impl Service {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Subject {
        self.registration.topic()
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        self.registration.agent()
    }

    /// What became of what came over the broker.
    #[must_use]
    pub fn counts(&self) -> ServiceCounts {
        self.counts.read()
    }

    /// Waits until nothing can come over the broker any more: its link was drained, or ended for good.
    ///
    /// # Errors
    ///
    /// Why it ended, where that was no drain: told once.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn ended(&mut self) -> Result<()> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = flat(task.await);
        self.task = None;
        ended
    }

    /// Takes no more asks, and waits until those that have come are answered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when something still runs after `within`; it is given up.
    ///
    /// # Cancel safety
    ///
    /// No more is taken from the first poll on. A dropped call leaves what runs to its own end.
    pub async fn drained(self, within: Duration) -> Result<()> {
        let Self { registration, counts: _, stop, mut task } = self;
        drop(stop);
        let topic = registration.topic().clone();
        let serving = task.as_mut().map(|task| registration.timeout(within, task));
        let serving = async {
            match serving {
                Some(serving) => serving.await.map(flat),
                None => Ok(Ok(())),
            }
        };
        let (served, local) = tokio::join!(serving, registration.drained(within));
        match served {
            Ok(ended) => ended.and(local),
            Err(_) => {
                task.iter().for_each(JoinHandle::abort);
                Err(Error::new(ErrorKind::Timeout, "drain agent").with_subject(topic.as_str()))
            }
        }
    }
}

fn flat(ended: std::result::Result<Result<()>, JoinError>) -> Result<()> {
    ended.unwrap_or_else(|err| Err(Error::new(ErrorKind::Internal, "serve agent").with_source(err)))
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("topic", self.topic())
            .field("agent", self.agent())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
