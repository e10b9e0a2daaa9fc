//! How many allocations a message costs, through the adapter and through raw lapin: all threads of the process, the
//! client's included.
//!
//! `cargo bench -p sinew-adapter-amqp --bench amqp-allocations`. Apart from the times, which counting would falsify.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod workload;

use std::alloc::System;

use bytes::Bytes;
use sinew_core::ErrorKind;
use sinew_testkit::harness::rabbitmq::RabbitMqOptions;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::workload::{Bench, Outcome, SIZES, Work};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
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
    let bench = Bench::connect(&broker.url(), allocations).await?;
    println!("allocations and reallocations a message");
    for work in Work::ALL {
        for (size, count) in SIZES {
            let payload = Bytes::from(vec![b'x'; size]);
            println!("\n{}, {size} bytes", work.name());
            for who in work.contenders() {
                // The first round warms up.
                bench.round(work, *who, &payload, count).await?;
                let tenths = bench.round(work, *who, &payload, count).await? * 10 / count as u64;
                println!("  {:<22} {:>3}.{}", who.name(), tenths / 10, tenths % 10);
            }
        }
    }
    Ok(())
}

fn allocations() -> u64 {
    let stats = COUNTING.stats();
    (stats.allocations + stats.reallocations) as u64
}
