//! Rules, pauses, stalls, flapping and forgetting.
use sinew_core::Pattern;

use super::*;

impl Told {
    fn entered(&mut self) -> Vec<(State, f64)> {
        let told = std::mem::take(&mut self.events);
        let transitions = told.iter().filter_map(MonitorEvent::transition);
        transitions.map(|it| (it.to, it.at.since_start().as_secs_f64())).collect()
    }

    fn pass(&mut self, seconds: f64) {
        self.monitor.advance(at(seconds), &mut self.events);
    }

    fn stall(&mut self, gap: f64, seconds: f64) {
        let gap = Duration::from_secs_f64(gap);
        self.monitor.stalled(gap, at(seconds), &mut self.events);
    }
}

#[test]
fn the_first_rule_that_matches_a_name_holds() {
    let hasty = Patience::default().with_grace(Duration::ZERO).with_missed(1);
    let options = MonitorOptions::default()
        .with_rule(Pattern::parse("eu.*").unwrap(), hasty)
        .with_rule(Pattern::parse("eu.>").unwrap(), hasty.with_missed(9));
    let mut told = Told::with(options);
    for name in ["eu.a", "eu.a.b", "us.a"] {
        told.beat(name, beat(10), 0.0);
    }
    told.entered();
    told.pass(100.0);
    let of = |told: &Told, name| told.monitor.process(name).unwrap().since;
    assert_eq!(of(&told, "eu.a"), at(10.0));
    assert_eq!(of(&told, "eu.a.b"), at(90.0));
    assert_eq!(of(&told, "us.a"), at(31.0));
}

#[test]
fn a_declared_process_learns_by_its_rule() {
    let slow = Patience::default().with_learning(Duration::from_secs(600));
    let nightly = Pattern::parse("nightly.>").unwrap();
    let mut told = Told::with(MonitorOptions::default().with_rule(nightly, slow));
    told.declare("nightly.backup", 0.0);
    told.declare("billing", 0.0);
    told.pass(700.0);
    let [_, _, first, second] = told.entered()[..] else { panic!() };
    assert_eq!((first, second), ((State::Down, 60.0), (State::Down, 600.0)));
}

#[test]
fn a_down_process_is_up_after_so_many_beats_in_a_row() {
    let mut told = Told::with(patient(Patience::default().with_recoveries(3)));
    told.beat("a", beat(5), 0.0);
    told.pass(100.0);
    told.entered();
    told.beat("a", beat(5), 100.0);
    told.beat("a", beat(5), 105.0);
    // Not within its promise: counted from one again.
    told.beat("a", beat(5), 120.0);
    told.beat("a", beat(5), 125.0);
    assert_eq!(told.entered(), []);
    assert_eq!(told.monitor.process("a").unwrap().last_seen, Some(at(125.0)));
    told.beat("a", degraded(5), 126.0);
    assert_eq!(told.entered(), [(State::Degraded, 126.0)]);
}

#[test]
fn a_start_or_a_stop_ends_a_down_at_once() {
    let mut told = Told::with(patient(Patience::default().with_recoveries(3)));
    for (name, news, state) in [("a", start(9), State::Starting), ("b", Beat::Stop, State::Stopped)]
    {
        told.beat(name, beat(0), 0.0);
        told.pass(50.0);
        told.entered();
        told.beat(name, news, 60.0);
        assert_eq!(told.entered(), [(state, 60.0)]);
    }
}

#[test]
fn a_paused_process_is_noted_and_not_judged() {
    let mut told = Told::new();
    assert!(!told.monitor.pause("a", at(0.0), &mut told.events));
    told.beat("a", beat(5), 0.0);
    assert!(told.monitor.pause("a", at(1.0), &mut told.events));
    assert!(told.monitor.pause("a", at(2.0), &mut told.events));
    told.beat("a", degraded(5), 3.0);
    told.pass(1000.0);
    assert_eq!(told.entered(), [(State::Up, 0.0), (State::Paused, 1.0)]);
    let status = told.monitor.process("a").unwrap();
    assert_eq!((status.last_seen, status.deadline), (Some(at(3.0)), None));

    // It is what it said last, with a fresh promise.
    assert!(told.monitor.resume("a", at(1000.0), &mut told.events));
    assert!(told.monitor.resume("a", at(1001.0), &mut told.events));
    told.pass(2000.0);
    let wanted = [(State::Degraded, 1000.0), (State::Late, 1006.0), (State::Down, 1016.0)];
    assert_eq!(told.entered(), wanted);
}

