//! Publishing with confirms and consuming with acks, through the adapter and through raw lapin: one broker, one run,
//! turn by turn.
//!
//! `cargo bench -p sinew-adapter-amqp --bench amqp [-- publish|consume]`. Times are medians of the rounds, per
//! message; ratios are of rounds that followed each other, to lapin's.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod workload;

use std::{env, sync::LazyLock, time::Instant};

use bytes::Bytes;
use sinew_core::ErrorKind;
use sinew_testkit::harness::rabbitmq::RabbitMqOptions;

use self::workload::{Bench, Contender, Outcome, PREFETCH, SIZES, WINDOW, Work};

/// Odd, so that a median is one of them.
const ROUNDS: usize = 15;
const TARGET: f64 = 1.05;
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // In a task, as in a service.
    runtime.block_on(async { tokio::spawn(run()).await? })
}

async fn run() -> Outcome {
    let broker = match RabbitMqOptions::new().start().await {
        Ok(broker) => broker,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            println!("skipped: {err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    let bench = Bench::connect(&broker.url(), nanoseconds).await?;
    println!("confirm window {WINDOW}, prefetch {PREFETCH}, {ROUNDS} rounds, turn by turn");
    println!(
        "ratio = its time to lapin's, median of paired rounds [quartiles]; target at most {TARGET}"
    );
    let rounds = if env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    for work in Work::ALL.into_iter().filter(|work| wanted(work.name())) {
        for (size, count) in SIZES {
            compare(&bench, work, size, count, rounds).await?;
        }
    }
    Ok(())
}

fn nanoseconds() -> u64 {
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Whether the command line names it, or nothing.
fn wanted(what: &str) -> bool {
    let mut names = env::args().skip(1).filter(|name| !name.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == what)
}

async fn compare(bench: &Bench, work: Work, size: usize, count: usize, rounds: usize) -> Outcome {
    let payload = Bytes::from(vec![b'x'; size]);
    let mut lanes: Vec<_> = work.contenders().iter().map(|who| (*who, Vec::new())).collect();
    // The first round warms up.
    for round in 0..=rounds {
        // Each round another one starts, so that nobody always goes first.
        let turn = round % lanes.len();
        let (later, sooner) = lanes.split_at_mut(turn);
        for (who, times) in sooner.iter_mut().chain(later) {
            let time = bench.round(work, *who, &payload, count).await?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    println!("\n{}, {size} bytes, {count} messages a round", work.name());
    let lapin = lanes.first().map(|(_, times)| times.clone()).unwrap_or_default();
    for (who, mut times) in lanes {
        let ratio =
            ratio(&times, &lapin, matches!(who, Contender::Adapter | Contender::AdapterOneByOne));
        times.sort_unstable();
        let per_message = times.get(times.len() / 2).map_or(0, |time| time / count as u64);
        println!("  {:<22} {per_message:>7} ns   {ratio}", who.name());
    }
    Ok(())
}

/// Quartiles of the ratios of rounds that followed each other, and a verdict on our own.
#[expect(clippy::cast_precision_loss, reason = "a float holds days of nanoseconds exactly")]
fn ratio(own: &[u64], other: &[u64], is_ours: bool) -> String {
    let mut ratios: Vec<f64> = own.iter().zip(other).map(|(a, b)| *a as f64 / *b as f64).collect();
    ratios.sort_by(f64::total_cmp);
    let quartile = |index| ratios.get(ratios.len() * index / 4).copied().unwrap_or(f64::NAN);
    let (low, median, high) = (quartile(1), quartile(2), quartile(3));
    let verdict = match (is_ours, low <= 1.0 && high >= 1.0, median <= TARGET) {
        (false, ..) => "",
        (true, true, _) => " indistinguishable",
        (true, false, true) => " within the target",
        (true, false, false) => " misses the target",
    };
    format!("{median:.2} [{low:.2} {high:.2}]{verdict}")
}
