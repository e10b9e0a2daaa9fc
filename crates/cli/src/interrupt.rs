//! When to end: Ctrl-C, SIGTERM and SIGHUP, `--count` and `--for`.
use std::{
    io::{self, IsTerminal, Write},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    commands::exec::end_running,
    exit::{Failure, Status},
    time::parse_duration,
};

/// How an endless command ends.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    /// End after N of them
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after this time: 30s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) within: Option<Duration>,
}

impl Ending {
    /// When `--for` is over, counted from now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.within.map(|within| Instant::now() + within)
    }

    /// Whether `done` are as many as were asked for.
    pub(crate) fn reached(&self, done: u64) -> bool {
        self.count.is_some_and(|count| done >= count)
    }

    /// The exit status of a command that ended at `stop` with `done` done.
    pub(crate) fn status(&self, stop: Stop, done: u64) -> Status {
        let has_goal = self.count.is_some() || self.within.is_some();
        match stop {
            _ if self.reached(done) => Status::Done,
            Stop::Interrupted if has_goal => Status::Interrupted,
            Stop::TimeOver if self.count.is_some() => Status::TryAgain,
            Stop::Interrupted | Stop::TimeOver | Stop::Ended => Status::Done,
        }
    }
}

/// Why a command stopped waiting for more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
    /// `--for` is over.
    TimeOver,
    /// There is no more, or enough.
    Ended,
}

/// Tells of the first Ctrl-C, SIGTERM or SIGHUP. A second one of the first two ends the process at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    told: watch::Receiver<bool>,
    listener: AbortHandle,
    leaves_hangups: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes the signals over.
    pub(crate) fn install() -> Result<Self, Failure> {
        let mut signals = Signals::listen()?;
        let (tell, told) = watch::channel(false);
        let leaves_hangups = Arc::new(AtomicBool::new(false));
        let has_another_use = Arc::clone(&leaves_hangups);
        let listener = tokio::spawn(async move {
            while signals.next().await == Signal::Hangup && has_another_use.load(Ordering::Relaxed)
            {
            }
            tell.send_replace(true);
            // A terminal that goes says so more than once: so does its shell.
            while signals.next().await == Signal::Hangup {}
            restore_cursor();
            end_running();
            process::exit(Status::Interrupted.code().into());
        });
        Ok(Self { told, listener: listener.abort_handle(), leaves_hangups })
    }

    /// Leaves SIGHUP to a command that has its own use for it.
    pub(crate) fn leave_hangups(&self) {
        self.leaves_hangups.store(true, Ordering::Relaxed);
    }

    /// Leaves the signals to a command that has its own use for them; nobody else is told from here on.
    pub(crate) fn take_over(&self) -> Result<Signals, Failure> {
        // Before the other ear is shut, so that none is missed.
        let signals = Signals::listen()?;
        self.listener.abort();
        if self.is_set() {
            return Err(Failure::new(Status::Interrupted, "interrupted"));
        }
        Ok(signals)
    }

    /// Ends with the first signal.
    pub(crate) async fn wait(&self) {
        if self.told.clone().wait_for(|interrupted| *interrupted).await.is_err() {
            // The task that tells lives as long as the runtime.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.told.borrow()
    }

    /// Ends with the first signal, or at `deadline`.
    pub(crate) async fn or_deadline(&self, deadline: Option<Instant>) -> Stop {
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wait() => Stop::Interrupted,
            () = over => Stop::TimeOver,
        }
    }

    /// Waits for a future that must not outlast the first signal.
    pub(crate) async fn unless<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.wait() => Err(Failure::new(Status::Interrupted, "interrupted")),
            done = future => done,
        }
    }
}

/// One of the signals that ask for an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone. The commands that we run have process groups of their own, so it tells us alone.
    Hangup,
}

/// An ear for them.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None where whoever started us wants it ignored, as `nohup` does.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::new()
            .map_err(|err| Failure::new(Status::Fault, "cannot listen to signals").with_source(err))
    }

    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt, terminate, hangup })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hangup => Signal::Hangup,
        }
    }
}

/// Whether SIGHUP, whose number is 1, was ignored when we were started, or nobody can tell: then it stays as it is.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    // Asked once: from when we listen on, it is not.
    static IS_IGNORED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IS_IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_none_or(|mask| mask & 1 == 1)
    })
}

#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "its twin can fail")]
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}

/// Whether a live table has hidden the cursor.
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Remembers that the cursor is hidden or shown, for an end in a hurry.
pub(crate) fn cursor_is_hidden(hidden: bool) {
    CURSOR_HIDDEN.store(hidden, Ordering::Relaxed);
}

fn restore_cursor() {
    // By way of standard error: standard output may be locked by whoever is being interrupted.
    if CURSOR_HIDDEN.load(Ordering::Relaxed) && io::stderr().is_terminal() {
        let _ = io::stderr().write_all(b"\x1b[?7h\x1b[?25h\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_the_goal_has_a_status_of_its_own() {
        let endless = Ending::default();
        let timed = Ending { within: Some(Duration::from_secs(1)), ..endless };
        let counted = Ending { count: Some(2), ..timed };
        assert_eq!(endless.status(Stop::Interrupted, 7), Status::Done);
        assert_eq!(timed.status(Stop::Interrupted, 7), Status::Interrupted);
        assert_eq!(timed.status(Stop::TimeOver, 0), Status::Done);
        assert_eq!(counted.status(Stop::TimeOver, 1), Status::TryAgain);
        assert_eq!(counted.status(Stop::Interrupted, 1), Status::Interrupted);
        assert_eq!(counted.status(Stop::Ended, 2), Status::Done);
    }
}
