//! The heart for code without a runtime: one thread that runs the async one.
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Publish, Result, Sent};
use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
};

use crate::{
    Beat, Heart, HeartCounts, HeartOptions, Process, Pulse,
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
        let heart = self.build(publisher, process)?;
        let (process, ledger) = (heart.process().clone(), heart.ledger());
        let fault = |err| {
            Error::new(ErrorKind::Internal, "beat heart")
                .with_detail("cannot start its thread")
                .with_source(err)
        };
        // All drivers: a closure may call a client that needs sockets.
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fault)?;
        let (calls, line) = channel(LINE);
        thread::Builder::new()
            .name("beat-heart".to_owned())
            .spawn(move || runtime.block_on(serve(heart, line)))
            .map_err(fault)?;
        Ok(BlockingHeart { calls, process, options: self, ledger })
    }
}

/// Makes one call after the other, until the heart is dropped.
async fn serve<P: Publish>(heart: Heart<P>, mut line: Receiver<Call>) {
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
        answered.recv_timeout(self.options.timeout().saturating_add(SLACK)).map_err(|err| {
            let kind = match err {
                RecvTimeoutError::Timeout => ErrorKind::Timeout,
                RecvTimeoutError::Disconnected => ErrorKind::Closed,
            };
            error(kind).with_sent(Sent::Maybe)
        })?
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
