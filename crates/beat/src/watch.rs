//! The monitor's skin: a task that feeds it from a subscriber and a timer, and a stream of what it tells.
use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures_core::Stream;
use sinew_core::{
    Buffer, Error, ErrorKind, Event, Incoming, Message, Need, Pattern, Registration, Result,
    Subscribe, Subscription, Wildcards,
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{AbortHandle, coop::consume_budget},
    time::{Sleep, sleep_until},
};

use crate::{
    Clock, Monitor, MonitorCounts, MonitorEvent, MonitorOptions, Process, ProcessStatus, Snapshot,
    State, Timestamp, outbox::Outbox, process::PREFIX, stats,
};

/// How often the task sees to it that it runs.
const TICK: Duration = Duration::from_secs(1);

/// What a [`Watch`] listens to, and how much it holds for its reader.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchOptions {
    monitor: MonitorOptions,
    processes: Option<String>,
    expected: Vec<Process>,
    buffer: Buffer,
    unread: usize,
    stall_after: Duration,
    snapshot: Option<Snapshot>,
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
    /// ([`MonitorEvent::Stalled`]). It looks once a second, so at least 2 s; less counts as that. Default: 5 s.
    #[must_use]
    pub fn with_stall_after(mut self, stall_after: Duration) -> Self {
        self.stall_after = stall_after.max(TICK * 2);
        self
    }

    /// Goes on where another watch ended, as [`WatchTable::snapshot`] has it. What is in it is not told again. Default:
    /// none, a start that knows nobody.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// What to subscribe to, on a backend with these wildcards.
    fn pattern(&self, wildcards: Wildcards) -> Result<Pattern> {
        match self.processes.as_deref() {
            // Every name, in the words of a backend that knows prefixes only.
            None | Some(">") if wildcards == Wildcards::Prefix => Ok(Pattern::prefix(PREFIX)),
            Some(processes) => Pattern::parse(&format!("{PREFIX}{processes}")),
            None => Pattern::parse(&format!("{PREFIX}>")),
        }
    }
}

/// Watches processes by their beats: a [`Monitor`] over any subscriber.
///
/// It is a stream of what the monitor tells, and [`Watch::table`] is what it knows. A task feeds the monitor, so
/// that deadlines are kept whether or not anybody reads; it ends with the `Watch`. A reader that is slow is told
/// less often, never less than the truth: see [`WatchOptions::with_unread`].
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    table: WatchTable,
    task: AbortHandle,
}

/// What a [`Watch`] knows of everyone. Cloning shares it; it outlives the watch, as its last picture.
#[derive(Clone)]
pub struct WatchTable {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<Inner>,
    /// Tells the task that the next deadline may have moved earlier.
    nudge: Notify,
}

struct Inner {
    monitor: Monitor,
    outbox: Outbox,
    reader: Option<Waker>,
    /// Set once the intake has ended; the error in it until it was told.
    end: Option<Option<Error>>,
}

impl Watch {
    /// Subscribes to the beats, and watches from then on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when the backend cannot subscribe, or not to so many names;
    /// [`ErrorKind::InvalidPattern`]; [`ErrorKind::InvalidOptions`] outside of a tokio runtime; and what
    /// [`Subscribe::subscribe`] has.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing running.
    ///
    /// # Panics
    ///
    /// As every timer of tokio does, where the runtime was built without
    /// [`enable_time`](tokio::runtime::Builder::enable_time).
    pub async fn start(subscriber: &impl Subscribe, options: WatchOptions) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|err| {
            Error::new(ErrorKind::InvalidOptions, "beat watch")
                .with_detail("its timer needs a tokio runtime; start it inside of one")
                .with_source(err)
        })?;
        let capabilities = subscriber.capabilities();
        capabilities.require(
            Need::Registration(Registration::Eventual),
            "watch through a backend that can subscribe",
        )?;
        let pattern = options.pattern(capabilities.wildcards)?;
        capabilities.require(
            Need::Wildcards(pattern.needs()),
            "watch one process by its name, or use a backend with wildcards",
        )?;
        let wanted = Subscription::new(pattern).with_buffer(options.buffer);
        let incoming = subscriber.subscribe(wanted).await?;

        let (clock, monitor) = match &options.snapshot {
            None => (Clock::start(), Monitor::new(options.monitor)),
            Some(snapshot) => {
                let clock = Clock::start_at(snapshot.earliest());
                (clock, Monitor::restore(options.monitor, snapshot, &clock))
            }
        };
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(Inner {
                monitor,
                outbox: Outbox::new(options.unread),
                reader: None,
                end: None,
            }),
            nudge: Notify::new(),
        });
        let table = WatchTable { shared };
        options.expected.iter().for_each(|process| table.declare(process));
        let timer = sleep_until(table.clock().instant(table.clock().now()));
        let task = runtime
            .spawn(feed(Fed(table.clone()), incoming, timer, options.stall_after))
            .abort_handle();
        Ok(Self { table, task })
    }

    /// The next thing that the monitor tells; `None` once the intake has ended and all was told.
    ///
    /// # Errors
    ///
    /// Whatever ended the intake; the last item. Everyone's deadlines are frozen from then on. Beside what the
    /// backend has, [`ErrorKind::Internal`] when its stream panicked, [`ErrorKind::Closed`] when the runtime was shut
    /// down.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Result<MonitorEvent>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// What is known of everyone, to look at from anywhere.
    #[must_use]
    pub fn table(&self) -> WatchTable {
        self.table.clone()
    }

    /// Tells when on the wall a stamp was.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.table.clock()
    }
}

