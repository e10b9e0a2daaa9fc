//! The monitor: who is up, late and down, as a state machine without clock or socket.
mod deadlines;
mod event;
mod flaps;
mod index;
mod instances;
mod intake;
mod options;
mod patience;
mod reload;
mod restart;
mod roster;
mod sight;
mod tally;

use std::time::Duration;

pub(crate) use self::intake::Heard;
use self::{
    deadlines::Deadlines,
    instances::Instances,
    intake::Stall,
    roster::{Entry, Roster},
    sight::Sight,
    tally::Tally,
};
pub use self::{
    event::{BlindCause, MonitorCounts, MonitorEvent, ProcessStatus, Reason, State, Transition},
    options::MonitorOptions,
    patience::Patience,
    tally::TransitionCount,
};
use crate::{Histogram, Process, Timestamp, histogram::INTERVALS};

/// Judges processes by their beats and by the time.
///
/// It is told what happens and what time it is, and tells what follows from it; it reads no clock, waits for
/// nothing and knows no broker, which is [`Watch`](crate::Watch)'s part. Each method takes `now` and a collection
/// for what it has to tell, a `Vec` say. Time never runs backwards: a `now` before the last one counts as that one.
///
/// ```
/// use std::time::Duration;
/// use sinew_beat::{Beat, Monitor, MonitorOptions, Process, State, Timestamp};
///
/// let second = |s| Timestamp::from_start(Duration::from_secs(s));
/// let mut monitor = Monitor::new(MonitorOptions::default());
/// let mut told = Vec::new();
/// let billing = Process::parse("billing")?;
/// monitor.beat(&billing, Beat::Beat { period: Duration::from_secs(5) }, second(0), &mut told);
/// monitor.advance(second(60), &mut told);
/// let states: Vec<_> = told.iter().filter_map(|it| it.transition()).map(|it| (it.to, it.at)).collect();
/// assert_eq!(states, [(State::Up, second(0)), (State::Late, second(6)), (State::Down, second(16))]);
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    options: MonitorOptions,
    roster: Roster,
    /// In waking time.
    deadlines: Deadlines,
    counts: MonitorCounts,
    tally: Tally,
    now: Timestamp,
    /// For how long it stood still. Promises run in the time without it, its waking time.
    asleep: Duration,
    last_stall: Stall,
    /// Nobody's promise runs from before this instant of its waking time: the last end of a blindness, or the last gap.
    fresh: Timestamp,
    sight: Sight,
    instances: Instances,
    intervals: Histogram,
}

impl Monitor {
    /// A monitor that knows nobody yet.
    #[must_use]
    pub fn new(options: MonitorOptions) -> Self {
        Self {
            sight: Sight::new(options.blind_after),
            options,
            roster: Roster::default(),
            deadlines: Deadlines::default(),
            counts: MonitorCounts::default(),
            tally: Tally::default(),
            now: Timestamp::START,
            asleep: Duration::ZERO,
            last_stall: Stall::default(),
            fresh: Timestamp::START,
            instances: Instances::default(),
            intervals: Histogram::new(&INTERVALS),
        }
    }

    /// Declares a process that should be there: `Expected` until it is heard of, `Down` when it is not within
    /// [`Patience::with_learning`]. One that is known already is from now on never forgotten. There is a place for it
    /// beside those of [`MonitorOptions::with_max_processes`], however many others there are.
    pub fn declare(
        &mut self,
        process: &Process,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        let known = self.roster.id(process.as_str());
        let Some(id) = known.or_else(|| self.invite(process.clone(), told)) else { return };
        self.roster.declare(id, true);
        if known.is_none() {
            self.enter(id, None, State::Expected, self.now, Reason::Declared, told);
        }
    }

