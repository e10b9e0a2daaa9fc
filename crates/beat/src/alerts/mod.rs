//! Alerts: what of a monitor's transitions people are told, when, and when not, as a state machine without clock or
//! socket.
mod alert;
mod counts;
mod incident;
mod inhibit;
mod keys;
mod mute;
mod operate;
mod options;
mod reload;
mod restart;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use sinew_core::Address;

pub use self::{
    alert::{Alert, AlertKind, Condition, Notification},
    counts::{AlertCounts, MuteCause},
    inhibit::InhibitionRule,
    keys::AlertKey,
    mute::{Mute, MuteId, Weekday},
    options::AlertOptions,
    restart::ToldIncident,
};
use self::{
    incident::{Group, Groups, Id, Incident, Seen},
    inhibit::Inhibitions,
    keys::Keys,
    mute::Mutes,
};
use crate::{MonitorEvent, Process, State, Timestamp, Transition};

/// Turns what a monitor tells into what people want to be told.
///
/// It keeps, of each process in trouble, what is wrong and what was told of that, and tells the difference as soon as
/// nothing forbids it. All its rules follow: what goes down and comes back under a silence is never told, what is
/// still down at its end is told then, once, and what was told before it is told to be over then.
///
/// Each method takes `now` and a collection for what is to be sent, a `Vec` say. Like the
/// [`Monitor`](crate::Monitor) it reads no clock: `wall` is what the wall's clock said at [`Timestamp::START`]. Time
/// never runs backwards: a `now` before the last one counts as that one.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use sinew_beat::{AlertKind, AlertOptions, Alerts, Beat, Monitor, MonitorOptions, Process, Timestamp};
///
/// let second = |s| Timestamp::from_start(Duration::from_secs(s));
/// let mut monitor = Monitor::new(MonitorOptions::default());
/// let mut alerts = Alerts::new(AlertOptions::default(), SystemTime::UNIX_EPOCH);
/// let billing = Process::parse("billing")?;
/// let period = Duration::from_secs(5);
///
/// let (mut told, mut sent) = (Vec::new(), Vec::new());
/// monitor.beat(&billing, Beat::Beat { period }, second(0), &mut told);
/// monitor.beat(&billing, Beat::Beat { period }, second(30), &mut told);
/// told.iter().for_each(|event| alerts.handle(event, second(30), &mut sent));
///
/// let lines: Vec<_> = sent.iter().flat_map(|it| &it.alerts).map(|it| it.to_string()).collect();
/// assert_eq!(lines, ["billing is down: silent", "billing is up again: beat, was down for 14s"]);
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Alerts {
    options: AlertOptions,
    /// The wall's clock at [`Timestamp::START`].
    wall: SystemTime,
    now: Timestamp,
    incidents: BTreeMap<Id, Incident>,
    keys: Keys,
    /// Those with something to tell that must not be told now.
    held: BTreeSet<Id>,
    groups: Groups,
    renotify: BTreeSet<(Timestamp, Id)>,
    mutes: Mutes,
    /// When the next of them ends.
    mutes_end: Option<Timestamp>,
    inhibitions: Inhibitions,
    counts: AlertCounts,
    /// The monitor's own name, for mutes to match.
    monitor: Address,
}

impl Alerts {
    /// A machine that knows of no trouble yet; `wall` is what the wall's clock said at [`Timestamp::START`].
    #[must_use]
    pub fn new(mut options: AlertOptions, wall: SystemTime) -> Self {
        let rules = std::mem::take(&mut options.inhibitions);
        Self {
            wall,
            now: Timestamp::START,
            incidents: BTreeMap::new(),
            keys: Keys::default(),
            held: BTreeSet::new(),
            groups: Groups::default(),
            renotify: BTreeSet::new(),
            mutes: Mutes::default(),
            mutes_end: None,
            inhibitions: Inhibitions::new(rules),
            counts: AlertCounts::default(),
            monitor: named(&options),
            options,
        }
    }

