//! Other options for a monitor that works.
use std::time::Duration;

use sinew_core::Pattern;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_start(seconds(second))
}

fn beat(monitor: &mut Monitor, name: &str, period: u64, second: u64, told: &mut Vec<MonitorEvent>) {
    let beat = Beat::Beat { period: seconds(period) };
    monitor.beat(&Process::parse(name).unwrap(), beat, at(second), told);
}

fn changes(told: &[MonitorEvent]) -> Vec<(String, State, Timestamp)> {
    let changes = told.iter().filter_map(MonitorEvent::transition);
    changes.map(|it| (it.process.to_string(), it.to, it.at)).collect()
}

fn state(monitor: &Monitor, name: &str) -> State {
    monitor.process(name).unwrap().state
}

#[test]
fn a_tighter_patience_calls_nobody_down_before_one_fresh_promise() {
    let lenient = Patience::default().with_grace(seconds(60)).with_missed(10);
    let mut monitor = Monitor::new(MonitorOptions::default().with_patience(lenient));
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    // Due long ago by the default patience, and in time by the one that holds.
    monitor.reconfigure(MonitorOptions::default(), at(65), &mut told);
    monitor.advance(at(75), &mut told);
    assert_eq!(changes(&told), [("a".to_owned(), State::Up, at(0))]);
    assert_eq!(monitor.next_deadline(), Some(at(76)));
    monitor.advance(at(200), &mut told);
    let after = &changes(&told)[1..];
    assert_eq!(
        after,
        [("a".to_owned(), State::Late, at(76)), ("a".to_owned(), State::Down, at(96))]
    );
}

#[test]
fn the_same_options_move_no_deadline() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    for second in 1..11 {
        monitor.reconfigure(MonitorOptions::default(), at(second), &mut told);
    }
    monitor.advance(at(100), &mut told);
    let wanted = [(State::Up, at(0)), (State::Late, at(11)), (State::Down, at(31))];
    assert_eq!(changes(&told), wanted.map(|(to, at)| ("a".to_owned(), to, at)));
}

#[test]
fn a_rule_that_comes_first_now_moves_nobody_whose_patience_is_the_same() {
    let eu = Patience::default().with_missed(9);
    let rule = |options: MonitorOptions, pattern: &str, patience| {
        options.with_rule(Pattern::parse(pattern).unwrap(), patience)
    };
    let mut monitor = Monitor::new(rule(MonitorOptions::default(), "eu.>", eu));
    let mut told = Vec::new();
    for name in ["eu.a", "us.b", "no subject"] {
        beat(&mut monitor, name, 10, 0, &mut told);
    }
    let us = Patience::default().with_missed(5);
    let options = rule(rule(MonitorOptions::default(), "us.>", us), "eu.>", eu);
    monitor.reconfigure(options, at(5), &mut told);
    told.clear();
    monitor.advance(at(1000), &mut told);
    let down: Vec<_> = changes(&told).into_iter().filter(|it| it.1 == State::Down).collect();
    let wanted = [("no subject", 31), ("us.b", 5 + 51), ("eu.a", 91)];
    assert_eq!(down, wanted.map(|(name, second)| (name.to_owned(), State::Down, at(second))));
}

#[test]
fn who_is_expected_has_the_new_time_to_be_seen() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    monitor.declare(&Process::parse("a").unwrap(), at(0), &mut told);
    let patience = Patience::default().with_learning(seconds(300));
    monitor.reconfigure(MonitorOptions::default().with_patience(patience), at(50), &mut told);
    monitor.advance(at(349), &mut told);
    assert_eq!(state(&monitor, "a"), State::Expected);
    monitor.advance(at(350), &mut told);
    assert_eq!(state(&monitor, "a"), State::Down);
}

#[test]
fn a_late_process_stays_late_and_is_down_after_a_fresh_promise() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    monitor.advance(at(29), &mut told);
    let patience = Patience::default().with_missed(1);
    monitor.reconfigure(MonitorOptions::default().with_patience(patience), at(29), &mut told);
    monitor.advance(at(39), &mut told);
    assert_eq!(state(&monitor, "a"), State::Late);
    monitor.advance(at(40), &mut told);
    assert_eq!(state(&monitor, "a"), State::Down);
}

#[test]
fn whom_nobody_forgot_can_be_forgotten_from_now_on_and_the_other_way_round() {
    let reaping = || MonitorOptions::default().with_reap_after(Some(seconds(100)));
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    monitor.advance(at(50), &mut told);
    monitor.reconfigure(reaping(), at(50), &mut told);
    monitor.reconfigure(MonitorOptions::default(), at(60), &mut told);
    monitor.advance(at(500), &mut told);
    assert_eq!(state(&monitor, "a"), State::Down);
    monitor.reconfigure(reaping(), at(500), &mut told);
    monitor.advance(at(500), &mut told);
    assert!(monitor.is_empty());
    assert!(matches!(told.last(), Some(MonitorEvent::Forgotten { .. })), "{told:?}");
}

#[test]
fn fewer_places_keep_who_is_known_and_refuse_the_next() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    beat(&mut monitor, "b", 10, 0, &mut told);
    monitor.reconfigure(MonitorOptions::default().with_max_processes(1), at(1), &mut told);
    beat(&mut monitor, "c", 10, 2, &mut told);
    beat(&mut monitor, "a", 10, 2, &mut told);
    assert_eq!((monitor.len(), monitor.counts().refused), (2, 1));
}

#[test]
fn a_blind_monitor_takes_other_options_and_judges_by_them_once_it_sees() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    beat(&mut monitor, "a", 10, 0, &mut told);
    monitor.link_down(at(5), &mut told);
    let patience = Patience::default().with_missed(1);
    monitor.reconfigure(MonitorOptions::default().with_patience(patience), at(500), &mut told);
    assert_eq!(monitor.next_deadline(), None);
    monitor.link_up(at(600), &mut told);
    monitor.advance(at(610), &mut told);
    assert_eq!(state(&monitor, "a"), State::Up);
    monitor.advance(at(611), &mut told);
    assert_eq!(state(&monitor, "a"), State::Down);
}

#[test]
fn who_is_declared_no_more_is_forgotten_at_once_or_like_others() {
    let options = MonitorOptions::default().with_reap_after(Some(seconds(100)));
    let mut monitor = Monitor::new(options);
    let mut told = Vec::new();
    for name in ["seen", "unseen", "still"] {
        monitor.declare(&Process::parse(name).unwrap(), at(0), &mut told);
    }
    beat(&mut monitor, "seen", 10, 0, &mut told);
    assert!(!monitor.undeclare("nobody", at(1), &mut told));
    assert!(monitor.undeclare("unseen", at(1), &mut told));
    assert!(monitor.process("unseen").is_none());
    // It is down by now: its time to be forgotten runs all the same.
    assert!(monitor.undeclare("seen", at(50), &mut told));
    assert!(!monitor.undeclare("seen", at(50), &mut told));
    monitor.advance(at(500), &mut told);
    assert!(monitor.process("seen").is_none());
    assert_eq!(state(&monitor, "still"), State::Down);
}
