//! What the monitor does, in virtual time.
mod aged;
mod instances;
mod operated;
mod reloaded;
mod sight;

use proptest::prelude::*;
use sinew_core::{Address, Message, Subject};

use super::*;
use crate::{Beat, Malformed};

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_start(Duration::from_secs_f64(seconds))
}

fn beat(period: u64) -> Beat {
    Beat::Beat { period: Duration::from_secs(period) }
}

fn start(warmup: u64) -> Beat {
    Beat::Start { warmup: Duration::from_secs(warmup) }
}

fn degraded(period: u64) -> Beat {
    Beat::Degraded { period: Duration::from_secs(period) }
}

fn process(name: &str) -> Process {
    Process::parse(name).unwrap()
}

fn patient(patience: Patience) -> MonitorOptions {
    MonitorOptions::default().with_patience(patience)
}

/// A monitor, and all it has told.
struct Told {
    monitor: Monitor,
    events: Vec<MonitorEvent>,
}

impl Told {
    fn new() -> Self {
        Self::with(MonitorOptions::default())
    }

    fn with(options: MonitorOptions) -> Self {
        Self { monitor: Monitor::new(options), events: Vec::new() }
    }

    fn beat(&mut self, name: &str, beat: Beat, seconds: f64) {
        self.monitor.beat(&process(name), beat, at(seconds), &mut self.events);
    }

    fn hear(&mut self, address: &str, payload: &'static [u8], seconds: f64) {
        let address = Address::from_wire(None, address.to_owned());
        self.monitor.hear(&Message::to(address, payload), at(seconds), &mut self.events);
    }

    fn declare(&mut self, name: &str, seconds: f64) {
        self.monitor.declare(&process(name), at(seconds), &mut self.events);
    }

    fn lose(&mut self, lost: u64, seconds: f64) {
        self.monitor.lose(lost, at(seconds), &mut self.events);
    }

    fn down(&mut self, seconds: f64) {
        self.monitor.link_down(at(seconds), &mut self.events);
    }

    fn up(&mut self, seconds: f64) {
        self.monitor.link_up(at(seconds), &mut self.events);
    }

    fn advance(&mut self, seconds: f64) {
        self.monitor.advance(at(seconds), &mut self.events);
    }

    /// The states told since the last call, each with its instant.
    fn states(&mut self) -> Vec<(State, Timestamp)> {
        let events = std::mem::take(&mut self.events);
        events.iter().filter_map(MonitorEvent::transition).map(|it| (it.to, it.at)).collect()
    }

    fn state(&self, name: &str) -> State {
        self.monitor.process(name).unwrap().state
    }
}

#[test]
fn a_process_that_keeps_its_promise_stays_up() {
    let mut told = Told::new();
    for second in 0..100 {
        told.beat("a", beat(5), f64::from(second) * 5.0);
    }
    assert_eq!(told.states(), [(State::Up, at(0.0))]);
}

#[test]
fn silence_is_late_then_down_at_the_deadlines_however_late_somebody_looks() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.5);
    told.advance(1000.0);
    let expected = [(State::Up, at(0.5)), (State::Late, at(6.5)), (State::Down, at(16.5))];
    assert_eq!(told.states(), expected);
    assert_eq!(told.monitor.process("a").unwrap().since, at(16.5));
    assert_eq!(told.monitor.next_deadline(), None);
}

#[test]
fn a_warmup_is_a_promise_of_its_own() {
    let mut told = Told::new();
    told.beat("a", start(60), 0.0);
    told.beat("a", beat(5), 59.0);
    told.advance(65.0);
    told.advance(66.0);
    let expected = [(State::Starting, at(0.0)), (State::Up, at(59.0)), (State::Late, at(65.0))];
    assert_eq!(told.states(), expected);
}

#[test]
fn a_shorter_promise_moves_the_deadline_earlier() {
    let mut told = Told::new();
    told.beat("a", start(3600), 0.0);
    told.beat("a", beat(1), 1.0);
    assert_eq!(told.monitor.next_deadline(), Some(at(3.0)));
    told.advance(5.0);
    assert_eq!(told.state("a"), State::Down);
}