    /// Judges the process called `name` no more, until it is [resumed](Self::resume): what it says is noted, and its
    /// state is `Paused`. Whether it is known.
    pub fn pause(
        &mut self,
        name: &str,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) -> bool {
        self.advance(now, told);
        let Some(id) = self.roster.id(name) else { return false };
        let from = self.roster.get(id).map(|entry| entry.state);
        if from != Some(State::Paused) {
            self.enter(id, from, State::Paused, self.now, Reason::Paused, told);
        }
        true
    }

    /// Judges a paused process again, by what it said last, with a fresh promise. Whether it is known.
    pub fn resume(
        &mut self,
        name: &str,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) -> bool {
        self.advance(now, told);
        let (id, awake) = (self.roster.id(name), self.awake());
        let Some((id, entry)) = id.and_then(|id| Some((id, self.roster.get_mut(id)?))) else {
            return false;
        };
        if entry.state == State::Paused {
            entry.basis = awake;
            let to = entry.said;
            self.enter(id, Some(State::Paused), to, self.now, Reason::Resumed, told);
        }
        true
    }

    /// Lets time pass: judges whoever broke a promise by `now`, each at the instant of its deadline.
    pub fn advance(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        self.miss(told);
        self.judge(told);
    }

    fn judge(&mut self, told: &mut impl Extend<MonitorEvent>) {
        let Some(horizon) = self.sight.horizon(self.awake()) else { return };
        while let Some((looked_at, id)) = self.deadlines.pop(horizon) {
            let Some(entry) = self.roster.get_mut(id).filter(|it| it.armed == Some(looked_at))
            else {
                continue;
            };
            entry.armed = None;
            let Some(due) = self.roster.get(id).and_then(|entry| self.due(entry)) else { continue };
            let at = due.at.after(self.asleep);
            match due.then {
                _ if due.at > looked_at => self.arm(id),
                Then::Enter { from, to, reason } => {
                    self.enter(id, Some(from), to, at, reason, told);
                }
                Then::Forget => self.forget(id, at, told),
            }
        }
    }

