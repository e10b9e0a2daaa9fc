//! The monitor: who is up, late and down, as a state machine without clock or socket.
mod deadlines;
mod event;
mod options;

use std::{collections::HashMap, time::Duration};

use sinew_core::{Address, Message};

use self::deadlines::Deadlines;
pub use self::{
    event::{MonitorCounts, MonitorEvent, ProcessStatus, Reason, State, Transition},
    options::MonitorOptions,
};
use crate::{Beat, Malformed, Process, Timestamp};

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
    ids: HashMap<Process, u32>,
    /// By id. Nobody is ever removed.
    entries: Vec<Entry>,
    deadlines: Deadlines,
    counts: MonitorCounts,
    now: Timestamp,
    /// Nobody's promise runs from before this instant: the last end of a blindness, or the last gap.
    fresh: Timestamp,
    blind: bool,
}

#[derive(Debug)]
struct Entry {
    process: Process,
    state: State,
    since: Timestamp,
    last_seen: Option<Timestamp>,
    /// Since when the promise runs.
    basis: Timestamp,
    /// What it promised; while expected, how long the monitor learns.
    promise: Duration,
}

impl Monitor {
    /// A monitor that knows nobody yet.
    #[must_use]
    pub fn new(options: MonitorOptions) -> Self {
        Self {
            options,
            ids: HashMap::new(),
            entries: Vec::new(),
            deadlines: Deadlines::default(),
            counts: MonitorCounts::default(),
            now: Timestamp::START,
            fresh: Timestamp::START,
            blind: false,
        }
    }

    /// Declares a process that should be there: `Expected` until it is heard of, `Down` when it is not within
    /// [`MonitorOptions::with_learning`]. No effect on one that is known.
    pub fn declare(
        &mut self,
        process: &Process,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        if self.ids.contains_key(process.as_str()) {
            return;
        }
        let learning = self.options.learning;
        if let Some(id) = self.intern(process.as_str(), learning, told) {
            self.enter(id, None, State::Expected, self.now, Reason::Declared, told);
        }
    }

    /// Hears a message off the wire: the process is named by its address, the beat is its payload.
    ///
    /// What is no beat is counted and told as [`MonitorEvent::Malformed`]; it changes nobody's state.
    pub fn hear(
        &mut self,
        message: &Message,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        let name = Process::name_in(&message.address).ok_or(Malformed::Process);
        match name.and_then(|name| Ok((name, Beat::parse(&message.payload)?))) {
            Ok((name, beat)) => self.take(name, beat, told),
            Err(reason) => {
                self.counts.malformed += 1;
                let name = shown(&message.address);
                tell(told, MonitorEvent::Malformed { name, reason, count: 1, at: self.now });
            }
        }
    }

    /// Hears a beat of `process`.
    pub fn beat(
        &mut self,
        process: &Process,
        beat: Beat,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        self.take(process.as_str(), beat, told);
    }

    /// Learns that messages were lost on their way in. Beats may be among them, so whoever runs on a promise gets it
    /// afresh from now on: a monitor that cannot keep up reports deaths late rather than inventing them.
    pub fn lose(&mut self, lost: u64, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        // Deadlines that passed since the last call may have passed for this.
        self.now = self.now.max(now);
        self.fresh = self.now;
        self.counts.lost = self.counts.lost.saturating_add(lost);
        tell(told, MonitorEvent::Gap { lost, at: self.now });
    }

    /// Learns that the link is down: every deadline is frozen. Told once.
    pub fn link_down(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        if !self.blind {
            self.blind = true;
            tell(told, MonitorEvent::Blind { at: self.now, skipped: 0 });
        }
    }

    /// Learns that the link is up again: whoever runs on a promise gets it afresh from now on. Told once.
    pub fn link_up(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        self.fresh = self.now;
        if self.blind {
            self.blind = false;
            tell(told, MonitorEvent::Sighted { at: self.now, skipped: 0 });
        }
    }

    /// Lets time pass: judges whoever broke a promise by `now`, each at the instant of its deadline.
    pub fn advance(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        if self.blind {
            return;
        }
        while let Some((looked_at, id)) = self.deadlines.pop(self.now) {
            let Some(due) = self.entry(id).and_then(|entry| self.due(entry)) else { continue };
            if due.at > looked_at {
                self.deadlines.arm(id, due.at);
            } else {
                self.enter(id, Some(due.from), due.to, due.at, due.reason, told);
            }
        }
    }