#[test]
fn degraded_and_recovery_are_told_once_each() {
    let mut told = Told::new();
    for (nth, what) in [beat(5), degraded(5), degraded(5), beat(5), beat(5)].into_iter().enumerate()
    {
        told.beat("a", what, nth as f64);
    }
    let expected = [(State::Up, at(0.0)), (State::Degraded, at(1.0)), (State::Up, at(3.0))];
    assert_eq!(told.states(), expected);
}

#[test]
fn a_stopped_process_has_no_deadline() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    told.beat("a", Beat::Stop, 1.0);
    told.advance(1e6);
    assert_eq!(told.states(), [(State::Up, at(0.0)), (State::Stopped, at(1.0))]);
    let status = told.monitor.process("a").unwrap();
    assert_eq!((status.deadline, status.promise), (None, None));
}

#[test]
fn a_beat_after_stop_or_down_is_a_recovery() {
    let mut told = Told::new();
    told.beat("a", Beat::Stop, 0.0);
    told.beat("a", beat(1), 1.0);
    told.advance(100.0);
    told.beat("a", degraded(1), 101.0);
    let froms: Vec<_> =
        told.events.iter().filter_map(MonitorEvent::transition).map(|it| it.from).collect();
    let expected =
        [None, Some(State::Stopped), Some(State::Up), Some(State::Late), Some(State::Down)];
    assert_eq!(froms, expected);
    assert_eq!(told.state("a"), State::Degraded);
}

#[test]
fn a_declared_process_is_expected_while_the_monitor_learns_then_down() {
    let mut told = Told::new();
    told.declare("a", 0.0);
    told.declare("b", 0.0);
    told.declare("b", 1.0);
    told.beat("b", beat(5), 59.0);
    told.advance(60.0);
    let expected = [
        (State::Expected, at(0.0)),
        (State::Expected, at(0.0)),
        (State::Up, at(59.0)),
        (State::Down, at(60.0)),
    ];
    let last = told.events.last().and_then(MonitorEvent::transition).unwrap();
    assert_eq!((last.process.as_str(), last.reason), ("a", Reason::NeverSeen));
    assert_eq!(told.states(), expected);
    assert_eq!(told.monitor.process("a").unwrap().last_seen, None);
}

#[test]
fn a_blind_monitor_judges_nobody_and_gives_one_fresh_promise_afterwards() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    told.declare("b", 0.0);
    told.down(3.0);
    told.down(4.0);
    told.advance(1000.0);
    assert_eq!(told.monitor.next_deadline(), None);
    assert_eq!(told.monitor.process("a").unwrap().deadline, None);
    told.up(1000.0);
    told.up(1000.0);
    told.advance(1005.9);
    assert_eq!(told.state("a"), State::Up);
    assert_eq!(told.monitor.process("a").unwrap().deadline, Some(at(1006.0)));
    told.advance(1059.9);
    assert_eq!((told.state("a"), told.state("b")), (State::Down, State::Expected));
    let sight: Vec<_> =
        told.events.iter().filter(|it| it.transition().is_none()).cloned().collect();
    let expected = [
        MonitorEvent::Blind { at: at(3.0), cause: BlindCause::LinkDown, skipped: 0 },
        MonitorEvent::Sighted { at: at(1000.0), skipped: 0 },
    ];
    assert_eq!(sight, expected);
    let downs: Vec<_> = told.states().into_iter().filter(|(to, _)| *to == State::Down).collect();
    assert_eq!(downs, [(State::Down, at(1016.0))]);
}

