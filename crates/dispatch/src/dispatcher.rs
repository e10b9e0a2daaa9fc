//! The dispatcher: who is registered, and what is under way.
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use sinew_core::{Error, ErrorKind, IntoPayload, Result, ToSubject};
use tokio::runtime::Handle;

use crate::{
    AgentId, AnyAgent, Ask, DispatcherOptions, Registered,
    load::{Counted, Load},
    local::Registry,
    remote::Remote,
    stats::Meters,
};

/// Asks agents, those of this process and those behind a broker. Cloning it shares it.
///
/// ```
/// use sinew_dispatch::{AnyAgent, Context, Dispatcher};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sinew_core::Result<()> {
/// let dispatcher = Dispatcher::local();
/// let visual = AnyAgent::new("visual", |_: Context, wafer: String| async move {
///     Ok(format!("{wafer} looks fine"))
/// })?;
/// let _registered = dispatcher.register("inspect.wafer", &visual)?;
///
/// let mut replies = dispatcher.ask("inspect.wafer", "W-7").send::<String>().await?;
/// while let Some(reply) = replies.next().await {
///     assert_eq!(reply.result.as_deref(), Ok("W-7 looks fine"));
/// }
/// assert_eq!(replies.finish().ok, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Dispatcher(Arc<Shared>);

/// What the dispatcher, its asks and its registrations share.
pub(crate) struct Shared {
    pub(crate) options: DispatcherOptions,
    pub(crate) registry: Arc<Registry>,
    pub(crate) meters: Meters,
    pub(crate) remote: Option<Arc<Remote>>,
    /// Whose turn it is where one agent is picked.
    turn: AtomicUsize,
    pending: Arc<Load>,
    runtime: Option<Handle>,
}

/// What became of a dispatcher's asks, since it was built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DispatcherCounts {
    /// Asks that were sent.
    pub asks: u64,
    /// Asks whose [`Gathering`](crate::Gathering) is held now.
    pub pending: usize,
    /// Answers that came after their ask.
    pub late: u64,
    /// Second answers of an agent.
    pub duplicate: u64,
}

impl DispatcherOptions {
    /// A dispatcher for the agents of this process.
    #[must_use]
    pub fn local(self) -> Dispatcher {
        self.build(None)
    }

    pub(crate) fn build(self, remote: Option<Arc<Remote>>) -> Dispatcher {
        Dispatcher(Arc::new(Shared {
            options: self,
            registry: Arc::default(),
            meters: Meters::default(),
            remote,
            turn: AtomicUsize::new(0),
            pending: Arc::default(),
            runtime: Handle::try_current().ok(),
        }))
    }
}

impl Dispatcher {
    /// A dispatcher for the agents of this process, with default options.
    ///
    /// Its agents run on the tokio runtime that it is built in; built outside of any, on the one that asks. Where that
    /// has ended, so have its asks: [`Ended::Disconnected`](crate::Ended::Disconnected).
    #[must_use]
    pub fn local() -> Self {
        DispatcherOptions::default().local()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Registers `agent` under `topic`, for asks that are sent from now on, until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`], or [`ErrorKind::Conflict`] when an agent of that name is registered under the
    /// topic.
    pub fn register(&self, topic: impl ToSubject, agent: &AnyAgent) -> Result<Registered> {
        let topic = topic.to_subject()?;
        let entry = self.0.registry.add(&topic, agent.clone(), false, &self.0.meters)?;
        Ok(Registered::new(&self.0.registry, topic, entry, self.0.runtime.clone()))
    }

    /// The names of the agents that are registered under `topic` in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`].
    pub fn registered(&self, topic: impl ToSubject) -> Result<Vec<AgentId>> {
        Ok(self.0.registry.names(&topic.to_subject()?))
    }

    /// An ask of every agent under `topic`: say more about it, then [`Ask::send`] it.
    pub fn ask(&self, topic: impl ToSubject, request: impl IntoPayload) -> Ask {
        Ask::new(Arc::clone(&self.0), topic.to_subject(), request)
    }

    /// What became of its asks so far.
    #[must_use]
    pub fn counts(&self) -> DispatcherCounts {
        let total = self.0.meters.total();
        DispatcherCounts {
            asks: total.asks.load(Relaxed),
            pending: self.0.pending.running(),
            late: total.late.load(Relaxed),
            duplicate: total.duplicate.load(Relaxed),
        }
    }
}

impl Shared {
    /// Counts one more ask as under way, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`].
    pub(crate) fn acquire(&self) -> Result<Counted> {
        let max = self.options.max_pending;
        Load::try_count(&self.pending, max).ok_or_else(|| {
            Error::new(ErrorKind::Overloaded, "ask").with_detail(format!(
                "{max} asks are under way; raise with_max_pending, or ask less"
            ))
        })
    }

    /// The runtime of its agents.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] outside of any, where none was known when it was built.
    pub(crate) fn runtime(&self) -> Result<Handle> {
        self.runtime.clone().map_or_else(Handle::try_current, Ok).map_err(|err| {
            Error::new(ErrorKind::InvalidOptions, "ask")
                .with_detail("there is no tokio runtime to run agents on; build the dispatcher inside of one")
                .with_source(err)
        })
    }

    /// Where to begin when one agent is picked: at another one each time.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Relaxed)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("options", &self.0.options)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
