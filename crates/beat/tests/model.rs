//! The monitor against a naive one that looks at everybody every time: any order of events, several processes.
use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use sinew_beat::{Beat, Monitor, MonitorEvent, MonitorOptions, Process, State, Timestamp};

#[derive(Clone, Debug)]
enum Event {
    Beat(&'static str, Beat),
    Declare(&'static str),
    Lose,
    Down,
    Up,
    Nothing,
}

const NAMES: [&str; 3] = ["a", "b", "eu.c"];

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let name = proptest::sample::select(&NAMES[..]);
    let promise = (0..20_u64).prop_map(Duration::from_secs);
    let beat = prop_oneof![
        promise.clone().prop_map(|warmup| Beat::Start { warmup }),
        promise.clone().prop_map(|period| Beat::Beat { period }),
        promise.prop_map(|period| Beat::Degraded { period }),
        Just(Beat::Stop),
    ];
    let event = prop_oneof![
        8 => (name.clone(), beat).prop_map(|(name, beat)| Event::Beat(name, beat)),
        1 => name.prop_map(Event::Declare),
        1 => Just(Event::Lose),
        1 => Just(Event::Down),
        1 => Just(Event::Up),
        4 => Just(Event::Nothing),
    ];
    let gap = prop_oneof![Just(0_u64), 1..2000_u64, 1..40_000_u64];
    proptest::collection::vec((gap, event), 0..80)
}

/// The rules, as plainly as they can be said.
#[derive(Default)]
struct Naive {
    known: BTreeMap<&'static str, Known>,
    fresh: Timestamp,
    blind: bool,
}

struct Known {
    state: State,
    since: Timestamp,
    basis: Timestamp,
    promise: Duration,
}

impl Naive {
    fn handle(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Lose => self.fresh = now,
            Event::Down => self.blind = true,
            Event::Up => (self.blind, self.fresh) = (false, now),
            Event::Nothing => self.judge(now),
            Event::Declare(name) => {
                self.judge(now);
                self.known.entry(name).or_insert(Known {
                    state: State::Expected,
                    since: now,
                    basis: now,
                    promise: Duration::from_secs(60),
                });
            }
            Event::Beat(name, beat) => {
                self.judge(now);
                let state = match beat {
                    Beat::Start { .. } => State::Starting,
                    Beat::Beat { .. } => State::Up,
                    Beat::Degraded { .. } => State::Degraded,
                    _ => State::Stopped,
                };
                let before = self.known.get(name).filter(|it| it.state == state).map(|it| it.since);
                let promise = beat.promise().unwrap_or_default();
                let since = before.unwrap_or(now);
                self.known.insert(name, Known { state, since, basis: now, promise });
            }
        }
    }

    fn judge(&mut self, now: Timestamp) {
        if self.blind {
            return;
        }
        let second = Duration::from_secs(1);
        for it in self.known.values_mut() {
            let basis = it.basis.max(self.fresh);
            let late = basis.after(it.promise + second);
            let down = basis.after(it.promise * 3 + second);
            if it.state == State::Expected && basis.after(it.promise) <= now {
                (it.state, it.since) = (State::Down, basis.after(it.promise));
            }
            if it.state.is_alive() && late <= now {
                (it.state, it.since) = (State::Late, late);
            }
            if it.state == State::Late && down <= now {
                (it.state, it.since) = (State::Down, down);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_monitor_agrees_with_a_naive_one(events in events()) {
        let mut naive = Naive::default();
        let mut monitor = Monitor::new(MonitorOptions::default());
        let mut told: Vec<MonitorEvent> = Vec::new();
        let mut now = Timestamp::START;
        for (gap, event) in &events {
            now = now.after(Duration::from_millis(*gap));
            naive.handle(event, now);
            match event {
                Event::Beat(name, beat) => monitor.beat(&Process::parse(name).unwrap(), *beat, now, &mut told),
                Event::Declare(name) => monitor.declare(&Process::parse(name).unwrap(), now, &mut told),
                Event::Lose => monitor.lose(1, now, &mut told),
                Event::Down => monitor.link_down(now, &mut told),
                Event::Up => monitor.link_up(now, &mut told),
                Event::Nothing => monitor.advance(now, &mut told),
            }
            let seen: BTreeMap<_, _> =
                monitor.processes().map(|it| (it.process.to_string(), (it.state, it.since))).collect();
            let expected: BTreeMap<_, _> =
                naive.known.iter().map(|(name, it)| ((*name).to_owned(), (it.state, it.since))).collect();
            prop_assert_eq!(seen, expected);
            // Nothing that is due is overlooked.
            let next = monitor.next_deadline();
            prop_assert!(monitor.processes().filter_map(|it| it.deadline).all(|due| next.is_some_and(|next| next <= due)));
        }
        prop_assert!(told.is_sorted_by_key(MonitorEvent::at));
        // Every process's transitions make one chain.
        for name in NAMES {
            let mut state = None;
            for it in told.iter().filter_map(MonitorEvent::transition).filter(|it| it.process.as_str() == name) {
                prop_assert_eq!(it.from, state);
                state = Some(it.to);
            }
        }
    }
}