#[test]
fn a_declared_process_that_is_paused_unseen_learns_afresh() {
    let mut told = Told::new();
    told.declare("a", 0.0);
    told.monitor.pause("a", at(1.0), &mut told.events);
    told.monitor.resume("a", at(500.0), &mut told.events);
    told.pass(600.0);
    let states = told.entered();
    assert_eq!(states[2..], [(State::Expected, 500.0), (State::Down, 560.0)]);
}

#[test]
fn a_stall_moves_every_deadline_and_calls_nobody_down() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    told.pass(4.0);
    // It stood still from 4 to 34, and a's beats of that time wait for it.
    told.stall(30.0, 34.0);
    assert_eq!(told.entered(), [(State::Up, 0.0)]);
    assert_eq!(told.monitor.process("a").unwrap().deadline, Some(at(36.0)));
    assert_eq!(told.monitor.next_deadline(), Some(at(36.0)));
    told.pass(35.9);
    assert_eq!(told.entered(), []);
    told.pass(100.0);
    assert_eq!(told.entered(), [(State::Late, 36.0), (State::Down, 46.0)]);
}

#[test]
fn a_stall_is_told_with_its_length() {
    let mut told = Told::new();
    told.pass(1.0);
    // Longer than the time since it was last called it cannot have been.
    told.stall(30.0, 21.0);
    let gap = Duration::from_secs(20);
    assert_eq!(told.events, [MonitorEvent::Stalled { gap, at: at(21.0) }]);
}

#[test]
fn a_promise_after_a_stall_runs_from_its_beat() {
    let mut told = Told::new();
    told.stall(30.0, 30.0);
    told.beat("a", beat(5), 30.0);
    told.pass(100.0);
    let wanted = [(State::Up, 30.0), (State::Late, 36.0), (State::Down, 46.0)];
    assert_eq!(told.entered(), wanted);
}

#[test]
fn who_was_silent_for_long_is_forgotten_and_may_come_again() {
    let reap = Some(Duration::from_secs(100));
    let mut told = Told::with(MonitorOptions::default().with_reap_after(reap));
    told.beat("stopped", Beat::Stop, 0.0);
    told.beat("down", beat(5), 0.0);
    told.declare("declared", 0.0);
    told.pass(1000.0);
    let forgotten: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match event {
            MonitorEvent::Forgotten { process, was, at } => Some((process.as_str(), *was, *at)),
            _ => None,
        })
        .collect();
    let wanted = [("stopped", State::Stopped, at(101.0)), ("down", State::Down, at(116.0))];
    assert_eq!(forgotten, wanted);
    assert_eq!((told.monitor.len(), told.monitor.process("down")), (1, None));
    told.entered();

    told.beat("down", beat(5), 1000.0);
    assert_eq!(told.events[0].transition().unwrap().from, None);
    assert_eq!(told.monitor.len(), 2);
}

#[test]
fn a_forgotten_process_makes_room() {
    let options = MonitorOptions::default()
        .with_max_processes(1)
        .with_reap_after(Some(Duration::from_secs(1)));
    let mut told = Told::with(options);
    for turn in 0..100 {
        told.beat(&format!("p{turn}"), Beat::Stop, f64::from(turn) * 10.0);
    }
    assert_eq!((told.monitor.len(), told.monitor.counts().refused), (1, 0));
}

#[test]
fn flapping_is_told_when_it_begins_and_when_it_ends() {
    let mut told = Told::new();
    for turn in 0..20 {
        let said = if turn % 2 == 0 { beat(5) } else { degraded(5) };
        told.beat("a", said, f64::from(turn));
    }
    assert!(told.monitor.process("a").unwrap().is_flapping);
    for turn in 20..60 {
        told.beat("a", beat(5), f64::from(turn));
    }
    assert!(!told.monitor.process("a").unwrap().is_flapping);
    let flaps: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match event {
            MonitorEvent::Flapping { on, at, .. } => Some((*on, *at)),
            _ => None,
        })
        .collect();
    assert_eq!(flaps.iter().map(|it| it.0).collect::<Vec<_>>(), [true, false]);
}
