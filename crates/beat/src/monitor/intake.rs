//! What a monitor hears, and what it makes of it.
use std::time::Duration;

use sinew_core::{Address, Message};

use super::{
    Monitor, MonitorEvent, Reason, State,
    flaps::Findings,
    instances::{Change, Spoke},
    roster::Entry,
    tell,
};
use crate::{Beat, Malformed, Process, Timestamp, instance::Origin, time::Span};

/// What came of a message, for those who count such things.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// Since the beat before.
    pub(crate) interval: Option<Duration>,
    pub(crate) is_stale: bool,
    /// Beats of the same instance between the one before and this one, which did not come.
    pub(crate) missed: u64,
}

/// When the monitor stood still last, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    pub(super) end: Timestamp,
    pub(super) gap: Duration,
}

impl Monitor {
    /// Hears a message off the wire: the process is named by its address, the beat is its payload.
    ///
    /// What is no beat is counted and told as [`MonitorEvent::Malformed`]; it changes nobody's state.
    pub fn hear(
        &mut self,
        message: &Message,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.hear_aged(message, Duration::ZERO, now, told);
    }

    /// Hears a message that was so old when it came, as where a broker kept it and replays it.
    ///
    /// A promise runs from when it was made. So a beat whose promise has run out, with the patience that there is before
    /// a process is late, says nothing of now, and neither does what is older, by more than that patience adds to a
    /// promise, than what is known: it is counted as [`stale`](crate::MonitorCounts::stale). It can only put off when a
    /// late process is called down.
    pub fn hear_aged(
        &mut self,
        message: &Message,
        age: Duration,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.note(message, age, now, told);
    }

