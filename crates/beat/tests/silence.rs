//! A monitor over a link that freezes, in virtual time: nobody tells it at first, if at all, and what was said meanwhile
//! comes through afterwards, in any order. Or it stands still itself.
use std::time::Duration;

use proptest::prelude::*;
use sinew_beat::{
    Beat, BlindCause, Monitor, MonitorEvent, MonitorOptions, Process, State, Timestamp,
};
use sinew_core::Result;

/// In milliseconds, all of them.
type Millis = u64;

/// The watch's own heart beats so often, and is heard like any other.
const OWN: Millis = 1000;
/// Until then faults begin, and processes crash.
const BUSY: Millis = 200_000;
const END: Millis = 300_000;
/// How long what was held up takes to come through.
const DRAIN: Millis = 400;
/// 2 x (the longest time between two things heard + 0.5 s).
const TOLD_WITHIN: Millis = 2 * (OWN + 500);

#[derive(Clone, Debug)]
struct Fault {
    from: Millis,
    until: Millis,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The link is frozen, and nobody says so.
    Frozen,
    /// The link is frozen. The backend says at the one instant that it is down, and at the other one, after the freeze,
    /// that it is up again; what was said in between is lost.
    Noticed { down: Millis, up: Millis },
    /// The monitor stands still, and its own heart with it.
    Stopped,
}

/// As a watch has it whose own heart promises 2 s.
const BLIND_AFTER: Millis = 2 * OWN + 1000;

#[derive(Clone, Debug)]
struct Sender {
    period: Millis,
    /// How long it waits between beats, over and over: thousandths of what its promise allows.
    gaps: Vec<u64>,
    /// It sends nothing from then on.
    crashes: Option<Millis>,
}

