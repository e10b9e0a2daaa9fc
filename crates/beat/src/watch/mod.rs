//! The monitor's skin: a task that feeds it from a subscriber and a timer, and a stream of what it tells.
mod feed;
mod options;
mod own;
mod reload;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use sinew_core::{Error, ErrorKind, Need, Registration, Result, Subscribe, Subscription};
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::sleep_until};

pub use self::options::WatchOptions;
use self::{feed::Fed, own::Own};
use crate::{
    Clock, HeartCounts, Histogram, Monitor, MonitorCounts, MonitorEvent, Process, ProcessStatus,
    Snapshot, Timestamp, TransitionCount, age::Ages, histogram::LAGS, outbox::Outbox, stats,
};

/// Watches processes by their beats: a [`Monitor`] over any subscriber.
///
/// It is a stream of what the monitor tells, and [`Watch::table`] is what it knows. A task feeds the monitor, so
/// that deadlines are kept whether or not anybody reads; it ends with the `Watch`. A reader that is slow is told
/// less often, never less than the truth: see [`WatchOptions::with_unread`].
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    table: WatchTable,
    task: JoinHandle<()>,
}

/// What a [`Watch`] knows of everyone. Cloning shares it; it outlives the watch, as its last picture.
#[derive(Clone)]
pub struct WatchTable {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    /// The watch's own heart.
    own: Option<Own>,
    state: Mutex<Inner>,
    /// Tells the task that the next deadline may have moved earlier.
    nudge: Notify,
}

struct Inner {
    monitor: Monitor,
    outbox: Outbox,
    ages: Ages,
    /// How late the watch's task was with what was due.
    lag: Histogram,
    /// When the watch's task was last seen to run, and for how long it may not be; for ever, until it does.
    turn: Timestamp,
    stall_after: Duration,
    reader: Option<Waker>,
    /// Set once the intake has ended; the error in it until it was told.
    end: Option<Option<Error>>,
}

/// Who lets the monitor work.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    /// The watch's task, which hears what comes in.
    Task,
    Operator,
}

impl Watch {
    /// Subscribes to the beats, and watches from then on. With a [heart](WatchOptions::with_heart) it has said `start`,
    /// and heard that itself, once this ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when the backend cannot subscribe, or not to so many names;
    /// [`ErrorKind::InvalidPattern`]; [`ErrorKind::InvalidOptions`] outside of a tokio runtime; and what
    /// [`Subscribe::subscribe`] has. With a heart what [`WatchTable::begin_heart`] has.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing running; with a heart it may have said `start`.
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
        let own = options.own();
        let beside = own.as_ref().map(|it| it.heart.subject()).filter(|it| !pattern.matches(it));
        let mut wanted = Subscription::new(pattern.clone()).with_buffer(options.buffer);
        if let Some(subject) = beside {
            wanted = wanted.and(subject.clone());
        }
        let incoming = subscriber.subscribe(wanted).await?;