#[test]
fn lost_beats_are_nobody_s_fault() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    // The deadlines passed, but nobody has looked since, and what was lost may have been beats in time.
    told.lose(7, 20.0);
    told.advance(25.9);
    assert_eq!(told.state("a"), State::Up);
    told.advance(26.0);
    assert_eq!(told.state("a"), State::Late);
    assert_eq!(told.monitor.counts().lost, 7);
    assert!(told.events.contains(&MonitorEvent::Gap { lost: 7, at: at(20.0) }));
}

#[test]
fn a_gap_wakes_nobody_from_the_dead() {
    let mut told = Told::new();
    told.beat("a", beat(1), 0.0);
    told.advance(100.0);
    told.lose(1, 100.0);
    told.advance(1000.0);
    assert_eq!(told.state("a"), State::Down);
}

#[test]
fn what_is_no_beat_is_counted_told_and_changes_nothing() {
    let mut told = Told::new();
    told.hear("heartbeat.a", b"beat/5", 0.0);
    let flawed: [(&str, &'static [u8], Malformed); 5] = [
        ("heartbeat.a", b"beat/soon", Malformed::NotANumber),
        ("heartbeat.new", b"\xff\xfe", Malformed::UnknownVerb),
        ("heartbeat", b"beat/5", Malformed::Process),
        ("other.a", b"beat/5", Malformed::Process),
        ("heartbeat.\u{1b}[2J", b"beat/5", Malformed::Process),
    ];
    for (address, payload, expected) in flawed {
        told.hear(address, payload, 1.0);
        let Some(MonitorEvent::Malformed { name, reason, .. }) = told.events.last() else {
            panic!("{:?}", told.events)
        };
        assert_eq!((name.contains('\u{1b}'), *reason), (false, expected));
    }
    assert_eq!(told.monitor.counts().malformed, 5);
    assert_eq!(told.monitor.len(), 1);
    // A malformed beat keeps nobody alive.
    told.advance(6.0);
    assert_eq!(told.state("a"), State::Late);
}

#[test]
fn a_name_that_is_no_subject_is_watched_too() {
    let mut told = Told::new();
    told.hear("heartbeat.my worker", b"beat/5", 0.0);
    assert_eq!(told.state("my worker"), State::Up);
}

#[test]
fn one_process_too_many_is_refused_and_counted() {
    let mut told = Told::with(MonitorOptions::default().with_max_processes(1));
    told.beat("a", beat(5), 0.0);
    told.beat("b", beat(5), 0.0);
    told.beat("a", degraded(5), 0.0);
    assert_eq!(told.monitor.len(), 1);
    assert_eq!(told.monitor.counts().refused, 1);
    assert_eq!(told.state("a"), State::Degraded);
}

#[test]
fn who_is_expected_has_a_place_however_many_others_there_are() {
    let mut told = Told::with(MonitorOptions::default().with_max_processes(1));
    told.beat("a", beat(5), 0.0);
    told.declare("c", 0.0);
    told.declare("a", 0.0);
    told.beat("b", beat(5), 0.0);
    told.beat("d", beat(5), 0.0);
    assert_eq!((told.monitor.len(), told.monitor.counts().refused), (3, 1));
    // Who is expected no more takes one of the others' places, and gives it up.
    told.monitor.undeclare("a", at(1.0), &mut told.events);
    told.monitor.undeclare("c", at(1.0), &mut told.events);
    told.beat("e", beat(5), 1.0);
    assert_eq!((told.monitor.len(), told.monitor.counts().refused), (2, 2));
    told.advance(100.0);
    told.declare("e", 100.0);
    assert_eq!(told.state("e"), State::Expected);
}

#[test]
fn who_was_expected_is_found_in_a_snapshot_of_more_than_there_is_room_for() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    told.beat("b", beat(5), 0.0);
    told.declare("c", 0.0);
    let clock = crate::Clock::start();
    let snapshot = told.monitor.snapshot(&clock);
    let options = MonitorOptions::default().with_max_processes(1);
    let monitor = Monitor::restore(options, &snapshot, &clock);
    let names: Vec<_> = monitor.processes().map(|it| it.process.to_string()).collect();
    assert_eq!((names, monitor.counts().refused), (vec!["a".to_owned(), "c".to_owned()], 1));
}

