//! What a run does and when: played through, and held against random work, checks and failures.
use proptest::prelude::*;

use super::*;

const WARMUP: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(2);
/// A quarter of the interval.
const AGAIN: Duration = Duration::from_millis(500);

const START: Beat = Beat::Start { warmup: WARMUP };
const BEAT: Beat = Beat::Beat { period: PERIOD };
const DEGRADED: Beat = Beat::Degraded { period: PERIOD };

/// A rhythm whose publishes and checks take no time, and what it did, in milliseconds since its begin.
struct Play {
    rhythm: Rhythm,
    begin: Instant,
    now: Instant,
    ticks: u64,
    /// What the check says; none if it does not answer.
    health: Option<Health>,
    /// What becomes of a publish.
    outcome: Option<Pulse>,
    said: Vec<(u128, Beat)>,
    abandoned: u32,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            rhythm: Rhythm::new((WARMUP, PERIOD, INTERVAL), 0, now),
            begin: now,
            now,
            ticks: 0,
            health: Some(Health::Up),
            outcome: Some(Pulse::Sent),
            said: Vec::new(),
            abandoned: 0,
        }
    }

    /// Does all that is due up to then, with a tick at every turn if the work gets on.
    fn until(&mut self, end: Duration, gets_on: bool) {
        let end = self.begin + end;
        let mut at_this_instant = 0;
        loop {
            self.ticks += u64::from(gets_on);
            at_this_instant += 1;
            assert!(at_this_instant < 8, "it never waits: {:?}", self.rhythm);
            match self.rhythm.turn(self.ticks, self.now) {
                Turn::Say(beat) => {
                    self.said.push(((self.now - self.begin).as_millis(), beat));
                    self.rhythm.said(beat, self.outcome, self.now, self.now);
                }
                Turn::Ask => {
                    if let Some(health) = self.health {
                        self.rhythm.checked(health);
                    }
                }
                Turn::Abandon => self.abandoned += 1,
                Turn::Wait(until) => {
                    assert!(until > self.now, "{:?}", self.rhythm);
                    if until > end {
                        self.now = end;
                        return;
                    }
                    self.now = until;
                    at_this_instant = 0;
                }
            }
        }
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_starts_and_beats_once_an_interval_while_the_work_gets_on() {
    let mut play = Play::new();
    play.until(seconds(5), true);
    assert_eq!(play.said, [(0, START), (500, BEAT), (2500, BEAT), (4500, BEAT)]);
}

#[test]
fn without_a_tick_since_the_last_beat_there_is_none() {
    let mut play = Play::new();
    play.until(seconds(100), false);
    assert_eq!(play.said, [(0, START)]);
    play.ticks += 1;
    play.until(seconds(200), false);
    assert_eq!(play.said.len(), 2, "one tick, one beat: {:?}", play.said);
}

#[test]
fn a_late_tick_is_told_within_a_quarter_of_the_interval() {
    let mut play = Play::new();
    play.until(Duration::from_millis(99_900), false);
    play.ticks += 1;
    play.until(seconds(110), false);
    assert_eq!(play.said, [(0, START), (100_000, BEAT)]);
}

#[test]
fn what_fails_is_tried_again_sooner_than_an_interval_and_never_given_up() {
    let mut play = Play::new();
    play.outcome = None;
    play.until(seconds(100), true);
    let tries: Vec<_> = play.said.iter().map(|&(at, _)| at).collect();
    let expected: Vec<u128> = (0..=200).map(|index| index * AGAIN.as_millis()).collect();
    assert_eq!(tries, expected);
    // The start is worth nothing once there is progress to tell.
    assert_eq!((play.said[0].1, play.said[1].1), (START, BEAT));
    play.outcome = Some(Pulse::Sent);
    play.said.clear();
    play.until(seconds(103), true);
    assert_eq!(play.said, [(100_500, BEAT), (102_500, BEAT)], "and nothing is made up for");
}

#[test]
fn a_start_that_failed_is_tried_again_while_there_is_nothing_else_to_say() {
    let mut play = Play::new();
    play.outcome = None;
    play.until(seconds(1), false);
    play.outcome = Some(Pulse::Sent);
    play.until(seconds(10), false);
    assert_eq!(play.said, [0, 500, 1000, 1500].map(|at| (at, START)));
}

#[test]
fn a_change_is_said_when_it_is_known_and_again_while_it_is_suppressed() {
    let mut play = Play::new();
    play.until(seconds(3), true);
    play.said.clear();
    play.health = Some(Health::Degraded);
    // Asked at 4 s, in the middle between two beats.
    play.until(seconds(5), true);
    assert_eq!(play.said, [(4000, DEGRADED)]);
    play.health = Some(Health::Up);
    play.outcome = Some(Pulse::Suppressed);
    play.said.clear();
    play.until(seconds(7), true);
    assert_eq!(play.said, [6000, 6500, 7000].map(|at| (at, BEAT)));
}

#[test]
fn a_check_that_does_not_answer_is_dropped_and_means_degraded() {
    let mut play = Play::new();
    play.health = None;
    play.until(Duration::from_millis(1999), true);
    assert_eq!(play.said, [(0, START)]);
    play.until(seconds(7), true);
    assert_eq!(play.abandoned, 3);
    assert_eq!(play.said, [(0, START), (2000, DEGRADED), (4000, DEGRADED), (6000, DEGRADED)]);
}

#[test]
fn a_slow_check_delays_no_beat() {
    let mut play = Play::new();
    play.until(seconds(1), true);
    play.health = None;
    play.until(Duration::from_millis(2999), true);
    assert_eq!(play.said, [(0, START), (500, BEAT), (2500, BEAT)]);
    play.rhythm.checked(Health::Up);
    play.until(seconds(5), true);
    assert_eq!(play.abandoned, 0);
    assert_eq!(play.said.last(), Some(&(4500, BEAT)));
}

#[test]
fn the_longest_and_the_shortest_intervals_wait_and_overflow_nothing() {
    for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let mut play = Play::new();
        play.rhythm = Rhythm::new((WARMUP, PERIOD, interval), 0, play.now);
        play.until(seconds(2), true);
        let expected = if interval == Duration::MAX { 2 } else { 2001 };
        assert_eq!(play.said.len(), expected, "{interval:?}");
        assert_eq!(play.said.last().map(|it| it.1), Some(BEAT));
    }
}

