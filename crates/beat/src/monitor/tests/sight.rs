//! A link that may be dead without anybody saying so.
use super::*;

/// Blind after 3 s of silence.
fn wary() -> Told {
    let blind_after = Some(Duration::from_secs(3));
    Told::with(MonitorOptions::default().with_blind_after(blind_after))
}

impl Told {
    /// The watch's own heart, heard at each of these seconds.
    fn own(&mut self, seconds: impl IntoIterator<Item = u32>) {
        seconds.into_iter().for_each(|it| self.beat("own", beat(2), f64::from(it)));
    }

    fn of(&self, name: &str) -> Vec<(State, f64)> {
        let transitions = self.events.iter().filter_map(MonitorEvent::transition);
        let of = transitions.filter(|it| it.process.as_str() == name);
        of.map(|it| (it.to, it.at.since_start().as_secs_f64())).collect()
    }

    /// What became of the monitor itself.
    fn sight(&self) -> Vec<(&'static str, f64)> {
        let sight = self.events.iter().filter_map(|event| match event {
            MonitorEvent::Blind { at, cause, .. } => Some((cause.as_str(), *at)),
            MonitorEvent::Sighted { at, .. } => Some(("sighted", *at)),
            _ => None,
        });
        sight.map(|(what, at)| (what, at.since_start().as_secs_f64())).collect()
    }
}

#[test]
fn nobody_is_down_before_the_link_is_known_to_be_sound() {
    let mut told = wary();
    told.own([0]);
    told.beat("a", beat(0), 1.0);
    // Its deadline is at 2 s, and then nothing comes for a while.
    told.advance(3.8);
    assert_eq!(told.of("a"), [(State::Up, 1.0)]);
    // What waited comes through at once, its beat last.
    told.beat("own", beat(2), 3.8);
    told.beat("own", beat(2), 3.9);
    told.beat("a", beat(0), 4.0);
    assert_eq!(told.of("a"), [(State::Up, 1.0)]);
    assert_eq!(told.sight(), []);
}

#[test]
fn who_is_silent_is_judged_once_others_are_heard_and_at_its_deadline() {
    let mut told = wary();
    told.beat("a", beat(1), 0.0);
    told.own(0..3);
    assert_eq!(told.of("a"), [(State::Up, 0.0)]);
    told.own([3]);
    assert_eq!(told.of("a"), [(State::Up, 0.0), (State::Late, 2.0)]);
    told.own([4, 5]);
    let wanted = [(State::Up, 0.0), (State::Late, 2.0), (State::Down, 4.0)];
    assert_eq!(told.of("a"), wanted);
}

#[test]
fn a_link_on_which_nothing_is_heard_blinds_as_of_the_last_thing_heard() {
    let mut told = wary();
    told.own([0, 1]);
    told.beat("a", beat(2), 1.0);
    assert_eq!(told.monitor.next_deadline(), Some(at(4.0)));
    told.advance(3.9);
    assert!(!told.monitor.is_blind());
    told.advance(4.0);
    assert!(told.monitor.is_blind());
    assert_eq!((told.monitor.next_deadline(), told.monitor.is_empty()), (None, false));
    assert_eq!(told.monitor.process("a").unwrap().deadline, None);
    told.advance(1000.0);
    assert_eq!(told.sight(), [("silent", 1.0)]);

    told.own([1000]);
    assert_eq!(told.sight(), [("silent", 1.0), ("sighted", 1000.0)]);
    assert_eq!(told.monitor.process("a").unwrap().deadline, Some(at(1003.0)));
    told.own(1001..1010);
    assert_eq!(told.of("a"), [(State::Up, 1.0), (State::Late, 1003.0), (State::Down, 1007.0)]);
}

#[test]
fn what_is_malformed_shows_that_the_link_is_sound() {
    let mut told = wary();
    told.beat("a", beat(1), 0.0);
    for second in 1..=10 {
        told.hear("heartbeat.b", b"nonsense", f64::from(second));
    }
    assert_eq!(told.sight(), []);
    assert_eq!(told.of("a"), [(State::Up, 0.0), (State::Late, 2.0), (State::Down, 4.0)]);
}