impl Stream for Watch {
    type Item = Result<MonitorEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.table.lock();
        if let Some(event) = inner.outbox.take() {
            return Poll::Ready(Some(Ok(event)));
        }
        match &mut inner.end {
            Some(err) => Poll::Ready(err.take().map(Err)),
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.table.lock().end.get_or_insert(None);
        self.task.abort();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("table", &self.table).finish_non_exhaustive()
    }
}

impl WatchTable {
    /// What is known of everyone, in the order in which they became known.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessStatus> {
        self.lock().monitor.processes().collect()
    }

    /// What is known of the process called `name`.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<ProcessStatus> {
        self.lock().monitor.process(name)
    }

    /// Declares a process that should be there, as [`Monitor::declare`] has it. No effect once the watch has ended.
    pub fn declare(&self, process: &Process) {
        self.operate(|monitor, now, told| {
            monitor.declare(process, now, told);
            true
        });
    }

    /// Judges the process called `name` no more, as [`Monitor::pause`] has it. Whether it is known and the watch goes on.
    #[must_use = "nobody may be called so"]
    pub fn pause(&self, name: &str) -> bool {
        self.operate(|monitor, now, told| monitor.pause(name, now, told))
    }

    /// Judges a paused process again, as [`Monitor::resume`] has it. Whether it is known and the watch goes on.
    #[must_use = "nobody may be called so"]
    pub fn resume(&self, name: &str) -> bool {
        self.operate(|monitor, now, told| monitor.resume(name, now, told))
    }

    /// What is known of everyone, to start another watch with.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().monitor.snapshot(&self.shared.clock)
    }

    /// Whether the link is down.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.lock().monitor.is_blind()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> MonitorCounts {
        self.lock().monitor.counts()
    }

    /// How many transitions there were of each kind, as [`Monitor::transitions`] has it.
    #[must_use]
    pub fn transitions(&self) -> Vec<(Option<State>, State, u64)> {
        self.lock().monitor.transitions().collect()
    }

    /// Tells when on the wall a stamp was.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if something does, the picture is still the best there is.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an operator asks of the monitor, as long as it works.
    fn operate(
        &self,
        ask: impl FnOnce(&mut Monitor, Timestamp, &mut stats::Counted<'_, Outbox>) -> bool,
    ) -> bool {
        if self.lock().end.is_some() {
            return false;
        }
        let mut done = false;
        self.update(|monitor, now, told| done = ask(monitor, now, told));
        self.shared.nudge.notify_one();
        done
    }

    /// Lets the monitor work, counts what it tells, and wakes the reader if there is something to read. Returns when
    /// the monitor wants to be called next.
    fn update(
        &self,
        work: impl FnOnce(&mut Monitor, Timestamp, &mut stats::Counted<'_, Outbox>),
    ) -> Option<Timestamp> {
        let now = self.shared.clock.now();
        let mut inner = self.lock();
        let Inner { monitor, outbox, reader, .. } = &mut *inner;
        let mut told = stats::Counted::new(outbox);
        work(monitor, now, &mut told);
        let waker = if told.any() { reader.take() } else { None };
        let next = monitor.next_deadline();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        next
    }

    /// Tells how the intake ended, unless that is known.
    fn end(&self, err: Option<Error>) {
        if self.lock().end.is_some() {
            return;
        }
        self.update(|monitor, now, told| monitor.link_down(now, told));
        let mut inner = self.lock();
        inner.end = Some(err);
        let waker = inner.reader.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for WatchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchTable").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Feeds the monitor until the intake ends.
async fn feed(table: Fed, mut incoming: Incoming<Message>, timer: Sleep, stall_after: Duration) {
    let clock = table.clock();
    let mut next = table.update(|monitor, now, told| monitor.advance(now, told));
    let mut timer = std::pin::pin!(timer);
    let mut turn = clock.now();
    loop {
        // An intake that always has something would never let others run, nor the task be aborted.
        consume_budget().await;
        let tick = turn.after(TICK);
        let due = clock.instant(next.map_or(tick, |at| at.min(tick)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        let event = tokio::select! {
            biased;
            event = incoming.next() => Some(event),
            () = table.shared.nudge.notified() => None,
            () = timer.as_mut() => None,
        };
        // First of all: nobody is judged for what waits unheard.
        let gap = clock.now().since(turn);
        if gap >= stall_after {
            table.update(|monitor, now, told| monitor.stalled(gap, now, told));
        }
        turn = clock.now();
        // Whatever comes in lets the time pass, too, so a flood of beats delays no deadline.
        next = match event {
            Some(Some(Ok(event))) => table.update(|monitor, now, told| match event {
                Event::Item(message) => monitor.hear(&message, now, told),
                Event::Lost(lost) => monitor.lose(lost, now, told),
                Event::Down => monitor.link_down(now, told),
                Event::Up { .. } => monitor.link_up(now, told),
                _ => {}
            }),
            Some(Some(Err(err))) => return table.end(Some(err)),
            Some(None) => return table.end(None),
            None => table.update(|monitor, now, told| monitor.advance(now, told)),
        };
    }
}

/// The table in the hands of its task: however the task ends, the reader is told.
struct Fed(WatchTable);

impl Deref for Fed {
    type Target = WatchTable;

    fn deref(&self) -> &WatchTable {
        &self.0
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let (kind, detail) = match thread::panicking() {
            true => (ErrorKind::Internal, "the backend's stream panicked"),
            false => (ErrorKind::Closed, "its runtime was shut down"),
        };
        self.0.end(Some(Error::new(kind, "beat watch").with_detail(detail)));
    }
}
