//! A monitor that ends, and another one that goes on: what people were told, and what they were not.
use std::{collections::HashMap, time::SystemTime};

use super::{
    AlertKey, Alerts, Condition, Notification,
    incident::{Id, Incident, Seen},
};
use crate::{Process, ProcessStatus, State, Timestamp};

/// An incident of a process that people were told of, and not of its end: what [`Alerts::told`] gives and, after a
/// restart, [`Alerts::resume`] takes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ToldIncident {
    /// Which process.
    pub process: Process,
    /// What they were told last that it is.
    pub state: State,
    /// Under which key.
    pub key: AlertKey,
    /// Since when the incident lasts.
    pub since: SystemTime,
}

impl ToldIncident {
    /// What an earlier run kept.
    #[must_use]
    pub fn new(process: Process, state: State, key: &str, since: SystemTime) -> Self {
        Self { process, state, key: AlertKey::known(key), since }
    }
}

impl Alerts {
    /// Takes a process in trouble as told: one that a [`Monitor`](crate::Monitor) knew from before its restart, and that
    /// an earlier machine told of. Its end is told, and that it goes on; so is what gets worse. No effect on a process
    /// whose state is not told, or that there is an incident of already.
    pub fn assume_told(&mut self, status: &ProcessStatus, now: Timestamp) {
        self.now = self.now.max(now);
        let id = Id::State(status.process.clone());
        let Some(condition) = self.options.condition(status.state) else { return };
        if self.incidents.contains_key(&id) {
            return;
        }
        let state = Some(status.state);
        let seen = Seen { state, ..Seen::plain(Some(condition), status.since) };
        self.open_incident(&id, condition, seen);
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        incident.told = Some(condition);
        self.go_on(&id);
    }

    /// The incidents of processes that people were told of, and not of their end, to be kept over a restart. Not kept are
    /// flapping and the monitor's own.
    #[must_use = "iterators are lazy"]
    pub fn told(&self) -> impl Iterator<Item = ToldIncident> {
        self.incidents.iter().filter_map(|(id, incident)| match (id, incident.told) {
            (Id::State(process), Some(Condition::State(state))) => Some(ToldIncident {
                process: process.clone(),
                state,
                key: incident.key.clone(),
                since: self.wall_at(incident.since),
            }),
            _ => None,
        })
    }

    /// Goes on where an earlier run ended, with what it [told](Self::told), and all that is known of processes now.
    ///
    /// What differs from what was told is told, its end too: of a process that is not known any more, it is over. Who is in
    /// trouble that nobody was told of is told as [`catch_up`](Self::catch_up) does. Make the silences again first. No
    /// effect where there is an incident of a process already.
    pub fn resume(
        &mut self,
        told: impl IntoIterator<Item = ToldIncident>,
        known: &[ProcessStatus],
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) {
        self.advance(now, out);
        let status: HashMap<_, _> = known.iter().map(|it| (it.process.as_str(), it)).collect();
        let mut resumed = Vec::new();
        for it in told {
            let status = status.get(it.process.as_str()).copied();
            resumed.extend(self.resume_one(it, status));
        }
        let caught_up = self.take_in_all(known);
        // Only now is it known who holds back whom.
        let mut batch = Vec::new();
        resumed.iter().for_each(|id| self.examine(id, &mut batch));
        caught_up.into_iter().for_each(|id| self.touch(id, &mut batch));
        self.send(batch, out);
    }

