//! Alerts against a naive teller that looks at everybody every second: any order of events, silences, sources and links.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use sinew_beat::{
    Alert, AlertKind, AlertOptions, Alerts, Beat, Condition, InhibitionRule, Monitor, MonitorEvent,
    MonitorOptions, Mute, MuteId, Notification, Process, State, Timestamp,
};
use sinew_core::Pattern;

const NAMES: [&str; 5] = ["h", "h.a", "h.b", "i", "i.a"];
const PATTERNS: [&str; 4] = [">", "h.>", "*", "i.a"];
const GRACE: u64 = 7;
const RENOTIFY: u64 = 11;

#[derive(Clone, Debug)]
enum Event {
    Beat(&'static str, Beat),
    /// The pattern, when it begins, and for how long; all by seconds, from now on.
    Window(&'static str, u64, u64),
    Silence(&'static str, u64),
    /// Ends the nth of the mutes.
    Unmute(usize),
    Blind,
    Sighted,
    Flapping(&'static str, bool),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let name = || proptest::sample::select(&NAMES[..]);
    let pattern = || proptest::sample::select(&PATTERNS[..]);
    let period = (0..4_u64).prop_map(Duration::from_secs);
    let beat = prop_oneof![
        3 => period.clone().prop_map(|period| Beat::Beat { period }),
        1 => period.prop_map(|period| Beat::Degraded { period }),
        1 => Just(Beat::Stop),
    ];
    let event = prop_oneof![
        12 => (name(), beat).prop_map(|(name, beat)| Event::Beat(name, beat)),
        1 => (pattern(), 0..20_u64, 1..20_u64).prop_map(|(it, from, length)| Event::Window(it, from, length)),
        1 => (pattern(), 1..40_u64).prop_map(|(it, length)| Event::Silence(it, length)),
        1 => (0..4_usize).prop_map(Event::Unmute),
        1 => Just(Event::Blind),
        2 => Just(Event::Sighted),
        1 => (name(), any::<bool>()).prop_map(|(name, on)| Event::Flapping(name, on)),
    ];
    proptest::collection::vec((prop_oneof![Just(0_u64), 1..6_u64, 1..25_u64], event), 0..80)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_start(Duration::from_secs(second))
}

fn wall(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|_| Pattern::exact(text.to_owned()))
}

fn process(name: &str) -> sinew_core::Result<Process> {
    Process::parse(name)
}

/// Whether the pattern, one of [`PATTERNS`], wants the name, one of [`NAMES`].
fn wants(pattern: &str, name: &str) -> bool {
    match pattern {
        ">" => true,
        "h.>" => name.starts_with("h."),
        "*" => !name.contains('.'),
        exact => exact == name,
    }
}

/// What is told: of whom, what, and of which condition. The monitor's own is of nobody.
type Line = (u64, String, AlertKind, Condition);

/// The rules, as plainly as they can be said: every second it looks at everyone, and tells what is not known yet of
/// whoever is not mute.
#[derive(Default)]
struct Naive {
    /// What is wrong with whom, what of that was told, and when.
    trouble: BTreeMap<(String, bool), Condition>,
    told: BTreeMap<(String, bool), (Condition, u64)>,
    mutes: Vec<(MuteId, &'static str, u64, u64)>,
    /// Until when a source mutes.
    sources: BTreeMap<String, u64>,
    blind: bool,
    lines: Vec<Line>,
}

impl Naive {
    fn see(&mut self, event: &MonitorEvent, alerting: &[State]) {
        let set = |all: &mut BTreeMap<_, _>, key, it: Option<Condition>| match it {
            Some(condition) => drop(all.insert(key, condition)),
            None => drop(all.remove(&key)),
        };
        match event {
            MonitorEvent::Transition(it)
                if it.to == State::Late && !alerting.contains(&State::Late) => {}
            MonitorEvent::Transition(it) => {
                let condition = alerting.contains(&it.to).then_some(Condition::State(it.to));
                set(&mut self.trouble, (it.process.to_string(), false), condition);
            }
            MonitorEvent::Flapping { process, on, .. } => {
                set(
                    &mut self.trouble,
                    (process.to_string(), true),
                    on.then_some(Condition::Flapping),
                );
            }
            MonitorEvent::Blind { .. } | MonitorEvent::Sighted { .. } => {
                self.blind = matches!(event, MonitorEvent::Blind { .. });
                set(
                    &mut self.trouble,
                    (String::new(), false),
                    self.blind.then_some(Condition::Blind),
                );
            }
            _ => {}
        }
    }

    fn is_mute(&self, name: &str, is_flap: bool, now: u64) -> bool {
        let is_own = name.is_empty();
        let by_operator = self.mutes.iter().any(|(_, pattern, from, until)| {
            // The monitor's own name is one token of its own.
            let wants = if is_own { [">", "*"].contains(pattern) } else { wants(pattern, name) };
            wants && *from <= now && now < *until
        });
        let host = name.split_once('.').map(|(host, _)| host);
        by_operator
            || (!is_own && self.blind)
            || host.and_then(|host| self.sources.get(host)).is_some_and(|until| now < *until)
            || (!is_flap && self.trouble.contains_key(&(name.to_owned(), true)))
    }

    fn tell(&mut self, now: u64) {
        for ((name, _), it) in &self.trouble {
            if *it == Condition::State(State::Down) && !name.contains('.') {
                self.sources.insert(name.clone(), now + GRACE);
            }
        }
        let keys: BTreeSet<_> = self.trouble.keys().chain(self.told.keys()).cloned().collect();
        for key in keys {
            let (is, told) = (self.trouble.get(&key).copied(), self.told.get(&key).copied());
            let is_mute = self.is_mute(&key.0, key.1, now);
            let line = match (is, told) {
                (Some(is), None) => Some((AlertKind::Firing, is)),
                (Some(is), Some((told, _))) if is != told => Some((AlertKind::Changed, is)),
                (None, Some((told, _))) => Some((AlertKind::Resolved, told)),
                (Some(is), Some((_, when))) if now == when + RENOTIFY => {
                    Some((AlertKind::Renotify, is))
                }
                _ => None,
            };
            // An interval that ends while there is other news, or none may be told, counts as one all the same.
            if let Some((condition, when)) = told
                && now == when + RENOTIFY
            {
                self.told.insert(key.clone(), (condition, now));
            }
            if let Some((kind, condition)) = line.filter(|_| !is_mute) {
                self.lines.push((now, key.0.clone(), kind, condition));
                match kind {
                    AlertKind::Resolved => drop(self.told.remove(&key)),
                    _ => drop(self.told.insert(key, (condition, now))),
                }
            }
        }
    }
}

struct Real {
    monitor: Monitor,
    alerts: Alerts,
    sent: Vec<Notification>,
}

impl Real {
    fn new(options: AlertOptions) -> sinew_core::Result<Self> {
        let rule = InhibitionRule::new(pattern("*"), "{1}.>")?;
        let options =
            options.with_inhibition(rule).with_inhibition_grace(Duration::from_secs(GRACE));
        Ok(Self {
            monitor: Monitor::new(MonitorOptions::default()),
            alerts: Alerts::new(options, wall(0)),
            sent: Vec::new(),
        })
    }

    /// What the monitor makes of it, besides what the alerts are told.
    fn happen(&mut self, event: &Event, now: u64) -> sinew_core::Result<Vec<MonitorEvent>> {
        let mut told = Vec::new();
        match event {
            Event::Beat(name, beat) => {
                self.monitor.beat(&process(name)?, *beat, at(now), &mut told)
            }
            Event::Blind => self.monitor.link_down(at(now), &mut told),
            Event::Sighted => self.monitor.link_up(at(now), &mut told),
            Event::Flapping(name, on) => {
                told.push(MonitorEvent::Flapping { process: process(name)?, on: *on, at: at(now) });
            }
            Event::Window(..) | Event::Silence(..) | Event::Unmute(_) => {}
        }
        Ok(told)
    }

    fn mute(&mut self, event: &Event, now: u64, naive: &mut Naive) -> sinew_core::Result<()> {
        match event {
            Event::Window(text, from, length) => {
                let (from, until) = (now + from, now + from + length);
                let mute = Mute::maintenance(pattern(text), wall(from), wall(until))?;
                let id = self.alerts.mute(mute, at(now), &mut self.sent)?;
                naive.mutes.push((id, text, from, until));
            }
            Event::Silence(text, length) => {
                let mute = Mute::silence(pattern(text), wall(now + length));
                let id = self.alerts.mute(mute, at(now), &mut self.sent)?;
                naive.mutes.push((id, text, now, now + length));
            }
            Event::Unmute(nth) if *nth < naive.mutes.len() => {
                let (id, _, _, until) = naive.mutes.remove(*nth);
                let was_there = self.alerts.unmute(id, at(now), &mut self.sent);
                assert_eq!(was_there, now < until);
            }
            _ => {}
        }
        Ok(())
    }

    fn lines(&mut self, now: u64) -> Vec<Line> {
        let alerts: Vec<Alert> = self.sent.drain(..).flat_map(|it| it.alerts).collect();
        let line = |it: Alert| {
            let name = it.process.map_or_else(String::new, |it| it.to_string());
            (now, name, it.kind, it.condition)
        };
        alerts.into_iter().map(line).collect()
    }
}

/// Runs the events, each second for itself. The machine is called only when something happens or when it wants to be;
/// after each call `check` gets what it told and what the naive teller told.
fn run(
    events: &[(u64, Event)],
    options: AlertOptions,
    alerting: &[State],
    mut check: impl FnMut(u64, &Real, &Naive, &[Line], &[Line]) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let fail = |error: sinew_core::Error| TestCaseError::fail(error.to_string());
    let mut real = Real::new(options).map_err(fail)?;
    let mut naive = Naive::default();
    let mut compare = |now, real: &mut Real, naive: &mut Naive| {
        naive.tell(now);
        let (mut lines, mut expected) = (real.lines(now), std::mem::take(&mut naive.lines));
        lines.sort();
        expected.sort();
        check(now, real, naive, &lines, &expected)
    };
    let ends: u64 = events.iter().map(|(gap, _)| gap).sum();
    let mut events = events.iter().scan(0, |when, (gap, event)| {
        *when += gap;
        Some((*when, event))
    });
    let mut next = events.next();
    // And a while beyond the last event, for every window to end.
    for now in 0..ends + 60 {
        loop {
            let event = next.filter(|(when, _)| *when == now).map(|(_, event)| event);
            if real.alerts.next_deadline().is_some_and(|it| it <= at(now)) {
                real.alerts.advance(at(now), &mut real.sent);
            }
            compare(now, &mut real, &mut naive)?;
            let mut told = Vec::new();
            real.monitor.advance(at(now), &mut told);
            if let Some(event) = event {
                told.extend(real.happen(event, now).map_err(fail)?);
            }
            for it in &told {
                real.alerts.handle(it, at(now), &mut real.sent);
                naive.see(it, alerting);
                compare(now, &mut real, &mut naive)?;
            }
            let Some(event) = event else { break };
            real.mute(event, now, &mut naive).map_err(fail)?;
            compare(now, &mut real, &mut naive)?;
            next = events.next();
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn alerts_agree_with_a_naive_teller(events in events(), late in any::<bool>()) {
        let mut alerting = vec![State::Down, State::Degraded];
        alerting.extend(late.then_some(State::Late));
        let options = AlertOptions::default()
            .with_states(alerting.clone())
            .with_renotify(Duration::from_secs(RENOTIFY));
        run(&events, options, &alerting, |now, real, _, lines, expected| {
            prop_assert_eq!(lines, expected, "at {}", now);
            prop_assert!(real.alerts.open() <= 2 * NAMES.len() + 1);
            Ok(())
        })?;
    }

    #[test]
    fn whatever_waits_for_its_group_each_incident_begins_and_ends_once(events in events(), delay in 1..10_u64) {
        let options = AlertOptions::default().with_delay(Duration::from_secs(delay));
        let mut open = BTreeMap::new();
        run(&events, options, &[State::Down], |now, real, naive, lines, _| {
            for (_, name, kind, condition) in lines {
                let is_flap = *condition == Condition::Flapping;
                prop_assert!(!naive.is_mute(name, is_flap, now), "{} at {}", name, now);
                let key = (name.clone(), is_flap);
                match kind {
                    AlertKind::Firing => prop_assert_eq!(open.insert(key, *condition), None),
                    AlertKind::Resolved => prop_assert_eq!(open.remove(&key), Some(*condition)),
                    other => prop_assert!(false, "{}", other),
                }
            }
            prop_assert!(real.alerts.open() <= 2 * NAMES.len() + 1);
            if real.alerts.next_deadline().is_none() {
                // Nothing is left to wait for but who is mute without an end.
                let is_mute = |(name, is_flap): &(String, bool)| naive.is_mute(name, *is_flap, now);
                let differs = open.iter().chain(&naive.trouble).map(|(key, _)| key)
                    .filter(|key| open.get(key) != naive.trouble.get(key));
                for key in differs {
                    prop_assert!(is_mute(key), "{:?} at {}", key, now);
                }
            }
            Ok(())
        })?;
    }
}
