//! What a service of many handlers takes, as the operating system counts it.
use std::{
    fs,
    future::ready,
    time::{Duration, Instant},
};

use sinew_events::{Context, EventHandler, HandlerError, Service};
use sinew_testkit::harness::rabbitmq::RabbitMq;

use crate::{Order, Outcome, SERVICE, SOURCE, connect};

const HANDLERS: usize = 1_000;
const DRAIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(broker: &RabbitMq, is_quick: bool) -> Outcome {
    let handlers = if is_quick { HANDLERS / 100 } else { HANDLERS };
    let backend = connect(broker).await?.into_any();
    // What is made once is no handler's.
    service(1)?.start(&backend).await?.drain(DRAIN).await?;
    let Some(before) = resident() else {
        println!("memory skipped: this system does not tell what is resident");
        return Ok(());
    };
    let began = Instant::now();
    let running = service(handlers)?.start(&backend).await?;
    let took = began.elapsed();
    let after = resident().unwrap_or_default();
    let more = after.saturating_sub(before);
    println!(
        "\na service of {handlers} handlers, each with its queue, its channel and nothing to do"
    );
    println!(
        "  {} KiB resident, {} KiB a handler beside the {before} KiB of one that is connected; started in {:.1} s",
        after,
        more / handlers as u64,
        took.as_secs_f64()
    );
    Ok(running.drain(DRAIN).await?)
}

fn service(handlers: usize) -> Outcome<Service> {
    let mut service = Service::new(SERVICE)?;
    for number in 0..handlers {
        let handler = |_: Context, _: Order| ready(Ok::<_, HandlerError>(()));
        let event_type = format!("idle-{number}");
        let method = format!("on_idle_{number}");
        service = service.with_handler(EventHandler::new(SOURCE, &event_type, &method, handler))?;
    }
    Ok(service)
}

/// KiB of this process that are in memory.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
