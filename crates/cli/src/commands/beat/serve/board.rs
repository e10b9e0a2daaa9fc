//! What the page knows: the monitor's table, and beside it what the monitor keeps not: uptimes and past transitions.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use sinew_beat::{
    Clock, HeartCounts, Histogram, MonitorCounts, MonitorEvent, Process, ProcessStatus, Reason,
    State, Timestamp, Transition, TransitionCount, WatchTable,
};
use tokio::sync::watch;

use super::uptime::{Shares, Uptime, Verdict, kept, millis};

/// How many transitions of all processes together are kept.
const NEWS: usize = 500;

/// How many transitions of each process are kept.
const LOG: usize = 8;

/// Everything that is shown. One task tells it what happens, any number look.
#[derive(Debug)]
pub(super) struct Board {
    table: WatchTable,
    /// Since when uptimes are kept, in milliseconds since 1970.
    uptime_since: u64,
    inner: Mutex<Inner>,
    /// Goes up whenever something happened.
    revision: watch::Sender<u64>,
    /// The last picture, and how long it took. Whoever takes a new one holds it, so that there is one at a time.
    picture: tokio::sync::Mutex<Option<(Arc<Picture>, Duration)>>,
}

#[derive(Debug, Default)]
struct Inner {
    records: HashMap<Process, Record>,
    /// As many processes as the monitor knows at most.
    most: usize,
    news: VecDeque<News>,
    happened: Happened,
    ended: bool,
}

/// How often something happened that is no transition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened {
    /// The monitor itself stood still.
    pub(super) stalls: u64,
    /// A process began to flap.
    pub(super) flapping: u64,
    /// A process was silent for so long that it was forgotten.
    pub(super) forgotten: u64,
}

/// What is kept of a process beside its status.
#[derive(Debug)]
struct Record {
    state: State,
    uptime: Uptime,
    log: VecDeque<Change>,
}

/// One change of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) from: Option<State>,
    pub(super) to: State,
    pub(super) at: Timestamp,
    pub(super) reason: Reason,
}

/// One thing that happened, for the list of what happened last.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// The revision that it came with: they go up.
    pub(super) revision: u64,
    pub(super) process: Process,
    pub(super) change: Change,
}

/// Everyone at one moment, the worst first.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) revision: u64,
    pub(super) taken: Timestamp,
    pub(super) processes: Vec<ProcessStatus>,
    pub(super) tally: Tally,
    /// When it was taken, on the clock that measures how old it is.
    at: Instant,
}

/// How many there are of each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally([usize; WORST_FIRST.len()]);

impl Board {
    /// A board that holds `most` processes, and knows those from before a restart, with what was [`kept`](Self::kept) of
    /// them.
    pub(super) fn new(table: WatchTable, most: usize, kept: &[u8]) -> Self {
        let now = millis(table.clock().wall(table.clock().now()));
        // Where the wall's clock was set back since, nobody can say what was when.
        let mut kept = kept::decode(kept).filter(|it| it.taken <= now);
        let mut inner = Inner { most, ..Inner::default() };
        for it in table.processes() {
            let verdict = Verdict::of(it.state);
            let known = kept.as_mut().and_then(|kept| {
                let mut uptime = kept.uptimes.remove(it.process.as_str())?;
                uptime.resume(kept.taken, verdict, now);
                Some(uptime)
            });
            let uptime = known.unwrap_or_else(|| Uptime::new(verdict, now));
            inner
                .records
                .insert(it.process, Record { state: it.state, uptime, log: VecDeque::new() });
        }
        Self {
            uptime_since: kept.map_or(now, |it| it.started),
            table,
            inner: Mutex::new(inner),
            revision: watch::Sender::new(0),
            picture: tokio::sync::Mutex::default(),
        }
    }

    /// Holds so many processes from now on.
    pub(super) fn hold(&self, most: usize) {
        self.lock().most = most;
    }

