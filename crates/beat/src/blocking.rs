//! The heart for code without a runtime: one thread that runs the async one.
use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Publish, Result, Sent};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{
        mpsc::{self, Sender, channel, error::TrySendError},
        oneshot,
    },
};

use crate::{
    Beat, Health, Heart, HeartCounts, HeartOptions, Process, Progress, Pulse,
    heart::{Ledger, lock},
};

/// A [`Heart`] for code without an async runtime: the same beats, rules and errors, in blocking calls.
///
/// It owns one thread with a runtime of its own, which ends once the heart is dropped and its last call is over. Each
/// call ends within [`HeartOptions::with_timeout`] and a second. Every call takes `&self`, so an `Arc` shares it.
///
/// ```
/// use sinew_beat::{BlockingHeart, Pulse};
/// use sinew_core::{Message, publish_fn};
///
/// let print = publish_fn(|message: Message| {
///     println!("{} <- {:?}", message.address, message.payload);
///     Ok(())
/// });
/// let heart = BlockingHeart::new(print, "billing")?;
/// assert_eq!(heart.beat()?, Pulse::Sent);
/// assert_eq!(heart.beat()?, Pulse::Suppressed);
/// heart.stop()?;
/// # Ok::<(), sinew_core::Error>(())
/// ```
pub struct BlockingHeart {
    calls: Sender<Call>,
    process: Process,
    options: HeartOptions,
    ledger: Arc<Mutex<Ledger>>,
    start_run: Box<StartRun>,
}

/// Starts the thread of a run.
type StartRun = dyn Fn(Order) -> io::Result<()> + Send + Sync;

/// What a run is given, and where it tells of its end.
struct Order {
    progress: Progress,
    check: Box<dyn FnMut() -> Health + Send>,
    stop: oneshot::Receiver<()>,
    ended: SyncSender<Result<Pulse>>,
}

/// A run of a [`BlockingHeart`], on a thread of its own.
///
/// Dropping it ends the beats and says nothing, as a process that vanishes does; so does a check that panics.
#[must_use = "dropping it ends the beats"]
pub struct BlockingRun {
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<Result<Pulse>>,
    process: Process,
    timeout: Duration,
}

/// One call, and where its caller waits.
struct Call {
    say: Say,
    answer: SyncSender<Result<Pulse>>,
}

#[derive(Clone, Copy)]
enum Say {
    Start,
    Beat,
    Degraded,
    Any(Beat),
}

/// How many callers may stand in line behind the call that is being made.
const LINE: usize = 64;

/// What a caller waits beyond the heart's own deadline, for a thread that a busy machine is slow to run.
const SLACK: Duration = Duration::from_secs(1);

impl HeartOptions {
    /// A blocking heart of `process` that beats through `publisher`.
    ///
    /// # Errors
    ///
    /// As [`HeartOptions::build`], and [`ErrorKind::Internal`] when no thread can be started.
    pub fn build_blocking<P>(self, publisher: P, process: &str) -> Result<BlockingHeart>
    where
        P: Publish + 'static,
    {
        let heart = Arc::new(self.clone().build(publisher, process)?);
        let (process, ledger) = (heart.process().clone(), heart.ledger());
        let fault = |err| {
            Error::new(ErrorKind::Internal, "beat heart")
                .with_detail("cannot start its thread")
                .with_source(err)
        };
        let runtime = runtime().map_err(fault)?;
        let (calls, line) = channel(LINE);
        let runs = Arc::clone(&heart);
        let start_run = Box::new(move |order| spawn_run(Arc::clone(&runs), order));
        thread::Builder::new()
            .name("beat-heart".to_owned())
            .spawn(move || runtime.block_on(serve(heart, line)))
            .map_err(fault)?;
        Ok(BlockingHeart { calls, process, options: self, ledger, start_run })
    }
}

/// All drivers: a closure may call a client that needs sockets.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A thread of its own, so that a check that blocks holds up no call.
fn spawn_run<P: Publish + 'static>(heart: Arc<Heart<P>>, order: Order) -> io::Result<()> {
    let runtime = runtime()?;
    let Order { progress, check, stop, ended } = order;
    let run = async move {
        // Whoever drops the handle wants no stop.
        let rhythm = heart.rhythm(&progress);
        if heart.beat_until(rhythm, &progress, check, stop).await.is_ok() {
            let _ = ended.try_send(heart.end().await);
        }
    };
    thread::Builder::new()
        .name("beat-run".to_owned())
        .spawn(move || runtime.block_on(run))
        .map(drop)
}

/// Makes one call after the other, until the heart is dropped.
async fn serve<P: Publish>(heart: Arc<Heart<P>>, mut line: mpsc::Receiver<Call>) {
    while let Some(Call { say, answer }) = line.recv().await {
        let outcome = match say {
            Say::Start => heart.start().await,
            Say::Beat => heart.beat().await,
            Say::Degraded => heart.degraded().await,
            Say::Any(beat) => heart.send(beat).await,
        };
        // A caller that waits no longer has been told that time ran out.
        let _ = answer.try_send(outcome);
    }
}