    /// Nothing is due before this instant, at which [`Monitor::advance`] wants to be called; there may be nothing
    /// due then either. None while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let next = match self.sight.needs_proof() {
            // Nobody is judged by time alone.
            true => self.sight.blind_at(),
            false => self.deadlines.next().filter(|_| !self.is_blind()),
        };
        next.map(|at| at.after(self.asleep))
    }

    /// What it has counted.
    #[must_use]
    pub const fn counts(&self) -> MonitorCounts {
        self.counts
    }

    /// How many transitions it made, by what a process was and what it became; those that never happened are left out.
    #[must_use = "iterators are lazy"]
    pub fn transitions(&self) -> impl Iterator<Item = TransitionCount> {
        self.tally.iter()
    }

    /// How far apart the beats of a process were, by when they were published as far as that is known, over all
    /// processes. A `start`, and what comes after a `stop`, a gap or a blindness, is no interval.
    #[must_use]
    pub const fn intervals(&self) -> &Histogram {
        &self.intervals
    }

    /// What it knows of the process called `name`.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<ProcessStatus> {
        let id = self.roster.id(name)?;
        self.roster.get(id).map(|entry| self.status(id, entry))
    }

    /// What it knows of everyone: in the order in which it came to know them, but for those who took the place of one who
    /// was forgotten.
    #[must_use = "iterators are lazy"]
    pub fn processes(&self) -> impl Iterator<Item = ProcessStatus> {
        self.roster.iter().map(|(id, entry)| self.status(id, entry))
    }

    /// The same of those whose names begin with `prefix`, in the order of their names: for who wants a few of many. The first
    /// call goes through all of them, and from then on an order of names is kept.
    #[must_use = "iterators are lazy"]
    pub fn processes_under(&self, prefix: &str) -> impl Iterator<Item = ProcessStatus> {
        self.roster.under(prefix).map(|(id, entry)| self.status(id, entry))
    }

    /// How many processes it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether it knows nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roster.len() == 0
    }

    /// The time of now without that in which it stood still.
    fn awake(&self) -> Timestamp {
        self.now.before(self.asleep)
    }

    /// Puts a process into a state, and tells.
    fn enter(
        &mut self,
        id: u32,
        from: Option<State>,
        to: State,
        at: Timestamp,
        reason: Reason,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        let Some(entry) = self.roster.put(id, to, at) else { return };
        let process = entry.process.clone();
        if to == State::Down {
            entry.recovered = 0;
            if let Some(instances) = self.instances.clear(id) {
                let process = process.clone();
                tell(told, MonitorEvent::Conflict { process, instances, on: false, at });
            }
        }
        self.counts.transitions += 1;
        self.tally.note(from, to);
        tell(
            told,
            MonitorEvent::Transition(Transition { process, from, to, at, reason, skipped: 0 }),
        );
        self.find(id, to, at, told);
        self.arm(id);
    }

    /// Notes what was found of a process, and tells when it begins or ends to flap.
    fn find(&mut self, id: u32, found: State, at: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        if matches!(found, State::Expected | State::Stopped | State::Paused) {
            return;
        }
        let thresholds = self.options.flapping;
        if let Some(entry) = self.roster.get_mut(id)
            && let Some(on) = entry.findings.note(found, thresholds)
        {
            let process = entry.process.clone();
            tell(told, MonitorEvent::Flapping { process, on, at });
        }
    }

    fn forget(&mut self, id: u32, at: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        if let Some(Entry { process, state: was, .. }) = self.roster.remove(id) {
            self.instances.forget(id);
            tell(told, MonitorEvent::Forgotten { process, was, at });
        }
    }

    fn arm(&mut self, id: u32) {
        let due = self.roster.get(id).and_then(|entry| self.due(entry));
        if let Some((due, entry)) = due.zip(self.roster.get_mut(id)) {
            self.deadlines.arm(&mut entry.armed, id, due.at);
        }
        if self.deadlines.is_crowded(self.roster.len()) {
            self.deadlines.sweep(self.roster.armed());
        }
    }

    /// What comes next for a process unless it is heard of, and when, in waking time.
    fn due(&self, entry: &Entry) -> Option<Due> {
        let patience = self.options.rules.get(entry.rule);
        let (basis, promise) = (entry.basis.max(self.fresh), entry.promise);
        let enter = |to, reason| Then::Enter { from: entry.state, to, reason };
        let (at, then) = match entry.state {
            State::Expected => (basis.plus(promise), enter(State::Down, Reason::NeverSeen)),
            State::Starting | State::Up | State::Degraded => {
                (patience.late_at(basis, promise), enter(State::Late, Reason::Overdue))
            }
            State::Late => (patience.down_at(basis, promise), enter(State::Down, Reason::Silent)),
            State::Down | State::Stopped if !entry.is_declared => {
                let since = patience.down_at(basis, promise);
                (since.after(self.options.reap_after?), Then::Forget)
            }
            State::Down | State::Stopped | State::Paused => return None,
        };
        Some(Due { at, then })
    }

    fn status(&self, id: u32, entry: &Entry) -> ProcessStatus {
        let due = if self.is_blind() { None } else { self.due(entry) };
        let worse = due.filter(|due| !matches!(due.then, Then::Forget));
        let promised = entry.last_seen.is_some() && entry.said != State::Stopped;
        ProcessStatus {
            process: entry.process.clone(),
            state: entry.state,
            since: self.roster.since(id),
            last_seen: entry.last_seen,
            deadline: worse.map(|due| due.at.after(self.asleep)),
            promise: promised.then_some(entry.promise.into()),
            is_flapping: entry.findings.is_flapping(),
            is_declared: entry.is_declared,
            conflict: self.instances.conflict(id).cloned(),
        }
    }
}

struct Due {
    at: Timestamp,
    then: Then,
}

enum Then {
    Enter { from: State, to: State, reason: Reason },
    Forget,
}

fn tell(told: &mut impl Extend<MonitorEvent>, event: MonitorEvent) {
    told.extend(std::iter::once(event));
}

#[cfg(test)]
mod tests;
