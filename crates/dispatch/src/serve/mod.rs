//! Agents that are asked over a broker.
mod counts;
mod desk;
mod run;

use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{Error, ErrorKind, Result, Subject, Subscribe, Subscription};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::counts::ServiceCounts;
use self::{counts::Counts, run::Run};
use crate::{AgentId, Registration, local::Entry, remote::Remote, wire::Subjects};

/// An agent that is asked over a broker, and in this process. Dropping it ends both for asks that are sent later; those
/// that have come are answered.
#[must_use = "dropping it ends the service"]
pub struct Service {
    registration: Registration,
    counts: Arc<Counts>,
    stop: DropGuard,
    task: JoinHandle<Result<()>>,
}

impl Service {
    /// Ends when whatever anyone asks from now on comes to the agent, where the backend can tell.
    pub(crate) async fn start(
        remote: &Arc<Remote>,
        registration: Registration,
        entry: Arc<Entry>,
    ) -> Result<Self> {
        let topic = registration.topic().clone();
        let subjects = Subjects::of(&topic)?;
        let wanted = Subscription::new(subjects.ask.clone())
            .and(subjects.cancel.clone())
            .and(subjects.ping.clone());
        let incoming = remote.subscriber.subscribe(wanted).await?;
        let counts = Arc::new(Counts::default());
        let stop = CancellationToken::new();
        let run = Run::new(remote, subjects, entry, Arc::clone(&counts), stop.clone());
        let task = tokio::spawn(run.through(incoming));
        Ok(Self { registration, counts, stop: stop.drop_guard(), task })
    }

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
    /// Why it ended, where that was no drain.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn ended(&mut self) -> Result<()> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(err) => Err(Error::new(ErrorKind::Internal, "serve agent").with_source(err)),
        }
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
        let both = async {
            let (served, local) = tokio::join!(&mut task, registration.drained(within));
            match served {
                Ok(ended) => ended.and(local),
                Err(err) => Err(Error::new(ErrorKind::Internal, "serve agent").with_source(err)),
            }
        };
        match timeout(within, both).await {
            Ok(done) => done,
            Err(_) => {
                task.abort();
                Err(Error::new(ErrorKind::Timeout, "drain agent").with_subject(topic.as_str()))
            }
        }
    }
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
