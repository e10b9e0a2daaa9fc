//! The monitor alone, on one thread, parsing included: beats a second beside a bare hash map, bytes a process, and how
//! long it takes to report many deadlines.
//!
//! `cargo bench -p sinew-beat --bench monitor`. Names have 32 bytes, messages are made beforehand, the order is
//! shuffled.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{
    alloc::System,
    collections::HashMap,
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use sinew_beat::{Beat, Monitor, MonitorEvent, MonitorOptions, Timestamp};
use sinew_core::{Error, IntoPayload as _, Message, Subject};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Odd, so that a median is one of them.
const ROUNDS: usize = 9;
const PERIOD: Duration = Duration::from_secs(5);

fn main() -> Result<(), Error> {
    let quick = !env::args().any(|arg| arg == "--bench");
    for count in [100_000, 1_000_000] {
        let count = if quick { count / 1000 } else { count };
        let messages = beats(count)?;
        rates(&messages, if quick { 1 } else { ROUNDS });
        memory(&messages);
        deadlines(&messages, Duration::ZERO);
        deadlines(&messages, Duration::from_secs(1));
    }
    Ok(())
}

/// A beat of each of so many processes, in an order of no meaning.
fn beats(count: usize) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::with_capacity(count);
    for number in 0..count {
        let subject = Subject::parse(&format!("heartbeat.eu-west-1.payments.worker-{number:09}"))?;
        messages.push(Message::new(subject, Beat::Beat { period: PERIOD }.into_payload()?));
    }
    // Fisher and Yates, by a generator of Knuth's: the same order each time.
    let mut random = 1_u64;
    for last in (1..messages.len()).rev() {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(random >> 33).unwrap_or_default() % (last + 1);
        messages.swap(last, place);
    }
    Ok(messages)
}

fn monitor(messages: &[Message]) -> Monitor {
    Monitor::new(MonitorOptions::default().with_max_processes(messages.len()))
}

fn hear(monitor: &mut Monitor, messages: &[Message], at: Timestamp, told: &mut Vec<MonitorEvent>) {
    for message in messages {
        monitor.hear(message, at, told);
    }
}

/// Turn by turn: everyone is heard once by a monitor that knows them all, and entered once into a map that has them
/// all.
fn rates(messages: &[Message], rounds: usize) {
    let mut told = Vec::new();
    let mut ours = monitor(messages);
    let mut map: HashMap<Box<str>, Timestamp> = HashMap::new();
    let second = |round: usize| Timestamp::from_start(Duration::from_secs(round as u64));
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    // The first round is for getting to know them.
    for round in 0..=rounds {
        let began = Instant::now();
        hear(&mut ours, messages, second(round), &mut told);
        let took = began.elapsed();
        told.clear();
        let began = Instant::now();
        for message in messages {
            let subject = message.address.subject().map_or("", Subject::as_str);
            match map.get_mut(subject) {
                Some(at) => *at = second(round),
                None => drop(map.insert(subject.into(), second(round))),
            }
        }
        black_box(&map);
        if round > 0 {
            bare.push(began.elapsed());
            own.push(took);
        }
    }
    let mut ratios: Vec<_> =
        bare.iter().zip(&own).map(|(bare, own)| bare.as_secs_f64() / own.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    let (own, bare) = (median(own), median(bare));
    let rate = |took: Duration| per_second(messages.len(), took);
    println!(
        "{} processes: {} beats/s; a bare hash map {}/s; ratio {:.2} [{:.2} {:.2}]",
        messages.len(),
        rate(own),
        rate(bare),
        quartile(&ratios, 2),
        quartile(&ratios, 1),
        quartile(&ratios, 3),
    );
}

/// What is held for each process, once all that was told is read.
fn memory(messages: &[Message]) {
    let region = Region::new(ALLOCATOR);
    let mut ours = monitor(messages);
    let mut told = Vec::new();
    for part in messages.chunks(1000) {
        hear(&mut ours, part, Timestamp::START, &mut told);
        told.clear();
    }
    drop(told);
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!("{} processes: {} bytes each", messages.len(), held / messages.len());
    black_box(ours);
}

/// Everyone breaks its promise within `spread`, and is told of by a caller who calls when it is asked to.
fn deadlines(messages: &[Message], spread: Duration) {
    let mut ours = monitor(messages);
    let mut told = Vec::with_capacity(messages.len());
    for (number, message) in messages.iter().enumerate() {
        let share = number as f64 / messages.len() as f64;
        ours.hear(message, Timestamp::from_start(spread.mul_f64(share)), &mut told);
    }
    told.clear();
    // The instants at which it wants to be called, as the clock comes to them; late by what came before took.
    let began = Instant::now();
    let (mut late, mut start) = (Duration::ZERO, None);
    while let Some(due) = ours.next_deadline() {
        let start = *start.get_or_insert(due);
        let now = due.max(start.after(began.elapsed()));
        if told.len() == messages.len() {
            break;
        }
        ours.advance(now, &mut told);
        let done = start.after(began.elapsed());
        late = late.max(done.since(due));
    }
    println!(
        "{} deadlines within {spread:?}: all told after {:?}, each at most {late:?} late",
        messages.len(),
        began.elapsed(),
    );
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

fn quartile(sorted: &[f64], number: usize) -> f64 {
    sorted.get(sorted.len() * number / 4).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most millions")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of whole beats"
)]
fn per_second(count: usize, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64()) as u64
}
