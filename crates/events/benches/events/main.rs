//! Events beside lapin itself, beside the adapter alone, and beside nameko, on a real RabbitMQ: one run, turn by turn.
//!
//! `cargo bench -p sinew-events --bench events [-- memory|emit|handle|latency]`. Times are medians of the rounds; ratios
//! are of rounds that followed each other.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod emit;
mod handle;
mod latency;
mod memory;
mod original;
mod raw;
mod report;

use std::{env, error::Error};

use serde::{Deserialize, Serialize};
use sinew_adapter_amqp::{Amqp, AmqpOptions, ExchangePolicy};
use sinew_core::ErrorKind;
use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many emits wait for their confirm at most, and how many deliveries for their ack.
const WINDOW: u16 = 512;
/// How many events ours and nameko's handle at once: what both do where nothing is said.
const WORKERS: usize = 10;
/// Who emits, and who handles.
const SOURCE: &str = "orders";
const SERVICE: &str = "billing";

/// Some 200 bytes of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    id: u64,
    customer: String,
    currency: String,
    total: f64,
    note: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Line {
    sku: String,
    quantity: u32,
}

fn order(id: u64) -> Order {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
    Order {
        id,
        customer: "c-1138".to_owned(),
        currency: "EUR".to_owned(),
        total: 129.9,
        note: "leave it with the neighbours on the second floor".to_owned(),
        lines: vec![line("A-4711", 2), line("B-0815", 1)],
    }
}

fn main() -> Outcome {
    let is_quick = !env::args().any(|arg| arg == "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // In a task, as in a service.
    runtime.block_on(async move { tokio::spawn(run(is_quick)).await? })
}

async fn run(is_quick: bool) -> Outcome {
    let broker = match RabbitMqOptions::new().start().await {
        Ok(broker) => broker,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            println!("skipped: {err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    // First: what others leave behind would count.
    if wanted("memory") {
        memory::run(&broker, is_quick).await?;
    }
    if wanted("emit") {
        emit::run(&broker, is_quick).await?;
    }
    if wanted("handle") {
        handle::run(&broker, is_quick).await?;
    }
    if wanted("latency") {
        latency::run(&broker, is_quick).await?;
    }
    Ok(())
}

/// Whether the command line names it, or nothing.
fn wanted(what: &str) -> bool {
    let mut names = env::args().skip(1).filter(|name| !name.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == what)
}

/// A connection of its own.
async fn connect(broker: &RabbitMq) -> Outcome<Amqp> {
    let options = AmqpOptions::new(broker.url())
        .with_exchanges(ExchangePolicy::declare())
        .with_confirm_window(WINDOW.into());
    Ok(options.connect().await?)
}
