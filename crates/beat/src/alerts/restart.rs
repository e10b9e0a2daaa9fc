//! A monitor that ends, and another one that goes on: what people were told, and what they were not.
use std::{collections::HashMap, time::SystemTime};

use super::{
    AlertKey, AlertKind, Alerts, Condition, MuteCause, Notification,
    incident::{Id, Incident, Seen},
};
use crate::{Process, ProcessStatus, State, Timestamp};

/// An incident that people were told of, and not of its end: what [`Alerts::told`] gives and, after a restart,
/// [`Alerts::resume`] takes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ToldIncident {
    /// Which process; none when it is about the monitor itself.
    pub process: Option<Process>,
    /// What they were told last that is wrong.
    pub condition: Condition,
    /// Under which key.
    pub key: AlertKey,
    /// Since when the incident lasts.
    pub since: SystemTime,
}

impl ToldIncident {
    /// What an earlier run kept.
    #[must_use]
    pub fn new(
        process: Option<Process>,
        condition: Condition,
        key: &str,
        since: SystemTime,
    ) -> Self {
        Self { process, condition, key: AlertKey::known(key), since }
    }

    /// None of what no incident is about.
    fn id(&self) -> Option<Id> {
        match (self.condition, self.process.clone()) {
            (Condition::Blind, None) => Some(Id::Blind),
            (Condition::Flapping, Some(process)) => Some(Id::Flapping(process)),
            (Condition::Conflict, Some(process)) => Some(Id::Conflict(process)),
            (Condition::State(_), Some(process)) => Some(Id::State(process)),
            _ => None,
        }
    }
}

impl Alerts {
    /// The incidents that people were told of, and not of their end, to be kept over a restart.
    #[must_use = "iterators are lazy"]
    pub fn told(&self) -> impl Iterator<Item = ToldIncident> {
        self.incidents.iter().filter_map(|(id, incident)| {
            Some(ToldIncident {
                process: id.process().cloned(),
                condition: incident.told?,
                key: incident.key.clone(),
                since: self.wall_at(incident.since),
            })
        })
    }

    /// Goes on where an earlier run ended, with what it [told](Self::told), and all that is known of processes now.
    ///
    /// What differs from what was told is told, its end too: of a process that is not known any more, it is over, and so is
    /// blindness, as a monitor that is still blind says that anew. Who is in trouble that nobody was told of is told as
    /// [`catch_up`](Self::catch_up) does. Make the silences again first. No effect where there is such an incident
    /// already.
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
            let status = it.process.as_ref().and_then(|it| status.get(it.as_str())).copied();
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
    /// since the options are others; who flaps, and who is two at once, too. They are told now, all at once, but for what
    /// something holds back. No effect where a state is not told, or where there is such an incident already.
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

    /// What is open, for a receiver that is new: each as [`AlertKind::Firing`], under the key that it has. It is not counted.
    ///
    /// Those alone that people were told of and that are as they were told, but for what a mute or an inhibition holds back
    /// now.
    #[must_use]
    pub fn recap(&self) -> Vec<Notification> {
        let open = self.incidents.iter().filter_map(|(id, incident)| {
            let condition = incident.told.filter(|_| incident.news().is_none())?;
            // What was told before the link was cut is as open as it was.
            let cause = self.cause(id, &incident.address).filter(|it| *it != MuteCause::Blind);
            cause.is_none().then(|| incident.alert(id, AlertKind::Firing, condition))
        });
        self.bundle(open.collect())
    }