    pub(crate) fn note(
        &mut self,
        message: &Message,
        age: Duration,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Heard {
        self.attend(now, told);
        let Some(name) = Process::text_in(&message.address) else {
            return self.malformed(&message.address, Malformed::Process, told);
        };
        let (beat, known) = (Beat::parse(&message.payload), self.roster.id(name));
        if known.is_none() && !Process::is_name(name) {
            return self.malformed(&message.address, Malformed::Process, told);
        }
        match beat {
            Ok(beat) => self.take(name, known, beat, Origin::of(&message.headers), age, told),
            Err(reason) => self.malformed(&message.address, reason, told),
        }
    }

    fn malformed(
        &mut self,
        address: &Address,
        reason: Malformed,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Heard {
        self.counts.malformed += 1;
        let name = shown(address);
        tell(told, MonitorEvent::Malformed { name, reason, count: 1, at: self.now });
        Heard::default()
    }

    /// Hears a beat of `process`.
    pub fn beat(
        &mut self,
        process: &Process,
        beat: Beat,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.attend(now, told);
        let known = self.roster.id(process.as_str());
        self.take(process.as_str(), known, beat, None, Duration::ZERO, told);
    }

    fn take(
        &mut self,
        name: &str,
        known: Option<u32>,
        beat: Beat,
        origin: Option<Origin<'_>>,
        age: Duration,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Heard {
        let said_at = self.said_at(age);
        if !age.is_zero() && self.is_stale(name, known, beat, said_at) {
            self.counts.stale += 1;
            return Heard { is_stale: true, ..Heard::default() };
        }
        let Some(id) = known.or_else(|| self.intern(name, told)) else { return Heard::default() };
        self.counts.beats += 1;
        let (now, awake, fresh) = (self.now, self.awake(), self.fresh);
        let (said, reason) = match beat {
            Beat::Start { .. } => (State::Starting, Reason::Start),
            Beat::Beat { .. } => (State::Up, Reason::Beat),
            Beat::Degraded { .. } => (State::Degraded, Reason::Degraded),
            Beat::Stop => (State::Stopped, Reason::Stop),
        };
        let Some(entry) = self.roster.get_mut(id) else { return Heard::default() };
        let patience = self.options.rules.get(entry.rule);
        let (mut heard, promise) = (Heard::default(), beat.promise().map(Span::from));
        let has_promised = entry.last_seen.is_some() && entry.said != State::Stopped;
        if has_promised && said != State::Starting && entry.basis >= fresh {
            let interval = said_at.since(entry.basis);
            self.intervals.note(interval);
            heard.interval = Some(interval);
        }
        if let Some(origin) = origin {
            let before = Spoke { at: entry.basis, promise: has_promised.then_some(entry.promise) };
            let spoke = Spoke { at: said_at, promise };
            let holds = |it: &Spoke| it.holds(patience, fresh, awake);
            let found = self.instances.hear(id, origin, spoke, before, holds);
            heard.missed = found.missed;
            self.counts.missed = self.counts.missed.saturating_add(found.missed);
            if let Some(change) = found.change {
                let (instances, on) = match change {
                    Change::Began(instances) => (instances, true),
                    Change::Ended(instances) => (instances, false),
                };
                self.counts.conflicts += u64::from(on);
                let process = entry.process.clone();
                tell(told, MonitorEvent::Conflict { process, instances, on, at: now });
            }
        }
        let from = entry.state;
        if from == State::Down {
            let kept = said_at <= patience.late_at(entry.basis.max(fresh), entry.promise);
            entry.recovered = if kept { entry.recovered.saturating_add(1) } else { 1 };
        }
        entry.said = said;
        entry.last_seen = Some(now);
        entry.basis = said_at;
        entry.promise = promise.unwrap_or_default();
        let is_recovering = from == State::Down
            && matches!(said, State::Up | State::Degraded)
            && entry.recovered < patience.recoveries;
        if from == State::Paused || is_recovering {
            return heard;
        }
        if from == said && known.is_some() {
            self.find(id, said, now, told);
            self.arm(id);
        } else {
            self.enter(id, known.map(|_| from), said, now, reason, told);
        }
        heard
    }

    /// When it was said what is so old now, in waking time.
    fn said_at(&self, age: Duration) -> Timestamp {
        let (at, Stall { end, gap }) = (self.now.before(age), self.last_stall);
        if at >= end {
            return at.before(self.asleep);
        }
        // While it stood still no time passed for it.
        at.min(end.before(gap)).before(self.asleep.saturating_sub(gap))
    }

    /// Whether what was said at `said_at` says nothing of now.
    fn is_stale(&mut self, name: &str, id: Option<u32>, beat: Beat, said_at: Timestamp) -> bool {
        let awake = self.awake();
        let entry = id.and_then(|id| self.roster.get_mut(id));
        let rules = &self.options.rules;
        let patience = rules.get(entry.as_ref().map_or_else(|| rules.find(name), |it| it.rule));
        let is_outdated =
            |it: &Entry| it.last_seen.is_some() && said_at.after(patience.grace) < it.basis;
        if entry.as_deref().is_some_and(is_outdated) {
            return true;
        }
        let Some(promise) = beat.promise().map(Span::from) else { return false };
        if patience.late_at(said_at, promise) > awake {
            return false;
        }
        if let Some(entry) = entry.filter(|it| it.state == State::Late)
            && patience.down_at(said_at, promise) > patience.down_at(entry.basis, entry.promise)
        {
            (entry.basis, entry.promise) = (said_at, promise);
        }
        true
    }

    /// Takes in a process that is not known yet, if there is room, and it is meant to be listed.
    fn intern(&mut self, name: &str, told: &mut impl Extend<MonitorEvent>) -> Option<u32> {
        if name.starts_with(Process::UNLISTED) {
            return None;
        }
        let process = Process::parse(name).ok()?;
        if self.roster.uninvited() >= self.options.max_processes {
            return self.refuse(process, told);
        }
        self.invite(process, told)
    }

    /// Takes in a process that is not known yet, whoever is there.
    pub(super) fn invite(
        &mut self,
        process: Process,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Option<u32> {
        let rule = self.options.rules.find(process.as_str());
        let entry = Entry {
            process: process.clone(),
            state: State::Expected,
            said: State::Expected,
            last_seen: None,
            basis: self.awake(),
            promise: self.options.rules.get(rule).learning.into(),
            armed: None,
            recovered: 0,
            findings: Findings::default(),
            rule,
            is_declared: false,
        };
        self.roster.insert(entry, self.now).or_else(|| self.refuse(process, told))
    }

    fn refuse(&mut self, process: Process, told: &mut impl Extend<MonitorEvent>) -> Option<u32> {
        self.counts.refused += 1;
        tell(told, MonitorEvent::Refused { process, count: 1, at: self.now });
        None
    }
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
