//! Asks in this process beside a bare `JoinSet` with a channel and beside ate-dispatcher, and over a real nats-server
//! beside an inbox loop on the raw client: one run, turn by turn.
//!
//! `cargo bench -p sinew-dispatch --bench asks [-- local|nats]`. Times are medians of the rounds; ratios are of rounds that
//! followed each other.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod local;
mod nats;
mod original;

use std::{env, error::Error, time::Duration};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Odd, so that a median is one of them.
const ROUNDS: usize = 15;

fn main() -> Outcome {
    let rounds = if env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // In a task, as in a service.
    runtime.block_on(async move {
        tokio::spawn(async move {
            if wanted("local") {
                local::run(rounds).await?;
            }
            if wanted("nats") {
                nats::run(rounds).await?;
            }
            Outcome::Ok(())
        })
        .await?
    })
}

/// Whether the command line names it, or nothing.
fn wanted(what: &str) -> bool {
    let mut names = env::args().skip(1).filter(|name| !name.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == what)
}

/// The middle one, in microseconds.
fn median(times: &[Duration]) -> f64 {
    quantile(times, 1, 2)
}

/// The one at `part` of `whole`, in microseconds.
fn quantile(times: &[Duration], part: usize, whole: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * part / whole).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, Duration::as_secs_f64) * 1e6
}

/// Quartiles of the ratios of rounds that followed each other, and whether the middle one is within the target.
fn ratio(ours: &[Duration], other: &[Duration], target: Option<f64>) -> String {
    let mut ratios: Vec<f64> =
        ours.iter().zip(other).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| ratios.get((ratios.len() * part / 4).min(ratios.len() - 1)).copied();
    let [Some(low), Some(middle), Some(high)] = [at(1), at(2), at(3)] else { return String::new() };
    let verdict = match target {
        Some(target) if middle <= target => " within the target",
        Some(_) => " misses the target",
        None => "",
    };
    format!("{middle:.3} [{low:.3} {high:.3}]{verdict}")
}