    /// The incident that goes on, unless there is one already.
    fn resume_one(&mut self, told: ToldIncident, status: Option<&ProcessStatus>) -> Option<Id> {
        let id = told.id()?;
        let ToldIncident { condition: was, key, since, .. } = told;
        if self.incidents.contains_key(&id) {
            return None;
        }
        let since = since.duration_since(self.wall).unwrap_or_default();
        let since = Timestamp::from_start(since);
        let seen = match (&id, status) {
            (Id::Flapping(_), Some(it)) if it.is_flapping => Seen::plain(Some(was), since),
            (Id::Conflict(_), Some(it)) if it.conflict.is_some() => Seen::plain(Some(was), since),
            (Id::State(_), Some(it)) => {
                let condition = self.options.condition(it.state);
                // Whoever is late, where that is not told, has not recovered.
                let condition = condition.or_else(|| (it.state == State::Late).then_some(was));
                Seen { state: Some(it.state), ..Seen::plain(condition, it.since) }
            }
            _ => Seen::plain(None, self.now),
        };
        self.keys.note(&key);
        let incident = Incident {
            key,
            since,
            seen,
            told: Some(was),
            renotify_at: None,
            waits: false,
            instances: status.and_then(|it| it.conflict.clone()),
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
            let (process, now) = (&status.process, self.now);
            let flapping =
                status.is_flapping.then(|| (Id::Flapping(process.clone()), Condition::Flapping));
            let conflict = status.conflict.as_ref();
            let conflict = conflict.map(|_| (Id::Conflict(process.clone()), Condition::Conflict));
            // Since when is not known.
            for (id, condition) in flapping.into_iter().chain(conflict) {
                if self.incidents.get(&id).is_none_or(Incident::is_over)
                    && self.note(&id, Seen::plain(Some(condition), now))
                {
                    if let Some(it) = self.incidents.get_mut(&id)
                        && condition == Condition::Conflict
                    {
                        it.instances.clone_from(&status.conflict);
                    }
                    ids.push(id);
                }
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
    use crate::{
        AlertOptions, Beat, BlindCause, InhibitionRule, Monitor, MonitorEvent, MonitorOptions, Mute,
    };

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
        ToldIncident::new(process(), Condition::State(State::Down), "a/late/60", wall(61))
    }

    fn process() -> Option<Process> {
        Process::parse("a").ok()
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
    fn what_was_told_of_flapping_and_of_the_monitor_itself_is_kept_and_told_to_be_over() {
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        let process = process().unwrap();
        for event in [
            MonitorEvent::Flapping { process, on: true, at: at(60) },
            MonitorEvent::Blind { at: at(61), cause: BlindCause::LinkDown, skipped: 0 },
        ] {
            alerts.handle(&event, event.at(), &mut sent);
        }
        assert_eq!(lines(&mut sent), ["firing a/flapping/60", "firing monitor/blind/60"]);
        let kept: Vec<_> = alerts.told().collect();

        let resumed = |status: ProcessStatus| {
            let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
            let mut sent = Vec::new();
            alerts.resume(kept.clone(), &[status], at(200), &mut sent);
            (lines(&mut sent), alerts.told().map(|it| it.key.to_string()).collect::<Vec<_>>())
        };
        let (over, open) = resumed(up());
        assert_eq!(over, ["resolved monitor/blind/60", "resolved a/flapping/60"]);
        assert_eq!(open, NONE);
        let (over, open) = resumed(ProcessStatus { is_flapping: true, ..up() });
        assert_eq!(over, ["resolved monitor/blind/60"]);
        assert_eq!(open, ["a/flapping/60"]);
    }

    #[test]
    fn two_that_are_still_two_are_not_told_again() {
        let told = || ToldIncident::new(process(), Condition::Conflict, "a/conflict/60", wall(61));
        let name = |text| crate::Instance::parse(text).unwrap();
        let pair = crate::InstancePair { one: name("x"), other: name("y") };
        let two = ProcessStatus { conflict: Some(pair), ..up() };
        for (status, wanted) in [(two, vec![]), (up(), vec!["resolved a/conflict/60"])] {
            let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
            let mut sent = Vec::new();
            alerts.resume([told()], &[status], at(200), &mut sent);
            assert_eq!(lines(&mut sent), wanted);
        }
    }

    #[test]
    fn what_no_incident_is_about_was_never_told() {
        for (process, condition) in [
            (process(), Condition::Blind),
            (process(), Condition::Stalled),
            (None, Condition::Stalled),
            (None, Condition::Flapping),
            (None, Condition::State(State::Down)),
        ] {
            let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
            let mut sent = Vec::new();
            let told = ToldIncident::new(process, condition, "a/x/60", wall(60));
            alerts.resume([told], &[up()], at(200), &mut sent);
            assert_eq!((lines(&mut sent), alerts.open()), (Vec::new(), 0), "{condition}");
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
    fn two_instances_and_flapping_that_a_silence_kept_from_being_told_are_told_once_it_ends() {
        let name = |text| crate::Instance::parse(text).unwrap();
        let pair = Some(crate::InstancePair { one: name("x"), other: name("y") });
        let known = [ProcessStatus { is_flapping: true, conflict: pair.clone(), ..up() }];
        let mut alerts = Alerts::new(AlertOptions::default(), wall(0));
        let mut sent = Vec::new();
        let silence = Mute::silence(Pattern::parse("a").unwrap(), wall(300));
        alerts.mute(silence, at(200), &mut sent).unwrap();
        alerts.resume([], &known, at(200), &mut sent);
        assert_eq!((lines(&mut sent), alerts.open()), (Vec::new(), 2));
        alerts.advance(at(300), &mut sent);
        assert_eq!(sent.last().unwrap().alerts.last().unwrap().instances, pair);
        assert_eq!(lines(&mut sent), ["firing a/flapping/180", "firing a/conflict/180"]);
        alerts.catch_up(&known, at(301), &mut sent);
        assert_eq!(lines(&mut sent), NONE);
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
    fn all_that_nobody_told_is_as_few_notifications_as_hold_it() {
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
        let lengths: Vec<_> = sent.iter().map(|it| it.alerts.len()).collect();
        assert_eq!(lengths, [100, 51]);
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
