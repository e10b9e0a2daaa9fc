//! Beats that were old when they came.
use super::*;

impl Told {
    /// Hears what was said `age` seconds before.
    fn replay(&mut self, beat: Beat, age: f64, seconds: f64) {
        let subject = Subject::parse("heartbeat.a").unwrap();
        let message = Message::new(subject, beat.to_string());
        let age = Duration::from_secs_f64(age);
        self.monitor.hear_aged(&message, age, at(seconds), &mut self.events);
    }

    fn found(&self) -> Option<State> {
        self.monitor.process("a").map(|it| it.state)
    }

    fn due(&self) -> Option<Timestamp> {
        self.monitor.process("a").and_then(|it| it.deadline)
    }
}

#[test]
fn an_old_beat_promises_from_when_it_was_said() {
    let mut told = Told::new();
    told.replay(beat(5), 4.0, 100.0);
    assert_eq!((told.found(), told.due()), (Some(State::Up), Some(at(102.0))));
}

#[test]
fn a_beat_whose_promise_has_run_out_makes_nobody_known_or_up() {
    let mut told = Told::new();
    told.replay(beat(5), 6.0, 100.0);
    assert_eq!(told.found(), None);
    told.beat("a", beat(5), 100.0);
    told.monitor.advance(at(200.0), &mut told.events);
    told.replay(beat(5), 30.0, 200.0);
    told.replay(start(60), 61.0, 200.0);
    assert_eq!(told.found(), Some(State::Down));
    assert_eq!((told.monitor.counts().beats, told.monitor.counts().stale), (1, 3));
}

#[test]
fn it_puts_off_when_a_late_one_is_down_to_what_it_promised() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    told.monitor.advance(at(15.0), &mut told.events);
    assert_eq!((told.found(), told.due()), (Some(State::Late), Some(at(16.0))));
    told.replay(beat(5), 10.0, 15.0);
    assert_eq!((told.found(), told.due()), (Some(State::Late), Some(at(21.0))));
    // One that promised less takes nothing back.
    told.replay(beat(1), 9.0, 15.0);
    assert_eq!(told.due(), Some(at(21.0)));
}

#[test]
fn what_is_older_than_what_is_known_is_no_news() {
    let mut told = Told::new();
    told.beat("a", beat(5), 100.0);
    told.replay(Beat::Stop, 50.0, 101.0);
    told.replay(degraded(3600), 50.0, 101.0);
    assert_eq!((told.found(), told.due()), (Some(State::Up), Some(at(106.0))));
    // Of the same moment, as far as two clocks can tell.
    told.replay(Beat::Stop, 1.5, 101.0);
    assert_eq!(told.found(), Some(State::Stopped));
}

#[test]
fn what_waited_while_the_monitor_stood_still_is_not_old() {
    let mut told = Told::new();
    told.beat("a", beat(5), 0.0);
    let gap = Duration::from_secs(100);
    told.monitor.stalled(gap, at(101.0), &mut told.events);
    // Said at 1.5 s, half a second after it went still.
    told.replay(beat(5), 99.5, 101.0);
    assert_eq!((told.found(), told.due()), (Some(State::Up), Some(at(107.0))));
    // Said at 0.5 s.
    told.replay(beat(5), 101.5, 102.0);
    assert_eq!(told.due(), Some(at(106.5)));
}

proptest! {
    /// Whatever is replayed, in any order, beside what is heard in time.
    #[test]
    fn an_old_beat_wakes_nobody_and_moves_no_deadline_beyond_what_it_promised(
        heard in proptest::collection::vec((0..20_000_u64, 0..4_usize, 0..20_u64, 0..60_000_u64), 1..60)
    ) {
        let mut told = Told::new();
        let mut now = Duration::ZERO;
        // When all that was said so far has run out: nobody is there beyond that.
        let mut until = Duration::ZERO;
        for (wait, verb, promise, age) in heard {
            now += Duration::from_millis(wait);
            let beat = [start(promise), beat(promise), degraded(promise), Beat::Stop][verb];
            let age = Duration::from_millis(age).min(now);
            told.replay(beat, age.as_secs_f64(), now.as_secs_f64());
            if beat != Beat::Stop {
                until = until.max(now.saturating_sub(age) + Duration::from_secs(3 * promise + 1));
            }
            let status = told.monitor.process("a");
            let due = status.as_ref().and_then(|it| it.deadline).map(Timestamp::since_start);
            prop_assert!(due.is_none_or(|due| due <= until + Duration::from_nanos(100)), "{due:?} {until:?}");
            let is_alive = status.is_some_and(|it| it.state.is_alive());
            let promised = now.saturating_sub(age) + Duration::from_secs(promise + 1);
            prop_assert!(!is_alive || until >= now);
            // What has run out is counted, and wakes nobody.
            if beat != Beat::Stop && promised <= now {
                let woken = told.events.last().and_then(MonitorEvent::transition);
                let is_woken = woken.is_some_and(|it| it.to.is_alive() && it.at.since_start() == now && wait > 0);
                prop_assert!(age.is_zero() || !is_woken);
            }
        }
        prop_assert!(told.events.is_sorted_by_key(MonitorEvent::at));
    }
}