#[test]
fn a_silence_is_blindness_however_late_somebody_looks() {
    let mut told = wary();
    told.beat("a", beat(0), 0.0);
    told.own([100]);
    assert_eq!(told.sight(), [("silent", 0.0), ("sighted", 100.0)]);
    assert_eq!(told.of("a"), [(State::Up, 0.0)]);
}

#[test]
fn a_silence_and_a_link_that_goes_down_in_it_are_one_blindness() {
    let mut told = wary();
    told.own([0]);
    told.advance(3.0);
    told.down(10.0);
    assert_eq!(told.sight(), [("silent", 0.0)]);
    // Something comes while the link is still said to be down.
    told.own([20]);
    told.advance(100.0);
    told.up(100.0);
    assert_eq!(told.sight(), [("silent", 0.0), ("sighted", 100.0)]);
    // From then on its silence counts anew.
    told.advance(103.0);
    assert_eq!(told.sight()[2..], [("silent", 100.0)]);
}

#[test]
fn a_link_that_goes_down_first_is_the_cause_that_is_told() {
    let mut told = wary();
    told.own([0]);
    told.down(1.0);
    told.advance(100.0);
    told.up(101.0);
    assert_eq!(told.sight(), [("link down", 1.0), ("sighted", 101.0)]);
}

#[test]
fn a_link_that_comes_up_is_no_longer_silent() {
    let mut told = wary();
    told.beat("a", beat(1), 0.0);
    told.advance(50.0);
    told.up(50.0);
    assert_eq!(told.sight(), [("silent", 0.0), ("sighted", 50.0)]);
    assert_eq!(told.monitor.process("a").unwrap().deadline, Some(at(52.0)));
}

#[test]
fn a_gap_shows_that_something_came() {
    let mut told = wary();
    told.beat("a", beat(1), 0.0);
    told.lose(1, 10.0);
    assert_eq!(told.sight(), [("silent", 0.0), ("sighted", 10.0)]);
    told.lose(1, 12.0);
    told.advance(14.9);
    assert!(!told.monitor.is_blind());
}

#[test]
fn who_stood_still_has_not_heard_a_silence() {
    let mut told = wary();
    told.own([0, 1]);
    told.monitor.stalled(Duration::from_secs(30), at(31.5), &mut told.events);
    told.advance(33.9);
    assert_eq!(told.sight(), []);
    // As of the last thing heard, and the stall after it.
    told.advance(34.0);
    assert_eq!(told.sight(), [("silent", 31.0)]);
}

#[test]
fn a_declared_process_learns_afresh_after_a_silence() {
    let mut told = wary();
    told.declare("a", 0.0);
    told.advance(1000.0);
    told.own(1000..1063);
    assert_eq!(told.of("a"), [(State::Expected, 0.0), (State::Down, 1060.0)]);
}

#[test]
fn an_operator_s_word_is_nothing_heard() {
    let mut told = wary();
    told.beat("a", beat(60), 0.0);
    told.declare("b", 2.0);
    told.monitor.pause("a", at(2.5), &mut told.events);
    told.advance(3.0);
    assert_eq!(told.sight(), [("silent", 0.0)]);
    // Paused while blind, resumed while sighted.
    told.own([10]);
    told.monitor.resume("a", at(10.0), &mut told.events);
    assert_eq!(told.monitor.process("a").unwrap().deadline, Some(at(71.0)));
}

#[test]
fn who_is_to_be_forgotten_waits_for_the_link_too() {
    let options = MonitorOptions::default()
        .with_blind_after(Some(Duration::ZERO))
        .with_reap_after(Some(Duration::ZERO));
    let mut told = Told::with(options);
    told.beat("a", Beat::Stop, 0.0);
    // Less than a second of silence is none.
    told.advance(0.99);
    assert_eq!((told.monitor.len(), told.sight().len()), (1, 0));
    for tenth in 10..30 {
        told.beat("b", beat(9), f64::from(tenth) / 10.0);
    }
    assert!(told.monitor.process("a").is_none());
}

