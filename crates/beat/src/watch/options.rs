//! What a watch is told before it starts.
use std::{sync::Arc, time::Duration};

use sinew_core::{AnyPublisher, Buffer, Pattern, Result, Wildcards};

use super::{feed::TICK, own::Own};
use crate::{Heart, MIN_INTERVAL, MonitorOptions, Process, Snapshot, process::PREFIX};

/// What a [`Watch`](crate::Watch) listens to, and how much it holds for its reader.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchOptions {
    monitor: MonitorOptions,
    processes: Option<String>,
    pub(super) expected: Vec<Process>,
    pub(super) buffer: Buffer,
    pub(super) unread: usize,
    stall_after: Duration,
    pub(super) snapshot: Option<Snapshot>,
    heart: Option<Arc<Heart<AnyPublisher>>>,
    pub(super) begins_heart: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            monitor: MonitorOptions::default(),
            processes: None,
            expected: Vec::new(),
            buffer: Buffer::default(),
            unread: 1024,
            stall_after: Duration::from_secs(5),
            snapshot: None,
            heart: None,
            begins_heart: true,
        }
    }
}

impl WatchOptions {
    /// How patient the monitor is. Default: [`MonitorOptions::default`].
    #[must_use]
    pub fn with_monitor(mut self, monitor: MonitorOptions) -> Self {
        self.monitor = monitor;
        self
    }

    /// Listens to the processes whose names match this pattern (`billing`, `eu.*`, `eu.>`) only. Default: to all.
    #[must_use]
    pub fn with_processes(mut self, pattern: impl Into<String>) -> Self {
        self.processes = Some(pattern.into());
        self
    }

    /// Declares a process that should be there. Default: none.
    #[must_use]
    pub fn with_expected(mut self, process: Process) -> Self {
        self.expected.push(process);
        self
    }

    /// How many beats may wait for the monitor. Default: [`Buffer::default`].
    #[must_use]
    pub fn with_buffer(mut self, buffer: Buffer) -> Self {
        self.buffer = buffer;
        self
    }

    /// How many events may wait for the reader each for itself. From then on a process's transitions run together
    /// into one that says how many it skipped. Default: 1,024.
    #[must_use]
    pub fn with_unread(mut self, unread: usize) -> Self {
        self.unread = unread;
        self
    }

    /// How long the watch's own task may stand still, stopped or starved, until every deadline is moved by as much
    /// ([`MonitorEvent::Stalled`](crate::MonitorEvent::Stalled)). It looks once a second, so at least 2 s; less counts as that. With a
    /// [heart](Self::with_heart) no longer than its promise + 1 s. Default: 5 s.
    #[must_use]
    pub fn with_stall_after(mut self, stall_after: Duration) -> Self {
        self.stall_after = stall_after.max(TICK * 2);
        self
    }

    /// Goes on where another watch ended, as [`WatchTable::snapshot`](crate::WatchTable::snapshot) has it. What is in it
    /// is not told again. Default: none, a start that knows nobody.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Gives the watch a heart of its own, which it hears itself.
    ///
    /// It proves all of the way, there and back: nobody is judged by a link that may be dead. Without it a link counts
    /// as sound until the backend says otherwise, which, when a broker is frozen, may take longer than it takes a
    /// process to be called down. The watch is blind once it has heard nothing at all for the heart's period + 1 s
    /// (unless [`MonitorOptions::with_blind_after`] says otherwise), and judges late by as much as is said there: choose
    /// a short period, 2 s say.
    ///
    /// To others it is the watch's dead man's switch. It says `start` in [`Watch::start`](crate::Watch::start), `beat`
    /// every [run interval](crate::HeartOptions::with_run_interval) for as long as the watch's task turns, and `stop`
    /// in [`Watch::stop`](crate::Watch::stop). The watch knows its own process like any other, whatever else it
    /// listens to; one whose name begins with [`Process::UNLISTED`] is heard, and listed by nobody. Default: none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sinew_core::Result<()> {
    /// use std::time::Duration;
    /// use sinew_adapter_memory::Memory;
    /// use sinew_beat::{HeartOptions, State, Watch, WatchOptions};
    /// use sinew_core::AnyPublisher;
    ///
    /// let broker = Memory::new();
    /// let heart = HeartOptions::default()
    ///     .with_period(Duration::from_secs(2))
    ///     .build(AnyPublisher::new(broker.clone()), "monitor.eu")?;
    /// let watch = Watch::start(&broker, WatchOptions::default().with_heart(heart)).await?;
    /// assert!(watch.table().process("monitor.eu").is_some_and(|it| it.state.is_alive()));
    /// watch.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_heart(mut self, heart: Heart<AnyPublisher>) -> Self {
        (self.heart, self.begins_heart) = (Some(Arc::new(heart)), true);
        self
    }

    /// As [`with_heart`](Self::with_heart), but for a watch that shall start where its heart cannot be heard: because it may
    /// not publish, or because the broker hangs just then. It says nothing, and the watch is one without a heart, until
    /// [`WatchTable::begin_heart`](crate::WatchTable::begin_heart) has succeeded.
    #[must_use]
    pub fn with_heart_later(mut self, heart: Heart<AnyPublisher>) -> Self {
        (self.heart, self.begins_heart) = (Some(Arc::new(heart)), false);
        self
    }

    pub(super) fn monitor(&self) -> MonitorOptions {
        self.monitor.clone()
    }

    pub(super) fn stall_after(&self) -> Duration {
        self.no_silence(self.monitor.blind_after)
    }

    /// By itself the watch is blind once its own heart would be late.
    pub(super) fn own(&self) -> Option<Own> {
        let heart = self.heart.clone()?;
        let late = heart.options().run().1.saturating_add(MIN_INTERVAL);
        let blind_after = self.monitor.blind_after.or(Some(late));
        Some(Own::new(heart, blind_after, self.no_silence(blind_after)))
    }

    /// A watch that stood still shall not take that for silence.
    fn no_silence(&self, blind_after: Option<Duration>) -> Duration {
        self.stall_after.min(blind_after.unwrap_or(Duration::MAX).max(TICK * 2))
    }

    /// What to subscribe to, on a backend with these wildcards.
    pub(super) fn pattern(&self, wildcards: Wildcards) -> Result<Pattern> {
        match self.processes.as_deref() {
            // Every name, in the words of a backend that knows prefixes only.
            None | Some(">") if wildcards == Wildcards::Prefix => Ok(Pattern::prefix(PREFIX)),
            Some(processes) => Pattern::parse(&format!("{PREFIX}{processes}")),
            None => Pattern::parse(&format!("{PREFIX}>")),
        }
    }
}