/// What happens at a turn of the work.
#[derive(Clone, Copy, Debug)]
struct Event {
    wait: u64,
    ticks: bool,
    /// 0 no answer, 1 up, 2 degraded.
    answer: u8,
    /// 0 failed, 1 suppressed, else sent.
    outcome: u8,
    /// How long a publish takes.
    takes: u64,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (1..400_u64, any::<bool>(), 0..3_u8, 0..6_u8, 0..50_u64).prop_map(
        |(wait, ticks, answer, outcome, takes)| Event { wait, ticks, answer, outcome, takes },
    );
    proptest::collection::vec(event, 1..300)
}

proptest! {
    /// Beats, ticks, answers and failures in any order.
    #[test]
    fn a_beat_is_true_and_no_beat_is_kept_back(events in events()) {
        let interval = Duration::from_secs(1);
        let again = Duration::from_millis(250);
        let mut now = Instant::now();
        let mut rhythm = Rhythm::new((WARMUP, PERIOD, interval), 0, now);
        let (mut ticks, mut told) = (0_u64, 0_u64);
        let mut health = None;
        let (mut asked, mut said) = (false, None::<(Instant, Beat)>);
        // Since when there has been something to say, and no try.
        let mut untold: Option<Instant> = None;
        for event in events {
            let mut turns = 0;
            loop {
                turns += 1;
                prop_assert!(turns < 8, "it never waits: {:?}", rhythm);
                match rhythm.turn(ticks, now) {
                    Turn::Ask => {
                        prop_assert!(!asked, "two checks at once");
                        asked = true;
                    }
                    Turn::Abandon => {
                        prop_assert!(asked);
                        asked = false;
                        health = Some(Health::Degraded);
                    }
                    Turn::Say(beat) => {
                        let then = now;
                        let tick = ticks;
                        now += Duration::from_millis(event.takes);
                        let outcome = [None, Some(Pulse::Suppressed)]
                            .get(usize::from(event.outcome)).copied().unwrap_or(Some(Pulse::Sent));
                        if beat != START {
                            prop_assert!(tick != told, "a beat without progress");
                            prop_assert_eq!(Some(beat), health.map(|it| rhythm.beat(it)));
                            if let Some((at, last)) = said {
                                prop_assert!(last != beat || then >= at + interval, "a burst");
                            }
                        }
                        rhythm.said(beat, outcome, then, now);
                        untold = None;
                        match outcome {
                            Some(Pulse::Sent) if beat != START => {
                                said = Some((then, beat));
                                told = tick;
                            }
                            // What others believe is not known now.
                            None => said = None,
                            _ => {}
                        }
                    }
                    Turn::Wait(until) => {
                        prop_assert!(until > now);
                        break;
                    }
                }
            }
            // Time passes, to the next deadline at most, as in a run.
            let Turn::Wait(until) = rhythm.turn(ticks, now) else { panic!("it waited") };
            now = until.min(now + Duration::from_millis(event.wait));
            ticks += u64::from(event.ticks);
            if asked && event.answer > 0 {
                asked = false;
                let answer = if event.answer == 1 { Health::Up } else { Health::Degraded };
                health = Some(answer);
                rhythm.checked(answer);
            }
            let is_due = said.is_none_or(|(at, _)| now >= at + interval);
            if ticks != told && health.is_some() && is_due {
                let since = *untold.get_or_insert(now);
                prop_assert!(now <= since + again, "kept back: {:?}", rhythm);
            }
        }
    }
}