    /// Takes in those in trouble that nobody was told of, as nobody was there to tell it, or as their state is told only
    /// since the options are others. They are told now, all at once, but for what something holds back. No effect on a
    /// process whose state is not told, or that there is an incident of already.
    pub fn catch_up<'a>(
        &mut self,
        known: impl IntoIterator<Item = &'a ProcessStatus>,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) {
        self.advance(now, out);
        let caught_up = self.take_in_all(known);
        let mut batch = Vec::new();
        caught_up.into_iter().for_each(|id| self.touch(id, &mut batch));
        self.send(batch, out);
    }

    /// The incident that goes on, unless there is one already.
    fn resume_one(&mut self, told: ToldIncident, status: Option<&ProcessStatus>) -> Option<Id> {
        let ToldIncident { process, state, key, since } = told;
        let id = Id::State(process);
        if self.incidents.contains_key(&id) {
            return None;
        }
        let was = Condition::State(state);
        let seen = match status {
            // Whoever is late, where that is not told, has not recovered.
            Some(it) if it.state == State::Late && self.options.condition(it.state).is_none() => {
                Seen { state: Some(it.state), ..Seen::plain(Some(was), it.since) }
            }
            Some(it) => Seen {
                state: Some(it.state),
                ..Seen::plain(self.options.condition(it.state), it.since)
            },
            None => Seen::plain(None, self.now),
        };
        let since = since.duration_since(self.wall).unwrap_or_default();
        let incident = Incident {
            key,
            since: Timestamp::from_start(since),
            seen,
            told: Some(was),
            renotify_at: None,
            waits: false,
            address: super::address(&id, &self.monitor),
        };
        self.incidents.insert(id.clone(), incident);
        self.go_on(&id);
        Some(id)
    }

    /// The incidents of those in trouble that there were none of.
    fn take_in_all<'a>(&mut self, known: impl IntoIterator<Item = &'a ProcessStatus>) -> Vec<Id> {
        let mut ids = Vec::new();
        for status in known {
            let condition = self.options.condition(status.state);
            let incident = self.incidents.get(&Id::State(status.process.clone()));
            if condition.is_some() && incident.is_none_or(Incident::is_over) {
                let seen =
                    Seen { state: Some(status.state), ..Seen::plain(condition, status.since) };
                ids.extend(self.take_in(&status.process, seen));
            }
        }
        ids
    }

    /// An incident that was told before goes on: it holds back others, and is told again.
    fn go_on(&mut self, id: &Id) {
        let Some(incident) = self.incidents.get_mut(id) else { return };
        if let (Id::State(process), Some(Condition::State(State::Down))) =
            (id, incident.seen.condition)
        {
            self.inhibitions.start(process, &incident.address);
        }
        if let Some(interval) = self.options.renotify {
            let at = self.now.after(interval);
            incident.renotify_at = Some(at);
            self.renotify.insert((at, id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use sinew_core::Pattern;

    use super::*;
    use crate::{AlertOptions, Beat, InhibitionRule, Monitor, MonitorOptions, Mute};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    fn wall(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What a monitor knows of a process, so many seconds after its only beat.
    fn status(silent: u64) -> ProcessStatus {
        let mut monitor = Monitor::new(MonitorOptions::default());
        let process = Process::parse("a").unwrap();
        let beat = Beat::Beat { period: Duration::from_secs(10) };
        let mut told = Vec::new();
        monitor.beat(&process, beat, at(0), &mut told);
        monitor.advance(at(silent), &mut told);
        monitor.process("a").unwrap()
    }

    fn down() -> ProcessStatus {
        status(100)
    }

    fn up() -> ProcessStatus {
        status(1)
    }

    fn kept() -> ToldIncident {
        ToldIncident::new(Process::parse("a").unwrap(), State::Down, "a/late/60", wall(61))
    }

    fn lines(sent: &mut Vec<Notification>) -> Vec<String> {
        let alerts = sent.drain(..).flat_map(|it| it.alerts);
        alerts.map(|it| format!("{} {}", it.kind, it.key)).collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn what_was_told_is_told_no_more_and_its_end_is_under_the_same_key() {
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        alerts.resume([kept()], &[down()], at(200), &mut sent);
        alerts.catch_up([&down()], at(200), &mut sent);
        assert_eq!(lines(&mut sent), NONE);
        assert_eq!(alerts.told().collect::<Vec<_>>(), [kept()]);
        alerts.resume([kept()], &[up()], at(201), &mut sent);
        assert_eq!(lines(&mut sent), NONE, "there is an incident of it already");
    }

    #[test]
    fn what_ended_while_nobody_was_there_is_told_to_have_ended() {
        for known in [vec![up()], Vec::new()] {
            let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
            let mut sent = Vec::new();
            alerts.resume([kept()], &known, at(200), &mut sent);
            assert_eq!(lines(&mut sent), ["resolved a/late/60"]);
            assert_eq!((alerts.open(), alerts.told().count()), (0, 0));
        }
    }

    #[test]
    fn who_is_late_has_not_recovered() {
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        alerts.resume([kept()], &[status(15)], at(200), &mut sent);
        assert_eq!((lines(&mut sent), alerts.told().count()), (Vec::new(), 1));
    }

    #[test]
    fn what_nobody_told_is_told_now_or_when_its_silence_ends() {
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        let silence = Mute::silence(Pattern::parse("a").unwrap(), wall(300));
        alerts.mute(silence, at(200), &mut sent).unwrap();
        alerts.catch_up([&down()], at(200), &mut sent);
        assert_eq!((lines(&mut sent), alerts.told().count()), (Vec::new(), 0));
        alerts.advance(at(300), &mut sent);
        assert_eq!(lines(&mut sent), ["firing a/down/0"]);
        alerts.catch_up([&up()], at(301), &mut sent);
        assert_eq!(lines(&mut sent), NONE, "who is up is no trouble, and is told by a transition");
    }

    #[test]
    fn who_is_held_back_at_a_start_is_so_in_whatever_order_it_is_known() {
        let rule = InhibitionRule::new(Pattern::parse("gw").unwrap(), "eu.>").unwrap();
        let named = |name| ProcessStatus { process: Process::parse(name).unwrap(), ..down() };
        for names in [["eu.a", "gw"], ["gw", "eu.a"]] {
            let known = names.map(named);
            let alerts =
                || Alerts::new(AlertOptions::default().with_inhibition(rule.clone()), wall(0));
            let mut sent = Vec::new();
            alerts().resume([], &known, at(200), &mut sent);
            assert_eq!(lines(&mut sent), ["firing gw/down/0"]);
            alerts().catch_up(&known, at(200), &mut sent);
            assert_eq!(lines(&mut sent), ["firing gw/down/0"]);
        }
    }

    #[test]
    fn all_that_nobody_told_is_one_notification() {
        let mut monitor = Monitor::new(MonitorOptions::default());
        let mut told = Vec::new();
        for n in 0..150 {
            let process = Process::parse(&format!("p{n}")).unwrap();
            monitor.declare(&process, at(0), &mut told);
        }
        monitor.advance(at(60), &mut told);
        let known: Vec<_> = monitor.processes().collect();
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        alerts.resume([kept()], &known, at(60), &mut sent);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].alerts.len(), sent[0].more), (100, 51));
    }

    #[test]
    fn what_goes_on_is_told_again_after_the_interval() {
        let options = AlertOptions::default().with_renotify(Duration::from_secs(60));
        let mut alerts = Alerts::new(options, wall(0));
        let mut sent = Vec::new();
        alerts.resume([kept()], &[down()], at(200), &mut sent);
        alerts.advance(at(260), &mut sent);
        assert_eq!(lines(&mut sent), ["renotify a/late/60"]);
    }
}
