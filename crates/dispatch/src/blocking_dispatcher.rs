//! The dispatcher for code without a runtime: one thread that runs the async one.
use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{FromPayload, IntoPayload, Result, ToSubject};

use crate::{
    AgentStatus, AnyAgent, Ask, BlockingService, Dispatcher, DispatcherCounts, DispatcherOptions,
    End, Ended, Gathered, Gathering, Registered, Reply, background::Background,
};

/// A [`Dispatcher`] for code without an async runtime: the same asks, rules and errors, in blocking calls.
///
/// It owns one thread with a runtime of its own, on which async agents run; [`blocking`](crate::blocking()) ones have
/// threads beside it. Dropping the last clone ends it, and waits for nobody.
///
/// ```
/// use sinew_dispatch::{AnyAgent, BlockingDispatcher, Context, blocking};
///
/// let dispatcher = BlockingDispatcher::local()?;
/// let visual = AnyAgent::new("visual", blocking(|_: Context, wafer: String| Ok(format!("{wafer}: fine"))))?;
/// let _registered = dispatcher.register("inspect.wafer", &visual)?;
///
/// let mut replies = dispatcher.send::<String>(dispatcher.ask("inspect.wafer", "W-7"))?;
/// for reply in &mut replies {
///     assert_eq!(reply.result.as_deref(), Ok("W-7: fine"));
/// }
/// assert_eq!(replies.finish().ok, 1);
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone)]
pub struct BlockingDispatcher {
    dispatcher: Dispatcher,
    background: Arc<Background>,
}

impl BlockingDispatcher {
    /// For the agents of this process, with default options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`](sinew_core::ErrorKind::Internal) when no thread can be started.
    pub fn local() -> Result<Self> {
        Self::build(|| Ok(DispatcherOptions::default().local()))
    }

    /// The dispatcher that `build` makes, which is called inside of the runtime.
    ///
    /// # Errors
    ///
    /// What `build` says, and [`ErrorKind::Internal`](sinew_core::ErrorKind::Internal) when no thread can be started.
    pub fn build(build: impl FnOnce() -> Result<Dispatcher>) -> Result<Self> {
        let background = Background::start("dispatch", Background::runtime()?)?;
        let dispatcher = {
            let _inside = background.handle().enter();
            build()?
        };
        Ok(Self { dispatcher, background: Arc::new(background) })
    }

    /// As [`Dispatcher::register`].
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::register`].
    pub fn register(&self, topic: impl ToSubject, agent: &AnyAgent) -> Result<Registered> {
        self.dispatcher.register(topic, agent)
    }

    /// An ask, to be said more about and sent with [`BlockingDispatcher::send`].
    pub fn ask(&self, topic: impl ToSubject, request: impl IntoPayload) -> Ask {
        self.dispatcher.ask(topic, request)
    }

    /// Sends `ask`.
    ///
    /// # Errors
    ///
    /// As [`Ask::send`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a runtime,
    /// those of `spawn_blocking` included.
    pub fn send<T: FromPayload + Send + 'static>(&self, ask: Ask) -> Result<BlockingGathering<T>> {
        let gathering = self.background.wait(ask.send())??;
        Ok(BlockingGathering { gathering, background: Arc::clone(&self.background) })
    }

    /// Every reply until `ask` is over, and how it ended.
    ///
    /// # Errors
    ///
    /// As [`BlockingDispatcher::send`] and [`Gathering::collect`].
    pub fn collect<T: FromPayload + Send + 'static>(&self, ask: Ask) -> Result<Gathered<T>> {
        self.background.wait(ask.collect())?
    }

    /// As [`Dispatcher::serve`].
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::serve`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime.
    pub fn serve(&self, topic: impl ToSubject, agent: &AnyAgent) -> Result<BlockingService> {
        let service = self.background.wait(self.dispatcher.serve(topic, agent))??;
        Ok(BlockingService::new(service, &self.background))
    }

    /// As [`Dispatcher::serve_beating`].
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::serve_beating`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread
    /// of a runtime.
    #[cfg(feature = "beat")]
    pub fn serve_beating(
        &self,
        topic: impl ToSubject,
        agent: &AnyAgent,
        heart: sinew_beat::HeartOptions,
    ) -> Result<BlockingService> {
        let serving = self.dispatcher.serve_beating(topic, agent, heart);
        Ok(BlockingService::new(self.background.wait(serving)??, &self.background))
    }

    /// As [`Dispatcher::agents`].
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::agents`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime.
    pub fn agents(&self, topic: impl ToSubject, within: Duration) -> Result<Vec<AgentStatus>> {
        self.background.wait(self.dispatcher.agents(topic, within))?
    }

    /// As [`Dispatcher::drained`].
    ///
    /// # Errors
    ///
    /// As [`Dispatcher::drained`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime.
    pub fn drained(&self, within: Duration) -> Result<()> {
        self.background.wait(self.dispatcher.drained(within))?
    }

    /// As [`Registered::drained`], for a registration of this dispatcher.
    ///
    /// # Errors
    ///
    /// As [`Registered::drained`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime.
    pub fn deregistered(&self, registered: Registered, within: Duration) -> Result<()> {
        self.background.wait(registered.drained(within))?
    }

    /// As [`Dispatcher::counts`].
    #[must_use]
    pub fn counts(&self) -> DispatcherCounts {
        self.dispatcher.counts()
    }

    /// The async dispatcher behind it, for what takes no waiting.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }
}

impl fmt::Debug for BlockingDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingDispatcher")
            .field("dispatcher", &self.dispatcher)
            .finish_non_exhaustive()
    }
}

/// The replies of one ask, as they arrive: an iterator that waits.
///
/// On a thread of a runtime, which waiting would stall, it ends at once: [`BlockingGathering::wait_next`] says so.
#[must_use = "dropping it ends the ask"]
pub struct BlockingGathering<T> {
    gathering: Gathering<T>,
    background: Arc<Background>,
}

impl<T: FromPayload + Send + 'static> BlockingGathering<T> {
    /// Waits for the next reply; `None` once the ask is over and everything was taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a runtime.
    pub fn wait_next(&mut self) -> Result<Option<Reply<T>>> {
        self.background.wait(self.gathering.next())
    }

    /// As [`Gathering::finish`].
    #[must_use]
    pub fn finish(self) -> End {
        self.gathering.finish()
    }

    /// As [`Gathering::ended`].
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.gathering.ended()
    }
}

impl<T: FromPayload + Send + 'static> Iterator for BlockingGathering<T> {
    type Item = Reply<T>;

    fn next(&mut self) -> Option<Reply<T>> {
        self.wait_next().ok().flatten()
    }
}

impl<T> fmt::Debug for BlockingGathering<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingGathering").field(&self.gathering).finish()
    }
}
