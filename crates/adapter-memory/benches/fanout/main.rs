//! What a message costs from one publisher to 1, 8 and 64 subscribers: this adapter beside the channels that it could
//! be replaced by, all carrying the same [`Message`], in one run.
//!
//! `cargo bench -p sinew-adapter-memory --bench fanout`; as services are shipped, with
//! `CARGO_PROFILE_BENCH_LTO=thin CARGO_PROFILE_BENCH_CODEGEN_UNITS=1`: the channels are generic, and so optimized with
//! whoever uses them in any case; an adapter is not.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop with a trace")]

mod contenders;
mod interleaved;

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use sinew_core::{Message, Subject};
use tokio::runtime::{Builder, Runtime};

use self::{
    contenders::{Broadcast, Contender, Flume, Mpsc, Sinew},
    interleaved::{Comparison, Measured, compare},
};

/// How many messages one round sends: fewer than any contender's buffer holds.
const BATCH: usize = 256;
const BUFFER: usize = 1024;
const TARGET: f64 = 1.5;

fn main() -> ExitCode {
    // `cargo test --benches` only wants to know that it builds and runs.
    let is_measuring = std::env::args().any(|arg| arg == "--bench");
    let budget = Duration::from_millis(if is_measuring { 2500 } else { 1 });
    let message = Message::new(Subject::parse("bench.fanout").unwrap(), Bytes::from(vec![7; 64]));
    println!("per message, publish to last receipt; {BATCH} messages a round, rounds interleaved");
    println!(
        "ratio = memory / other, median of paired rounds [quartiles]; target at most {TARGET}"
    );
    let mut is_within = true;
    for (scene, runtime) in [("one thread", one_thread()), ("two threads", two_threads())] {
        for subscribers in [1, 8, 64] {
            let mut contenders: Vec<Box<dyn Contender>> = vec![
                Box::new(Sinew::new(&runtime, subscribers)),
                Box::new(Broadcast::new(subscribers)),
                Box::new(Mpsc::new(subscribers)),
                Box::new(Flume::new(subscribers)),
            ];
            // On one thread the whole batch is sent, then read; on two, subscribers are tasks that read as it comes.
            let is_spawned = scene == "two threads";
            let comparison = compare(&mut contenders, budget, |contender| {
                contender.round(&runtime, &message, is_spawned);
            });
            is_within &= report(scene, subscribers, &comparison);
        }
    }
    println!("{}", if is_within { "within the target" } else { "NOT within the target" });
    ExitCode::SUCCESS
}

fn report(scene: &str, subscribers: usize, comparison: &Comparison) -> bool {
    println!("\n{scene}, {subscribers} subscribers ({} rounds)", comparison.rounds);
    let mut is_within = true;
    for Measured { name, median, ratio } in &comparison.contenders {
        is_within &= ratio.median <= TARGET;
        println!("  {name:<16} {:>7} ns   {ratio}", median.as_nanos() / BATCH as u128);
    }
    is_within
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