impl BlockingHeart {
    /// A heart of `process` with default options.
    ///
    /// # Errors
    ///
    /// As [`HeartOptions::build_blocking`].
    pub fn new<P: Publish + 'static>(publisher: P, process: &str) -> Result<Self> {
        HeartOptions::default().build_blocking(publisher, process)
    }

    /// Says that the process starts: `start/<warmup>`.
    ///
    /// # Errors
    ///
    /// As [`BlockingHeart::send`].
    pub fn start(&self) -> Result<Pulse> {
        self.call(Say::Start)
    }

    /// Says that it is well: `beat/<period>`.
    ///
    /// # Errors
    ///
    /// As [`BlockingHeart::send`].
    pub fn beat(&self) -> Result<Pulse> {
        self.call(Say::Beat)
    }

    /// Says that it works, but not well: `degraded/<period>`.
    ///
    /// # Errors
    ///
    /// As [`BlockingHeart::send`].
    pub fn degraded(&self) -> Result<Pulse> {
        self.call(Say::Degraded)
    }

    /// Says that it ends on purpose: `stop`, flushed, so that the process may end once this has.
    ///
    /// # Errors
    ///
    /// As [`BlockingHeart::send`].
    pub fn stop(&self) -> Result<Pulse> {
        self.call(Say::Any(Beat::Stop))
    }

    /// Says anything there is to say, with a promise of its own. A [`Beat::Stop`] is flushed.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`]; [`ErrorKind::InsideRuntime`] on a thread of a tokio runtime, which it would stall, those of
    /// `spawn_blocking` included; [`ErrorKind::Overloaded`] when 64 callers wait already; [`ErrorKind::Closed`] when
    /// the publisher panicked.
    pub fn send(&self, beat: Beat) -> Result<Pulse> {
        self.call(Say::Any(beat))
    }

    /// Beats on a thread of its own while the work gets on, as [`Heart::run`] does, until [`BlockingRun::stop`].
    ///
    /// The check is called on that thread: while it blocks, nothing is sent.
    ///
    /// ```
    /// use sinew_beat::{BlockingHeart, Health, Progress};
    /// use sinew_core::{Message, publish_fn};
    ///
    /// let heart = BlockingHeart::new(publish_fn(|_: Message| Ok(())), "billing")?;
    /// let progress = Progress::new();
    /// let mut run = heart.run(&progress, || Health::Up)?;
    /// for _job in 0..3 {
    ///     // do it, then say so
    ///     progress.tick();
    /// }
    /// run.stop()?;
    /// # Ok::<(), sinew_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when no thread can be started.
    pub fn run(
        &self,
        progress: &Progress,
        check: impl FnMut() -> Health + Send + 'static,
    ) -> Result<BlockingRun> {
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = sync_channel(1);
        let (progress, check) = (progress.clone(), Box::new(check));
        let order = Order { progress, check, stop: stopped, ended };
        (self.start_run)(order).map_err(|err| {
            Error::new(ErrorKind::Internal, "beat run")
                .with_subject(self.process.as_str())
                .with_detail("cannot start its thread")
                .with_source(err)
        })?;
        let (process, timeout) = (self.process.clone(), self.options.timeout());
        Ok(BlockingRun { stop: Some(stop), ended: end, process, timeout })
    }

    /// What became of its calls so far.
    #[must_use]
    pub fn counts(&self) -> HeartCounts {
        lock(&self.ledger).counts()
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn call(&self, say: Say) -> Result<Pulse> {
        let error = |kind| Error::new(kind, "beat send").with_subject(self.process.as_str());
        if Handle::try_current().is_ok() {
            return Err(error(ErrorKind::InsideRuntime).with_detail("use `Heart` here"));
        }
        let (answer, answered) = sync_channel(1);
        self.calls.try_send(Call { say, answer }).map_err(|err| match err {
            TrySendError::Full(_) => error(ErrorKind::Overloaded).with_detail("beat less often"),
            TrySendError::Closed(_) => error(ErrorKind::Closed),
        })?;
        wait_for(&answered, self.options.timeout())
            .map_err(|kind| error(kind).with_sent(Sent::Maybe))?
    }
}

impl fmt::Debug for BlockingHeart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingHeart")
            .field("process", &self.process)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl BlockingRun {
    /// Ends the beats and says `stop`, flushed: call it when the work is drained. It ends within
    /// [`HeartOptions::with_timeout`] and a second.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`], after trying again for as long as that takes; [`ErrorKind::InsideRuntime`] on a thread of a
    /// tokio runtime, where the run goes on; [`ErrorKind::Closed`] when it was stopped before, or the check or the
    /// publisher panicked.
    pub fn stop(&mut self) -> Result<Pulse> {
        let error = |kind| Error::new(kind, "beat stop").with_subject(self.process.as_str());
        if Handle::try_current().is_ok() {
            return Err(error(ErrorKind::InsideRuntime).with_detail("stop it on another thread"));
        }
        let asked = self.stop.take().is_some_and(|stop| stop.send(()).is_ok());
        if !asked {
            return Err(error(ErrorKind::Closed));
        }
        wait_for(&self.ended, self.timeout).map_err(|kind| error(kind).with_sent(Sent::Maybe))?
    }
}

impl fmt::Debug for BlockingRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingRun").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Waits for a thread to answer.
fn wait_for<T>(answered: &Receiver<T>, timeout: Duration) -> Result<T, ErrorKind> {
    answered.recv_timeout(timeout.saturating_add(SLACK)).map_err(|err| match err {
        RecvTimeoutError::Timeout => ErrorKind::Timeout,
        RecvTimeoutError::Disconnected => ErrorKind::Closed,
    })
}