    /// Takes in what a monitor tells. What is no trouble of anyone's, malformed beats say, is ignored.
    pub fn handle(
        &mut self,
        event: &MonitorEvent,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) {
        self.advance(now, out);
        let mut batch = Vec::new();
        match event {
            MonitorEvent::Transition(it) => self.transition(it, &mut batch),
            MonitorEvent::Blind { at, .. } => {
                self.observe(Id::Blind, Seen::plain(Some(Condition::Blind), *at), &mut batch);
            }
            MonitorEvent::Sighted { at, .. } => {
                self.observe(Id::Blind, Seen::plain(None, *at), &mut batch);
                self.release(&mut batch);
            }
            MonitorEvent::Stalled { gap, at } => self.stalled(*gap, *at, &mut batch),
            MonitorEvent::Flapping { process, on, at } => {
                let condition = on.then_some(Condition::Flapping);
                let id = Id::Flapping(process.clone());
                self.observe(id, Seen::plain(condition, *at), &mut batch);
                self.examine(&Id::State(process.clone()), &mut batch);
            }
            MonitorEvent::Conflict { process, instances, on, at } => {
                let id = Id::Conflict(process.clone());
                if self.note(&id, Seen::plain(on.then_some(Condition::Conflict), *at)) {
                    if let Some(incident) = self.incidents.get_mut(&id) {
                        incident.instances = Some(instances.clone());
                    }
                    self.touch(id, &mut batch);
                }
            }
            MonitorEvent::Forgotten { process, was, at } => {
                let unknown = Seen { previous: Some(*was), ..Seen::plain(None, *at) };
                self.change(process, unknown, &mut batch);
                self.observe(Id::Flapping(process.clone()), unknown, &mut batch);
                self.observe(Id::Conflict(process.clone()), unknown, &mut batch);
            }
            _ => {}
        }
        self.send(batch, out);
    }

    /// Lets time pass: tells what has waited for its group, what is still wrong after the interval for that, and what
    /// a mute held back that has ended.
    pub fn advance(&mut self, now: Timestamp, out: &mut impl Extend<Notification>) {
        self.now = self.now.max(now);
        let mut batch = Vec::new();
        let mut freed = self.inhibitions.expire(self.now);
        if self.mutes_end.is_some_and(|end| end <= self.now) {
            self.look_at_mutes();
            freed = true;
        }
        while let Some(group) = self.groups.pop(self.now) {
            for id in group {
                if let Some(incident) = self.incidents.get_mut(&id) {
                    incident.waits = false;
                }
                self.examine(&id, &mut batch);
            }
        }
        if freed {
            self.release(&mut batch);
        }
        self.tell_again(&mut batch);
        self.send(batch, out);
    }