    /// The uptimes of everyone, for a board after a restart.
    pub(super) fn kept(&self) -> Vec<u8> {
        let inner = self.lock();
        let uptimes = inner.records.iter().map(|(process, it)| (process, &it.uptime));
        kept::encode(self.millis(self.clock().now()), self.uptime_since, uptimes)
    }

    /// Takes in what the monitor tells.
    pub(super) fn hear(&self, event: &MonitorEvent) {
        let mut inner = self.lock();
        match event {
            MonitorEvent::Transition(it) => {
                inner.transition(it, self.millis(it.at), *self.revision.borrow() + 1);
            }
            MonitorEvent::Forgotten { process, .. } => {
                inner.happened.forgotten += 1;
                inner.records.remove(process);
            }
            MonitorEvent::Flapping { on: true, .. } => inner.happened.flapping += 1,
            MonitorEvent::Blind { at, .. } => inner.judge_nobody(self.millis(*at)),
            MonitorEvent::Sighted { at, .. } => inner.judge_again(self.millis(*at)),
            MonitorEvent::Stalled { gap, at } => {
                inner.happened.stalls += 1;
                let at = self.millis(*at);
                let gap = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
                inner.judge_nobody(at.saturating_sub(gap));
                if !self.table.is_blind() {
                    inner.judge_again(at);
                }
            }
            _ => {}
        }
        drop(inner);
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// How often something happened that is no transition.
    pub(super) fn happened(&self) -> Happened {
        self.lock().happened
    }

    /// Whether the monitor hears a heart of its own.
    pub(super) fn hears_itself(&self) -> bool {
        self.table.hears_itself()
    }

    /// What became of the beats of the monitor's own heart, if it has one.
    pub(super) fn heart_counts(&self) -> Option<HeartCounts> {
        self.table.heart_counts()
    }

    /// Nothing more will be heard.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Tells whenever something happened.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether what is shown is what is: the link is up, and the watch goes on.
    pub(super) fn is_ready(&self) -> bool {
        !self.lock().ended && !self.table.is_blind()
    }

    pub(super) fn is_blind(&self) -> bool {
        self.table.is_blind()
    }

    pub(super) fn counts(&self) -> MonitorCounts {
        self.table.counts()
    }

    pub(super) fn transitions(&self) -> Vec<TransitionCount> {
        self.table.transitions()
    }

    pub(super) fn intervals(&self) -> Histogram {
        self.table.intervals()
    }

    pub(super) fn lag(&self) -> Histogram {
        self.table.lag()
    }

    pub(super) fn clock(&self) -> Clock {
        self.table.clock()
    }

    /// Since when the uptimes are kept.
    pub(super) fn uptime_since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.uptime_since)
    }

    fn millis(&self, at: Timestamp) -> u64 {
        millis(self.clock().wall(at))
    }

    pub(super) fn process(&self, name: &str) -> Option<ProcessStatus> {
        self.table.process(name)
    }

    /// Judges a process no more; whether it is known.
    pub(super) fn pause(&self, name: &str) -> bool {
        self.table.pause(name)
    }

    /// Judges it again.
    pub(super) fn resume(&self, name: &str) -> bool {
        self.table.resume(name)
    }

    /// Everyone. A picture is kept for ten times as long as it took to take, and for a second at most: however many
    /// ask, a fleet of any size costs a tenth of a core.
    pub(super) async fn picture(self: &Arc<Self>) -> Arc<Picture> {
        let mut kept = self.picture.lock().await;
        if let Some((picture, cost)) = kept.as_ref() {
            let fresh = (*cost * 10).min(Duration::from_secs(1));
            if picture.at.elapsed() < fresh {
                return Arc::clone(picture);
            }
        }
        let board = Arc::clone(self);
        let taking = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            (Arc::new(Picture::take(&board)), begun.elapsed())
        });
        let (picture, cost) = match taking.await {
            Ok(taken) => taken,
            // The runtime is shutting down, and so is whoever asks.
            Err(_) => (Arc::new(Picture::empty(self)), Duration::ZERO),
        };
        *kept = Some((Arc::clone(&picture), cost));
        picture
    }

    /// The uptimes of each of them.
    pub(super) fn shares<'a>(
        &self,
        processes: impl Iterator<Item = &'a ProcessStatus>,
        now: Timestamp,
    ) -> Vec<Shares> {
        let (inner, now) = (self.lock(), self.millis(now));
        processes
            .map(|it| inner.records.get(&it.process))
            .map(|record| record.map(|it| it.uptime.shares(now)).unwrap_or_default())
            .collect()
    }

    /// The last transitions of a process, newest first.
    pub(super) fn log(&self, process: &Process) -> Vec<Change> {
        let inner = self.lock();
        inner
            .records
            .get(process)
            .map(|it| it.log.iter().rev().copied().collect())
            .unwrap_or_default()
    }

    /// The last `most` transitions of the processes that `wanted` wants, newest first.
    pub(super) fn news(&self, most: usize, wanted: impl Fn(&Process) -> bool) -> Vec<News> {
        let inner = self.lock();
        inner.news.iter().rev().filter(|it| wanted(&it.process)).take(most).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if something does, the page is still the best there is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn transition(&mut self, it: &Transition, at: u64, revision: u64) {
        let change = Change { from: it.from, to: it.to, at: it.at, reason: it.reason };
        push(&mut self.news, NEWS, News { revision, process: it.process.clone(), change });
        if let Some(record) = self.records.get_mut(&it.process) {
            record.state = it.to;
            record.uptime.change(Verdict::of(it.to), at);
            push(&mut record.log, LOG, change);
        } else if self.records.len() < self.most {
            let uptime = Uptime::new(Verdict::of(it.to), at);
            let record = Record { state: it.to, uptime, log: VecDeque::from([change]) };
            self.records.insert(it.process.clone(), record);
        }
    }

    fn judge_nobody(&mut self, at: u64) {
        self.records.values_mut().for_each(|it| it.uptime.change(Verdict::Unjudged, at));
    }

    fn judge_again(&mut self, at: u64) {
        self.records.values_mut().for_each(|it| it.uptime.change(Verdict::of(it.state), at));
    }
}