impl Sender {
    fn sends(&self) -> Vec<Millis> {
        // A heart that suppresses may be late by up to a second.
        let longest = self.period + 990;
        let end = self.crashes.unwrap_or(END);
        let gaps = self.gaps.iter().cycle().map(|gap| (longest * gap / 1000).max(100));
        let at = gaps.scan(0, |at, gap| Some(std::mem::replace(at, *at + gap)));
        at.take_while(|at| *at < end).collect()
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = (0..3_u8, 0..15_000_u64, 1..25_000_u64, 1..20_000_u64, 0..3000_u64);
    proptest::collection::vec(fault, 0..4).prop_map(|faults| {
        let nth = (0..).zip(faults);
        nth.map(|(nth, (kind, offset, lasts, after, back))| {
            let from = nth * 50_000 + offset;
            let until = from + lasts;
            let kind = match kind {
                0 => Kind::Stopped,
                1 if after < lasts => Kind::Noticed { down: from + after, up: until + back },
                _ => Kind::Frozen,
            };
            Fault { from, until, kind }
        })
        .collect()
    })
}

fn senders() -> impl Strategy<Value = Vec<Sender>> {
    let period = prop_oneof![0..300_u64, 300..10_000_u64];
    let gaps = proptest::collection::vec(1..=1000_u64, 1..20);
    let sender = (period, gaps, proptest::option::of(1..BUSY))
        .prop_map(|(period, gaps, crashes)| Sender { period, gaps, crashes });
    proptest::collection::vec(sender, 1..4)
}

enum Input {
    /// It runs again, before it hears what waited.
    Woken,
    Beat(Process, Millis),
    Down,
    Up,
}

/// When what was sent at `at` is heard, if it is.
fn arrival(at: Millis, faults: &[Fault]) -> Option<Millis> {
    for &Fault { from, until, kind } in faults {
        match kind {
            Kind::Noticed { up, .. } if (from..up).contains(&at) => return None,
            Kind::Frozen if (from..until).contains(&at) => return Some(until + at * 7919 % DRAIN),
            Kind::Stopped if (from..until).contains(&at) => return Some(until),
            _ => {}
        }
    }
    Some(at)
}

fn is_stopped(at: Millis, faults: &[Fault]) -> bool {
    let stops = |it: &Fault| matches!(it.kind, Kind::Stopped) && (it.from..it.until).contains(&at);
    faults.iter().any(stops)
}

fn at(millis: Millis) -> Timestamp {
    Timestamp::from_start(Duration::from_millis(millis))
}

fn millis(at: Timestamp) -> Millis {
    let at = at.since_start();
    at.as_secs() * 1000 + u64::from(at.subsec_millis())
}

/// What is told, and when.
fn play(
    senders: &[Sender],
    faults: &[Fault],
    options: MonitorOptions,
) -> Result<Vec<(Millis, MonitorEvent)>> {
    let own =
        Sender { period: 2 * OWN, gaps: vec![1000 * OWN / (2 * OWN + 990) + 1], crashes: None };
    let mut inputs = Vec::new();
    let named = (0..).zip(senders).map(|(nth, sender)| (format!("p{nth}"), sender));
    for (name, sender) in named.chain([("own".to_owned(), &own)]) {
        let process = Process::parse(&name)?;
        let sends = sender.sends().into_iter();
        let sends = sends.filter(|at| name != "own" || !is_stopped(*at, faults));
        let arrivals = sends.filter_map(|at| arrival(at, faults));
        inputs.extend(arrivals.map(|at| (at, Input::Beat(process.clone(), sender.period))));
    }
    for fault in faults {
        match fault.kind {
            Kind::Noticed { down, up } => inputs.extend([(down, Input::Down), (up, Input::Up)]),
            Kind::Stopped => inputs.push((fault.until, Input::Woken)),
            Kind::Frozen => {}
        }
    }
    inputs.sort_by_key(|(at, input)| (*at, !matches!(input, Input::Woken)));

    let mut monitor = Monitor::new(options);
    let (mut told, mut all) = (Vec::new(), Vec::new());
    let mut keep = |now, told: &mut Vec<_>| all.extend(told.drain(..).map(|it| (now, it)));
    let mut turn = 0;
    for (now, input) in inputs {
        let is_in_time = |due: &Timestamp| *due < at(now) && !is_stopped(millis(*due), faults);
        while let Some(due) = monitor.next_deadline().filter(is_in_time) {
            monitor.advance(due, &mut told);
            turn = turn.max(millis(due));
            keep(turn, &mut told);
        }
        match input {
            Input::Woken if now - turn >= BLIND_AFTER => {
                monitor.stalled(Duration::from_millis(now - turn), at(now), &mut told);
            }
            Input::Woken => {}
            Input::Beat(process, period) => {
                let period = Duration::from_millis(period);
                monitor.beat(&process, Beat::Beat { period }, at(now), &mut told);
            }
            Input::Down => monitor.link_down(at(now), &mut told),
            Input::Up => monitor.link_up(at(now), &mut told),
        }
        turn = now;
        keep(now, &mut told);
    }
    Ok(all)
}

fn wary() -> MonitorOptions {
    MonitorOptions::default().with_blind_after(Some(Duration::from_millis(BLIND_AFTER)))
}

fn states<'a>(
    told: &'a [(Millis, MonitorEvent)],
    name: &'a str,
) -> impl Iterator<Item = (Millis, State, Millis)> + 'a {
    told.iter().filter_map(move |(now, event)| {
        let it = event.transition().filter(|it| it.process.as_str() == name)?;
        Some((*now, it.to, millis(it.at)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whoever_keeps_its_promise_is_not_even_late_and_whoever_ends_is_down_in_time(
        senders in senders(),
        faults in faults(),
    ) {
        let told = play(&senders, &faults, wary()).unwrap();
        let over = |it: &Fault| if let Kind::Noticed { up, .. } = it.kind { up } else { it.until };
        // From then on all is as usual; the first thing heard may be the next beat.
        let quiet = faults.iter().map(over).max().map_or(0, |at| at + OWN);
        for (nth, sender) in senders.iter().enumerate() {
            let name = format!("p{nth}");
            let heard = sender.sends().into_iter().filter_map(|at| arrival(at, &faults)).max();
            let down = states(&told, &name).find(|(_, to, _)| *to == State::Down);
            match (sender.crashes, heard) {
                (None, _) => {
                    let wronged = states(&told, &name).find(|(_, to, _)| *to != State::Up);
                    prop_assert!(wronged.is_none(), "{name}: {wronged:?} {told:#?}");
                }
                (Some(_), None) => prop_assert_eq!(down, None),
                (Some(_), Some(heard)) => {
                    let patience = 3 * sender.period + 1000;
                    prop_assert!(down.is_some(), "{name}: {told:#?}");
                    let (now, _, since) = down.unwrap();
                    prop_assert!(heard + patience <= since && since <= now, "{name}: {told:#?}");
                    let bound = heard.max(quiet) + patience + TOLD_WITHIN;
                    prop_assert!(now <= bound, "{name}: told at {now}, bound {bound}: {told:#?}");
                }
            }
        }
        // Blind and sighted take turns, and nobody is judged in between.
        let mut blind = false;
        for (_, event) in &told {
            match event {
                MonitorEvent::Blind { .. } => prop_assert!(!std::mem::replace(&mut blind, true)),
                MonitorEvent::Sighted { .. } => prop_assert!(std::mem::replace(&mut blind, false)),
                MonitorEvent::Transition(it) => {
                    prop_assert!(!blind || matches!(it.to, State::Up), "{told:#?}");
                }
                _ => {}
            }
        }
    }
}

/// One sender, and what befalls the link or the monitor for ten seconds.
fn befallen(kind: Kind) -> (Vec<Sender>, Vec<Fault>) {
    let sender = Sender { period: 1000, gaps: vec![500], crashes: None };
    (vec![sender], vec![Fault { from: 20_000, until: 30_000, kind }])
}

#[test]
fn a_freeze_is_one_blindness() {
    let (senders, faults) = befallen(Kind::Frozen);
    let told = play(&senders, &faults, wary()).unwrap();
    let sight: Vec<_> = told.iter().filter(|(_, it)| it.transition().is_none()).collect();
    let [(blind, MonitorEvent::Blind { cause, at, .. }), (sighted, MonitorEvent::Sighted { .. })] =
        sight[..]
    else {
        panic!("{sight:#?}")
    };
    assert_eq!((cause, millis(*at) + 3000), (&BlindCause::Silent, *blind));
    assert!(
        (19_000..20_000).contains(&millis(*at)) && (30_000..30_400).contains(sighted),
        "{sight:#?}"
    );
}

#[test]
fn a_monitor_that_stood_still_was_not_blind() {
    let (senders, faults) = befallen(Kind::Stopped);
    let told = play(&senders, &faults, wary()).unwrap();
    let stalled: Vec<_> = told.iter().filter(|(_, it)| it.transition().is_none()).collect();
    assert!(matches!(stalled[..], [(30_000, MonitorEvent::Stalled { .. })]), "{stalled:#?}");
}

#[test]
fn without_anything_to_hear_a_freeze_looks_like_a_death() {
    let (senders, faults) = befallen(Kind::Frozen);
    let told = play(&senders, &faults, MonitorOptions::default()).unwrap();
    assert!(states(&told, "p0").any(|(_, to, _)| to == State::Down), "{told:#?}");
}