#[test]
fn the_longest_promise_overflows_nothing() {
    let mut told =
        Told::with(patient(Patience::default().with_missed(u32::MAX).with_grace(Duration::MAX)));
    told.beat("a", Beat::Start { warmup: crate::MAX_PROMISE }, 0.0);
    told.advance(1e9);
    assert_eq!(told.state("a"), State::Starting);
}

#[test]
fn time_never_runs_backwards() {
    let mut told = Told::new();
    told.beat("a", beat(5), 10.0);
    told.beat("a", degraded(5), 5.0);
    assert_eq!(told.states(), [(State::Up, at(10.0)), (State::Degraded, at(10.0))]);
}

#[test]
fn those_under_a_prefix_are_told_apart_from_the_others() {
    let reap = MonitorOptions::default().with_reap_after(Some(Duration::from_secs(100)));
    let mut told = Told::with(reap);
    for (name, beat) in
        [("a.b.2", beat(1)), ("a.bb.1", beat(1)), ("a.b.1", Beat::Stop), ("b.a.b.", beat(1))]
    {
        told.beat(name, beat, 0.0);
    }
    let found: Vec<_> = told.monitor.processes_under("a.b.").collect();
    let names: Vec<_> = found.iter().map(|it| it.process.as_str()).collect();
    assert_eq!(names, ["a.b.1", "a.b.2"]);
    assert_eq!(found.last(), told.monitor.process("a.b.2").as_ref());
    assert_eq!(told.monitor.processes_under("").count(), told.monitor.len());
    assert_eq!(told.monitor.processes_under("c").count(), 0);
    // After the first look as well: one comes, one is forgotten, and another takes its place.
    told.beat("a.b.0", beat(1000), 0.0);
    told.advance(200.0);
    told.beat("c", beat(1000), 200.0);
    let found: Vec<_> = told.monitor.processes_under("a.b.").map(|it| it.process).collect();
    assert_eq!(found, [process("a.b.0")]);
    assert_eq!(told.monitor.processes_under("c").count(), 1);
}

#[test]
fn processes_that_beat_often_cost_one_wake_up_per_promise() {
    let mut told = Told::new();
    let mut wakes = 0;
    for tenth in 0..6000 {
        let seconds = f64::from(tenth) / 10.0;
        if told.monitor.next_deadline().is_some_and(|due| due <= at(seconds)) {
            wakes += 1;
        }
        told.beat("a", beat(5), seconds);
    }
    assert!(wakes <= 600 / 5, "{wakes}");
}

#[test]
fn patience_can_be_set() {
    let options = patient(Patience::default().with_grace(Duration::ZERO).with_missed(0));
    let mut told = Told::with(options);
    told.beat("a", beat(5), 0.0);
    told.advance(5.0);
    let expected = [(State::Up, at(0.0)), (State::Late, at(5.0)), (State::Down, at(5.0))];
    assert_eq!(told.states(), expected);
}

proptest! {
    #[test]
    fn random_bytes_as_beats_never_panic_and_are_all_accounted_for(
        messages in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()),
            0..60,
        )
    ) {
        let mut told = Told::new();
        let sent = messages.len() as u64;
        for (name, payload, prefixed) in messages {
            let name = if prefixed { [b"heartbeat.", &*name].concat() } else { name };
            let message = Message::to(Address::from_wire(None, name), payload);
            told.monitor.hear(&message, at(1.0), &mut told.events);
        }
        let counts = told.monitor.counts();
        prop_assert_eq!(counts.beats + counts.malformed + counts.refused, sent);
    }
}

#[test]
fn a_subject_and_a_process_agree() {
    let message = Message::new(Subject::parse("heartbeat.eu.a").unwrap(), "stop");
    let mut told = Told::new();
    told.monitor.hear(&message, at(0.0), &mut told.events);
    assert_eq!(told.state("eu.a"), State::Stopped);
}