fn push<T>(queue: &mut VecDeque<T>, most: usize, item: T) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Picture {
    fn take(board: &Board) -> Self {
        let mut picture = Self::empty(board);
        picture.processes = board.table.processes();
        picture.processes.iter().for_each(|it| picture.tally.add(it.state));
        picture.processes.sort_unstable_by(|a, b| {
            urgency(a.state).cmp(&urgency(b.state)).then_with(|| a.process.cmp(&b.process))
        });
        picture
    }

    fn empty(board: &Board) -> Self {
        Self {
            // Read first, so that what happens meanwhile makes it an old one.
            revision: *board.revision.borrow(),
            taken: board.clock().now(),
            processes: Vec::new(),
            tally: Tally::default(),
            at: Instant::now(),
        }
    }
}

/// The states, the one to look at first first.
pub(super) const WORST_FIRST: [State; 8] = [
    State::Down,
    State::Late,
    State::Degraded,
    State::Expected,
    State::Starting,
    State::Up,
    State::Paused,
    State::Stopped,
];

fn urgency(state: State) -> usize {
    WORST_FIRST.iter().position(|it| *it == state).unwrap_or(WORST_FIRST.len())
}

impl Tally {
    fn add(&mut self, state: State) {
        if let Some(count) = self.0.get_mut(urgency(state)) {
            *count += 1;
        }
    }

    /// Each state and how many there are, the worst first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (State, usize)> + '_ {
        WORST_FIRST.into_iter().zip(self.0)
    }

    pub(super) fn total(&self) -> usize {
        self.0.iter().sum()
    }
}
