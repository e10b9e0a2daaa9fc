//! What a watch is told before it starts.
use std::{sync::Arc, time::Duration};

use sinew_core::{AnyPublisher, Buffer, Pattern, Result, Wildcards};

use super::feed::TICK;
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
    pub(super) heart: Option<Arc<Heart<AnyPublisher>>>,
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
        self.heart = Some(Arc::new(heart));
        self
    }

    pub(super) fn monitor(&self) -> MonitorOptions {
        self.monitor.clone().with_blind_after(self.blind_after())
    }

    /// A watch that stood still shall not take that for silence.
    pub(super) fn stall_after(&self) -> Duration {
        let longest = self.blind_after().unwrap_or(Duration::MAX).max(TICK * 2);
        self.stall_after.min(longest)
    }

    /// By itself until its own heart would be late.
    fn blind_after(&self) -> Option<Duration> {
        let period = self.heart.as_ref().map(|heart| heart.options().run().1);
        let own = period.map(|period| period.saturating_add(MIN_INTERVAL));
        self.monitor.blind_after.or(own)
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