    /// Nothing is due before this instant, at which [`Monitor::advance`] wants to be called; there may be nothing
    /// due then either. None while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.blind { None } else { self.deadlines.next() }
    }

    /// Whether the link is down.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        self.blind
    }

    /// What it has counted.
    #[must_use]
    pub const fn counts(&self) -> MonitorCounts {
        self.counts
    }

    /// What it knows of the process called `name`.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<ProcessStatus> {
        self.ids.get(name).and_then(|id| self.entry(*id)).map(|entry| self.status(entry))
    }

    /// What it knows of everyone, in the order in which it came to know them.
    #[must_use = "iterators are lazy"]
    pub fn processes(&self) -> impl ExactSizeIterator<Item = ProcessStatus> {
        self.entries.iter().map(|entry| self.status(entry))
    }

    fn take(&mut self, name: &str, beat: Beat, told: &mut impl Extend<MonitorEvent>) {
        let promise = beat.promise();
        let (id, from) = match self.ids.get(name) {
            Some(&id) => (id, self.entry(id).map(|entry| entry.state)),
            None => match self.intern(name, Duration::ZERO, told) {
                Some(id) => (id, None),
                None => return,
            },
        };
        self.counts.beats += 1;
        let now = self.now;
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.last_seen = Some(now);
            entry.basis = now;
            entry.promise = promise.unwrap_or_default();
        }
        let (to, reason) = match beat {
            Beat::Start { .. } => (State::Starting, Reason::Start),
            Beat::Beat { .. } => (State::Up, Reason::Beat),
            Beat::Degraded { .. } => (State::Degraded, Reason::Degraded),
            Beat::Stop => (State::Stopped, Reason::Stop),
        };
        if from == Some(to) {
            self.arm(id);
        } else {
            self.enter(id, from, to, now, reason, told);
        }
    }

    /// Makes room for a process that is not known yet, if there is any.
    fn intern(
        &mut self,
        name: &str,
        promise: Duration,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Option<u32> {
        let process = Process::parse(name).ok()?;
        let id = u32::try_from(self.entries.len()).ok();
        let Some(id) = id.filter(|_| self.entries.len() < self.options.max_processes) else {
            self.counts.refused += 1;
            tell(told, MonitorEvent::Refused { process, count: 1, at: self.now });
            return None;
        };
        self.ids.insert(process.clone(), id);
        self.entries.push(Entry {
            process,
            state: State::Expected,
            since: self.now,
            last_seen: None,
            basis: self.now,
            promise,
        });
        Some(id)
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
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        entry.state = to;
        entry.since = at;
        let process = entry.process.clone();
        self.counts.transitions += 1;
        tell(
            told,
            MonitorEvent::Transition(Transition { process, from, to, at, reason, skipped: 0 }),
        );
        self.arm(id);
    }

    fn arm(&mut self, id: u32) {
        if let Some(due) = self.entry(id).and_then(|entry| self.due(entry)) {
            self.deadlines.arm(id, due.at);
        }
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)
    }

    /// When and how the process gets worse unless it is heard of.
    fn due(&self, entry: &Entry) -> Option<Due> {
        let basis = entry.basis.max(self.fresh);
        let (at, to, reason) = match entry.state {
            State::Expected => (basis.after(entry.promise), State::Down, Reason::NeverSeen),
            State::Starting | State::Up | State::Degraded => {
                (self.options.late_at(basis, entry.promise), State::Late, Reason::Overdue)
            }
            State::Late => {
                (self.options.down_at(basis, entry.promise), State::Down, Reason::Silent)
            }
            State::Down | State::Stopped => return None,
        };
        Some(Due { at, from: entry.state, to, reason })
    }

    fn status(&self, entry: &Entry) -> ProcessStatus {
        let due = if self.blind { None } else { self.due(entry) };
        let promised = entry.last_seen.is_some() && entry.state != State::Stopped;
        ProcessStatus {
            process: entry.process.clone(),
            state: entry.state,
            since: entry.since,
            last_seen: entry.last_seen,
            deadline: due.map(|due| due.at),
            promise: promised.then_some(entry.promise),
        }
    }
}

struct Due {
    at: Timestamp,
    from: State,
    to: State,
    reason: Reason,
}

fn tell(told: &mut impl Extend<MonitorEvent>, event: MonitorEvent) {
    told.extend(std::iter::once(event));
}

/// A name off the wire, fit for a terminal, and bounded.
fn shown(address: &Address) -> Box<str> {
    const LONGEST: usize = 255;
    match address {
        Address::Foreign(_, name) => {
            name.get(..LONGEST).unwrap_or(name).escape_ascii().to_string().into()
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests;