#[test]
fn what_was_before_a_restart_is_no_silence() {
    let before = wary();
    let clock = crate::Clock::start_at(std::time::SystemTime::now() - Duration::from_secs(1000));
    let snapshot = before.monitor.snapshot(&clock);
    let mut monitor = Monitor::restore(before.monitor.options, &snapshot, &clock);
    let (mut told, now) = (Vec::new(), clock.now());
    monitor.advance(now, &mut told);
    assert_eq!(told, []);
    assert!(monitor.next_deadline().is_some_and(|at| at <= now.after(Duration::from_secs(3))));
    monitor.advance(now.after(Duration::from_secs(3)), &mut told);
    assert!(
        matches!(told[..], [MonitorEvent::Blind { cause: BlindCause::Silent, .. }]),
        "{told:?}"
    );
}

#[test]
fn a_monitor_that_relies_on_what_it_hears_only_later_judges_by_it_from_then_on() {
    let mut told = Told::new();
    told.beat("a", beat(1), 0.0);
    told.advance(4.0);
    let before = [(State::Up, 0.0), (State::Late, 2.0), (State::Down, 4.0)];
    assert_eq!(told.of("a"), before);
    told.beat("b", beat(1), 10.0);
    told.monitor.rely(Some(Duration::from_secs(3)), at(10.0), &mut told.events);
    told.advance(100.0);
    assert_eq!(told.of("b"), [(State::Up, 10.0)]);
    assert_eq!((told.of("a"), told.sight()), (before.to_vec(), vec![("silent", 10.0)]));
}

#[test]
fn a_monitor_that_relied_on_it_already_takes_one_thing_heard_for_no_proof() {
    let mut told = wary();
    told.own([0]);
    told.beat("a", beat(0), 1.0);
    // What waited comes through at once, its beat last.
    told.beat("own", beat(2), 3.8);
    told.monitor.rely(Some(Duration::from_secs(3)), at(3.8), &mut told.events);
    told.advance(3.9);
    told.beat("a", beat(0), 4.0);
    assert_eq!(told.of("a"), [(State::Up, 1.0)]);
}

#[test]
fn other_options_leave_what_is_heard_as_it_was() {
    let mut told = wary();
    told.own([0]);
    told.monitor.reconfigure(MonitorOptions::default(), at(1.0), &mut told.events);
    assert_eq!(told.monitor.next_deadline(), Some(at(3.0)));
    told.advance(100.0);
    assert_eq!(told.sight(), [("silent", 0.0)]);
}

#[test]
fn a_heart_that_is_not_listed_proves_the_link_and_is_nobody_unless_declared() {
    let mut told = wary();
    let unlisted = format!("{}eu-1", Process::UNLISTED);
    told.beat("a", beat(1), 0.0);
    for second in 0..4 {
        told.beat(&unlisted, beat(2), f64::from(second));
    }
    assert_eq!(told.of("a"), [(State::Up, 0.0), (State::Late, 2.0)]);
    assert_eq!((told.of(&unlisted), told.monitor.len()), (vec![], 1));
    assert_eq!(told.monitor.counts().refused, 0);
    told.advance(20.0);
    assert_eq!(told.sight(), [("silent", 3.0)]);
    told.beat(&unlisted, beat(2), 20.0);
    assert_eq!(told.sight(), [("silent", 3.0), ("sighted", 20.0)]);
    let declared = Process::parse(&unlisted).unwrap();
    told.monitor.declare(&declared, at(20.0), &mut told.events);
    told.beat(&unlisted, beat(2), 21.0);
    assert_eq!(told.of(&unlisted), [(State::Expected, 20.0), (State::Up, 21.0)]);
}
