//! What a monitor hears, and what it makes of it.
use sinew_core::{Address, Message};

use super::{Monitor, MonitorEvent, Reason, State, flaps::Findings, roster::Entry, tell};
use crate::{Beat, Malformed, Process, Timestamp};

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
        self.attend(now, told);
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
        self.attend(now, told);
        self.take(process.as_str(), beat, told);
    }

    fn take(&mut self, name: &str, beat: Beat, told: &mut impl Extend<MonitorEvent>) {
        let (id, is_new) = match self.roster.id(name) {
            Some(id) => (id, false),
            None => match self.intern(name, told) {
                Some(id) => (id, true),
                None => return,
            },
        };
        self.counts.beats += 1;
        let (now, awake, fresh) = (self.now, self.awake(), self.fresh);
        let (said, reason) = match beat {
            Beat::Start { .. } => (State::Starting, Reason::Start),
            Beat::Beat { .. } => (State::Up, Reason::Beat),
            Beat::Degraded { .. } => (State::Degraded, Reason::Degraded),
            Beat::Stop => (State::Stopped, Reason::Stop),
        };
        let Some(entry) = self.roster.get_mut(id) else { return };
        let patience = self.options.rules.get(entry.rule);
        let kept = awake <= patience.late_at(entry.basis.max(fresh), entry.promise);
        entry.recovered = if kept { entry.recovered.saturating_add(1) } else { 1 };
        entry.said = said;
        entry.last_seen = Some(now);
        entry.basis = awake;
        entry.promise = beat.promise().unwrap_or_default();
        let from = entry.state;
        let is_recovering = from == State::Down
            && matches!(said, State::Up | State::Degraded)
            && entry.recovered < patience.recoveries;
        if from == State::Paused || is_recovering {
            return;
        }
        if from == said && !is_new {
            self.find(id, said, now, told);
            self.arm(id);
        } else {
            self.enter(id, (!is_new).then_some(from), said, now, reason, told);
        }
    }

    /// Makes room for a process that is not known yet, if there is any.
    pub(super) fn intern(
        &mut self,
        name: &str,
        told: &mut impl Extend<MonitorEvent>,
    ) -> Option<u32> {
        let process = Process::parse(name).ok()?;
        if self.roster.len() >= self.options.max_processes {
            return self.refuse(process, told);
        }
        let rule = self.options.rules.find(name);
        let entry = Entry {
            process: process.clone(),
            state: State::Expected,
            said: State::Expected,
            since: self.now,
            last_seen: None,
            basis: self.awake(),
            promise: self.options.rules.get(rule).learning,
            armed: None,
            recovered: 0,
            findings: Findings::default(),
            rule,
            is_declared: false,
        };
        self.roster.insert(entry).or_else(|| self.refuse(process, told))
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
