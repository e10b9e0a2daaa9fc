//! What an ask that nobody answers takes of memory, with the one agent that it waits for.
//!
//! `cargo bench -p sinew-dispatch --bench asks-memory`. Apart from the times, which counting would falsify.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{alloc::System, env, error::Error, future::pending};

use bytes::Bytes;
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PENDING: usize = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let quick = !env::args().any(|arg| arg == "--bench");
    let count = if quick { PENDING / 100 } else { PENDING };
    let dispatcher = Dispatcher::local();
    let silent = |_: Context, _: Bytes| pending::<Result<Bytes, AgentError>>();
    let agent = AnyAgent::new("silent", silent)?.with_concurrency(count);
    let _registered = dispatcher.register("bench.pending", &agent)?;
    // What is made once is no ask's.
    drop(dispatcher.ask("bench.pending", "").send::<Bytes>().await?);
    let mut held = Vec::with_capacity(count);
    let region = Region::new(COUNTING);
    for _ in 0..count {
        held.push(dispatcher.ask("bench.pending", "").send::<Bytes>().await?);
    }
    while agent.running() < count {
        tokio::task::yield_now().await;
    }
    let change = region.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    let blocks = change.allocations - change.deallocations;
    println!("{count} asks under way, each of one agent that is silent");
    println!(
        "  {} bytes in {} blocks an ask, the agent's task included",
        bytes / count,
        blocks / count
    );
    Ok(())
}
