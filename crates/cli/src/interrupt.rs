//! When to end: Ctrl-C and SIGTERM, `--count` and `--for`.
use std::{
    io::{self, IsTerminal, Write},
    process,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clap::Args;
use tokio::{
    sync::watch,
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
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// `--for` is over.
    TimeOver,
    /// There is no more, or enough.
    Ended,
}

/// Tells of the first Ctrl-C or SIGTERM. The second one ends the process at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Takes both signals over.
    pub(crate) fn install() -> Result<Self, Failure> {
        let mut signals = Signals::new().map_err(|err| {
            Failure::new(Status::Fault, "cannot listen to signals").with_source(err)
        })?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            tell.send_replace(true);
            signals.next().await;
            restore_cursor();
            end_running();
            process::exit(Status::Interrupted.code().into());
        });
        Ok(Self(told))
    }

    /// Ends with the first signal.
    pub(crate) async fn wait(&self) {
        if self.0.clone().wait_for(|interrupted| *interrupted).await.is_err() {
            // The task that tells lives as long as the runtime.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
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

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "its twin can fail")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
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
