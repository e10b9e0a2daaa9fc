//! A monitor over a link that freezes, in virtual time: nobody tells it at first, if at all, and what was said meanwhile
//! comes through afterwards, in any order.
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
/// Until then freezes begin, and processes crash.
const BUSY: Millis = 200_000;
const END: Millis = 300_000;
/// How long what was held up takes to come through.
const DRAIN: Millis = 400;
/// 2 x (the longest time between two things heard + 0.5 s).
const TOLD_WITHIN: Millis = 2 * (OWN + 500);

#[derive(Clone, Debug)]
struct Freeze {
    from: Millis,
    until: Millis,
    /// When the backend says that the link is down, and that it is up again; what was said in between is lost.
    noticed: Option<(Millis, Millis)>,
}

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

fn freezes() -> impl Strategy<Value = Vec<Freeze>> {
    let freeze = (0..15_000_u64, 1..25_000_u64, any::<bool>(), 1..20_000_u64, 0..3000_u64);
    proptest::collection::vec(freeze, 0..4).prop_map(|freezes| {
        let nth = (0..).zip(freezes);
        nth.map(|(nth, (offset, lasts, tells, after, back))| {
            let from = nth * 50_000 + offset;
            let noticed = (tells && after < lasts).then_some((from + after, from + lasts + back));
            Freeze { from, until: from + lasts, noticed }
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
    Beat(Process, Millis),
    Down,
    Up,
}

/// When what was sent at `at` arrives, if it does.
fn arrival(at: Millis, freezes: &[Freeze]) -> Option<Millis> {
    for freeze in freezes {
        let (from, until) = (freeze.from, freeze.until);
        match freeze.noticed {
            Some((_, up)) if (from..up).contains(&at) => return None,
            None if (from..until).contains(&at) => return Some(until + at * 7919 % DRAIN),
            _ => {}
        }
    }
    Some(at)
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
    freezes: &[Freeze],
    options: MonitorOptions,
) -> Result<Vec<(Millis, MonitorEvent)>> {
    let own =
        Sender { period: 2 * OWN, gaps: vec![1000 * OWN / (2 * OWN + 990) + 1], crashes: None };
    let mut inputs = Vec::new();
    let named = (0..).zip(senders).map(|(nth, sender)| (format!("p{nth}"), sender));
    for (name, sender) in named.chain([("own".to_owned(), &own)]) {
        let process = Process::parse(&name)?;
        let arrivals = sender.sends().into_iter().filter_map(|at| arrival(at, freezes));
        inputs.extend(arrivals.map(|at| (at, Input::Beat(process.clone(), sender.period))));
    }
    for (down, up) in freezes.iter().filter_map(|freeze| freeze.noticed) {
        inputs.extend([(down, Input::Down), (up, Input::Up)]);
    }
    inputs.sort_by_key(|(at, _)| *at);

    let mut monitor = Monitor::new(options);
    let (mut told, mut all) = (Vec::new(), Vec::new());
    let mut keep = |now, told: &mut Vec<_>| all.extend(told.drain(..).map(|it| (now, it)));
    for (now, input) in inputs {
        while let Some(due) = monitor.next_deadline().filter(|due| *due < at(now)) {
            monitor.advance(due, &mut told);
            keep(millis(due), &mut told);
        }
        match input {
            Input::Beat(process, period) => {
                let period = Duration::from_millis(period);
                monitor.beat(&process, Beat::Beat { period }, at(now), &mut told);
            }
            Input::Down => monitor.link_down(at(now), &mut told),
            Input::Up => monitor.link_up(at(now), &mut told),
        }
        keep(now, &mut told);
    }
    Ok(all)
}

fn wary() -> MonitorOptions {
    MonitorOptions::default().with_blind_after(Some(Duration::from_millis(2 * OWN + 1000)))
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
        freezes in freezes(),
    ) {
        let told = play(&senders, &freezes, wary()).unwrap();
        let over = |it: &Freeze| it.noticed.map_or(it.until, |(_, up)| up);
        // From then on all is as usual; the first thing heard may be the next beat.
        let quiet = freezes.iter().map(over).max().map_or(0, |at| at + OWN);
        for (nth, sender) in senders.iter().enumerate() {
            let name = format!("p{nth}");
            let heard = sender.sends().into_iter().filter_map(|at| arrival(at, &freezes)).max();
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

/// One sender, and a link that is frozen for ten seconds and says nothing.
fn frozen() -> (Vec<Sender>, Vec<Freeze>) {
    let sender = Sender { period: 1000, gaps: vec![500], crashes: None };
    let freeze = Freeze { from: 20_000, until: 30_000, noticed: None };
    (vec![sender], vec![freeze])
}

#[test]
fn a_freeze_is_one_blindness() {
    let (senders, freezes) = frozen();
    let told = play(&senders, &freezes, wary()).unwrap();
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
fn without_anything_to_hear_a_freeze_looks_like_a_death() {
    let (senders, freezes) = frozen();
    let told = play(&senders, &freezes, MonitorOptions::default()).unwrap();
    assert!(states(&told, "p0").any(|(_, to, _)| to == State::Down), "{told:#?}");
}