        let (clock, monitor) = match &options.snapshot {
            None => (Clock::start(), Monitor::new(options.monitor())),
            Some(snapshot) => {
                let clock = Clock::start_at(snapshot.earliest());
                (clock, Monitor::restore(options.monitor(), snapshot, &clock))
            }
        };
        let now = clock.now();
        let shared = Arc::new(Shared {
            clock,
            own,
            state: Mutex::new(Inner {
                monitor,
                outbox: Outbox::new(options.unread),
                ages: Ages::default(),
                lag: Histogram::new(&LAGS),
                turn: now,
                stall_after: options.stall_after(),
                reader: None,
                end: None,
            }),
            nudge: Notify::new(),
        });
        let table = WatchTable { shared };
        options.expected.iter().for_each(|process| table.declare(process));
        let work = feed::run(Fed(table.clone()), incoming, sleep_until(clock.instant(now)));
        let watch = Self { table, task: runtime.spawn(work) };
        if watch.table.shared.own.is_some() && options.begins_heart {
            watch.table.begin_heart().await?;
        }
        Ok(watch)
    }

    /// Ends the watch, and says `stop` for its [heart](WatchOptions::with_heart), if it has one that was heard: whoever watches this
    /// watch knows then that it ended on purpose. Dropping the watch says nothing, as a process that vanishes does.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`](crate::Heart::send) for the stop, which is tried again for a while, and takes no longer than
    /// [`HeartOptions::with_timeout`](crate::HeartOptions::with_timeout). The watch has ended all the same.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has ended the watch; the stop may or may not have been said.
    pub async fn stop(mut self) -> Result<()> {
        self.end_task();
        // No beat after the stop. It ends at its next await.
        let _ = (&mut self.task).await;
        match &self.table.shared.own {
            Some(own) if own.is_heard() => own.heart.end().await.map(drop),
            _ => Ok(()),
        }
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

    /// It was meant to end: that is no blindness.
    fn end_task(&self) {
        self.table.lock().end.get_or_insert(None);
        self.task.abort();
    }

    /// Hands each event to `tell`, for who needs no stream, until the intake has ended.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sinew_core::Result<()> {
    /// # use sinew_adapter_memory::Memory;
    /// # use sinew_beat::{MonitorEvent, Watch, WatchOptions};
    /// # use sinew_core::Link as _;
    /// # let broker = Memory::new();
    /// let watch = Watch::start(&broker, WatchOptions::default()).await?;
    /// # broker.drain(std::time::Duration::from_secs(1)).await?;
    /// watch
    ///     .run(|event| {
    ///         if let MonitorEvent::Transition(change) = event {
    ///             println!("{} is {}", change.process, change.to);
    ///         }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Watch::next`]: whatever ended the intake.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call ends the watch, as dropping the watch does.
    pub async fn run(mut self, mut tell: impl FnMut(MonitorEvent)) -> Result<()> {
        while let Some(event) = self.next().await {
            tell(event?);
        }
        Ok(())
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
        self.end_task();
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

    /// The same of those whose names begin with `prefix`, as [`Monitor::processes_under`] has it.
    #[must_use]
    pub fn processes_under(&self, prefix: &str) -> Vec<ProcessStatus> {
        self.lock().monitor.processes_under(prefix).collect()
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

    /// Whether it judges nobody, as the link is down or silent.
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
    pub fn transitions(&self) -> Vec<TransitionCount> {
        self.lock().monitor.transitions().collect()
    }

    /// How far apart the beats of a process are, as [`Monitor::intervals`] has it.
    #[must_use]
    pub fn intervals(&self) -> Histogram {
        *self.lock().monitor.intervals()
    }

    /// How late the watch's task was with what was due, a deadline or its look at itself once a second.
    #[must_use]
    pub fn lag(&self) -> Histogram {
        self.lock().lag
    }

    /// What became of the beats of the watch's own [heart](WatchOptions::with_heart), if it has one.
    #[must_use]
    pub fn heart_counts(&self) -> Option<HeartCounts> {
        self.shared.own.as_ref().map(|own| own.heart.counts())
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
        self.update(By::Operator, |monitor, now, told| done = ask(monitor, now, told));
        self.shared.nudge.notify_one();
        done
    }

    /// Lets the monitor work, counts what it tells, and wakes the reader if there is something to read. Returns when
    /// the monitor wants to be called next.
    ///
    /// If the task stood still until now, the monitor learns that first, whoever calls: nobody is judged for what
    /// waits unheard.
    fn update(
        &self,
        by: By,
        work: impl FnOnce(&mut Monitor, Timestamp, &mut stats::Counted<'_, Outbox>),
    ) -> Option<Timestamp> {
        let now = self.shared.clock.now();
        let mut inner = self.lock();
        let Inner { monitor, outbox, reader, turn, stall_after, .. } = &mut *inner;
        let mut told = stats::Counted::new(outbox);
        let gap = now.since(*turn);
        let has_stalled = gap >= *stall_after;
        if has_stalled {
            monitor.stalled(gap, now, &mut told);
        }
        // An operator is no proof that the task runs.
        if has_stalled || by == By::Task {
            *turn = now;
        }
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
        self.update(By::Task, |monitor, now, told| monitor.link_down(now, told));
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