    /// Nothing is to be told before this instant, at which [`Alerts::advance`] wants to be called; there may be
    /// nothing then either. None while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let holds = !self.held.is_empty();
        let ends = [self.mutes_end, self.inhibitions.next_end()].map(|end| end.filter(|_| holds));
        let again = self.renotify.first().map(|(at, _)| *at);
        ends.into_iter().chain([self.groups.next(), again]).flatten().min()
    }

    /// What holds back what is to be told of `process` now, if anything does.
    #[must_use]
    pub fn muted(&self, process: &Process) -> Option<MuteCause> {
        let address = Address::from_wire(None, process.as_str().to_owned());
        self.cause(&Id::State(process.clone()), &address)
    }

    /// How many incidents are open: troubles, and those whose end is not told yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.incidents.len()
    }

    /// What it has counted.
    #[must_use]
    pub const fn counts(&self) -> &AlertCounts {
        &self.counts
    }

    fn transition(&mut self, it: &Transition, batch: &mut Vec<Alert>) {
        let condition = self.options.condition(it.to);
        if it.to == State::Late && condition.is_none() {
            return;
        }
        let seen = Seen {
            condition,
            state: Some(it.to),
            previous: it.from,
            reason: Some(it.reason),
            at: it.at,
        };
        self.change(&it.process, seen, batch);
    }

    fn change(&mut self, process: &Process, seen: Seen, batch: &mut Vec<Alert>) {
        if let Some(id) = self.take_in(process, seen) {
            self.touch(id, batch);
        }
    }

    /// Takes in the state of a process, and what that does to those behind it. The incident, if there is one.
    fn take_in(&mut self, process: &Process, seen: Seen) -> Option<Id> {
        let id = Id::State(process.clone());
        let is_down = |it: &Seen| it.condition == Some(Condition::State(State::Down));
        let was_down = self.incidents.get(&id).is_some_and(|it| is_down(&it.seen));
        if was_down && !is_down(&seen) {
            let until = self.now.after(self.options.inhibition_grace);
            self.inhibitions.end(process, &address(&id, &self.monitor), until);
        }
        if !self.note(&id, seen) {
            return None;
        }
        if is_down(&seen)
            && let Some(incident) = self.incidents.get(&id)
        {
            self.inhibitions.start(process, &incident.address);
        }
        Some(id)
    }

    fn observe(&mut self, id: Id, seen: Seen, batch: &mut Vec<Alert>) {
        if self.note(&id, seen) {
            self.touch(id, batch);
        }
    }

    /// Whether it is of an incident.
    fn note(&mut self, id: &Id, seen: Seen) -> bool {
        let known = self.incidents.get_mut(id);
        match (known, seen.condition) {
            // What was over and never told waits for its group still: what begins now is another incident.
            (Some(incident), _) if !incident.is_over() => incident.seen = seen,
            (_, Some(condition)) => self.open_incident(id, condition, seen),
            (_, None) => return false,
        }
        true
    }

    fn open_incident(&mut self, id: &Id, condition: Condition, seen: Seen) {
        let waits = self.incidents.remove(id).is_some_and(|it| it.waits);
        if self.incidents.len() >= self.options.max_incidents && *id != Id::Blind {
            self.counts.refused += 1;
            return;
        }
        let name = id.process().map_or(&*self.options.monitor, Process::as_str);
        let key = AlertKey::new(name, condition, self.wall_at(seen.at), self.options.granularity);
        let address = address(id, &self.monitor);
        let incident = Incident {
            key,
            since: seen.at,
            seen,
            told: None,
            renotify_at: None,
            waits,
            instances: None,
            address,
        };
        self.incidents.insert(id.clone(), incident);
    }

    /// Something about an incident is new: it is told now, or with its group.
    fn touch(&mut self, id: Id, batch: &mut Vec<Alert>) {
        if self.options.delay.is_zero() {
            self.examine(&id, batch);
        } else if let Some(incident) = self.incidents.get_mut(&id)
            && !incident.waits
        {
            incident.waits = true;
            let group = self.group(id.process());
            self.groups.add(group, id, self.now.after(self.options.delay));
        }
    }

    /// Tells what is to be told of an incident, unless it waits or is mute.
    fn examine(&mut self, id: &Id, batch: &mut Vec<Alert>) {
        let Some(incident) = self.incidents.get(id).filter(|it| !it.waits) else { return };
        let news = incident.news();
        let cause = news.and_then(|_| self.cause(id, &incident.address));
        if let Some(cause) = cause {
            if self.held.insert(id.clone()) {
                *self.counts.held.entry(cause).or_default() += 1;
            }
            return;
        }
        self.held.remove(id);
        let again = self.options.renotify.map(|interval| self.now.after(interval));
        let Some(incident) = self.incidents.get_mut(id) else { return };
        if let Some((kind, condition)) = news {
            if kind == AlertKind::Firing {
                let (step, most) = (self.options.granularity, self.options.max_incidents);
                incident.key = self.keys.next(&incident.key, step, self.now, most);
            }
            batch.push(incident.alert(id, kind, condition));
            incident.told = incident.seen.condition;
            if let Some(at) = incident.renotify_at.take() {
                self.renotify.remove(&(at, id.clone()));
            }
            if let Some(at) = again.filter(|_| incident.told.is_some()) {
                incident.renotify_at = Some(at);
                self.renotify.insert((at, id.clone()));
            }
        }
        if incident.is_over() {
            self.incidents.remove(id);
        }
    }

    /// Looks again at all that is held back.
    fn release(&mut self, batch: &mut Vec<Alert>) {
        for id in self.held.clone() {
            self.examine(&id, batch);
        }
    }

    fn tell_again(&mut self, batch: &mut Vec<Alert>) {
        let Some(interval) = self.options.renotify else { return };
        let next = self.now.after(interval);
        while self.renotify.first().is_some_and(|(at, _)| *at <= self.now)
            && let Some((_, id)) = self.renotify.pop_first()
        {
            let Some(incident) = self.incidents.get_mut(&id) else { continue };
            incident.renotify_at = Some(next);
            if let Some(condition) = incident.told.filter(|_| incident.news().is_none()) {
                let mut alert = incident.alert(&id, AlertKind::Renotify, condition);
                alert.at = self.now;
                let address = incident.address.clone();
                if self.cause(&id, &address).is_none() {
                    batch.push(alert);
                }
            }
            self.renotify.insert((next, id));
        }
    }

    fn stalled(&mut self, gap: Duration, at: Timestamp, batch: &mut Vec<Alert>) {
        let since = Timestamp::from_start(at.since_start().saturating_sub(gap));
        let condition = Condition::Stalled;
        if let Some(cause) = self.cause(&Id::Blind, &self.monitor) {
            *self.counts.held.entry(cause).or_default() += 1;
            return;
        }
        let options = &self.options;
        let (wall, step) = (self.wall_at(since), options.granularity);
        let key = AlertKey::new(&options.monitor, condition, wall, step);
        batch.push(Alert {
            key: self.keys.next(&key, step, self.now, options.max_incidents),
            kind: AlertKind::Notice,
            process: None,
            condition,
            state: None,
            previous: None,
            reason: None,
            instances: None,
            since,
            at,
        });
    }

    /// What forbids to tell anything of `id` now.
    fn cause(&self, id: &Id, address: &Address) -> Option<MuteCause> {
        let is_there = |id| self.incidents.get(id).is_some_and(|it| it.seen.condition.is_some());
        if *id != Id::Blind && is_there(&Id::Blind) {
            return Some(MuteCause::Blind);
        }
        if let Some(mute) = self.mutes.find(address, self.wall_now()) {
            let is_maintenance = mute.is_maintenance();
            return Some(if is_maintenance { MuteCause::Maintenance } else { MuteCause::Silence });
        }
        if id.process().is_some() && self.inhibitions.holds(address) {
            return Some(MuteCause::Inhibition);
        }
        match id {
            Id::State(process) if is_there(&Id::Flapping(process.clone())) => {
                Some(MuteCause::Flapping)
            }
            _ => None,
        }
    }

    fn send(&mut self, batch: Vec<Alert>, out: &mut impl Extend<Notification>) {
        for alert in &batch {
            *self.counts.told.entry(alert.kind).or_default() += 1;
        }
        for notification in self.bundle(batch) {
            self.counts.notifications += 1;
            out.extend([notification]);
        }
    }

    /// Notifications for each group, as many as it takes.
    fn bundle(&self, batch: Vec<Alert>) -> Vec<Notification> {
        let mut groups: BTreeMap<_, Vec<Alert>> = BTreeMap::new();
        for alert in batch {
            let is_own = alert.process.is_none();
            let group = self.group(alert.process.as_ref());
            groups.entry((!is_own, group)).or_default().push(alert);
        }
        let max_alerts = self.options.max_alerts;
        let mut bundled = Vec::new();
        for ((_, group), mut alerts) in groups {
            alerts.sort_by(|a, b| (a.kind, &a.process).cmp(&(b.kind, &b.process)));
            bundled.extend(alerts.chunks(max_alerts).map(|alerts| Notification {
                group: group.clone(),
                alerts: alerts.to_vec(),
                max_alerts,
            }));
        }
        bundled
    }

    fn group(&self, process: Option<&Process>) -> Group {
        let name = process?.as_str();
        let tokens = self.options.tokens.checked_sub(1)?;
        let end = name.match_indices('.').nth(tokens).map_or(name.len(), |(at, _)| at);
        name.get(..end).map(Box::from)
    }

    fn look_at_mutes(&mut self) {
        let wall = self.wall_now();
        self.mutes.sweep(wall);
        self.mutes_end = self
            .mutes
            .next_end(wall)
            .map(|end| Timestamp::from_start(end.duration_since(self.wall).unwrap_or_default()));
    }

    fn wall_now(&self) -> SystemTime {
        self.wall_at(self.now)
    }

    fn wall_at(&self, at: Timestamp) -> SystemTime {
        self.wall.checked_add(at.since_start()).unwrap_or(self.wall)
    }
}

/// The monitor's own name as an address.
fn named(options: &AlertOptions) -> Address {
    Address::from_wire(None, String::from(&*options.monitor))
}

fn address(id: &Id, monitor: &Address) -> Address {
    match id.process() {
        Some(process) => Address::from_wire(None, process.as_str().to_owned()),
        None => monitor.clone(),
    }
}

#[cfg(test)]
mod tests;
