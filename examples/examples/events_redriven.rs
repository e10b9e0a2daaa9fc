//! Events of one service, handled by a pool of two: what fails for good is kept, and handled once it can be.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sinew_core::{Queue, Result};
use sinew_events::{
    Context, ErrorQueue, EventDispatcher, EventHandler, HandlerError, PayloadOptions, RetryPolicy,
    Service, ServiceEvent, ServiceEvents, SettledAs,
};

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
    currency: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let backend = sinew_connect::connect("memory:").await?;
    // What billing depends on, and does not have yet: the rate of the franc.
    let knows_francs = Arc::new(AtomicBool::new(false));
    let billing = billing(&knows_francs)?;
    let mut told = billing.events();
    // Two instances of one service: each event comes to one of them.
    let pool = [billing.start(&backend).await?, billing.start(&backend).await?];

    let orders = EventDispatcher::new(&backend, "orders")?;
    for (id, currency) in [(1, "EUR"), (2, "CHF"), (3, "EUR")] {
        orders.emit("created", &Order { id, currency: currency.to_owned() }).await?;
    }
    see(&mut told, 3).await?;

    knows_francs.store(true, Ordering::Relaxed);
    let queue = Queue::parse("evt-orders-created--billing.on_created")?;
    for event in ErrorQueue::new(&backend, queue)?.take(100, Duration::from_secs(5)).await? {
        println!("redriven: {}", event.error().unwrap_or_default());
        event.redrive().await?;
    }
    see(&mut told, 1).await?;

    for running in pool {
        running.drain(Duration::from_secs(5)).await?;
    }
    Ok(())
}

fn billing(knows_francs: &Arc<AtomicBool>) -> Result<Service> {
    let knows_francs = Arc::clone(knows_francs);
    let on_created = move |_: Context, order: Order| {
        let is_known = order.currency == "EUR" || knows_francs.load(Ordering::Relaxed);
        async move {
            is_known.then_some(()).ok_or_else(|| {
                HandlerError::new(format!("order {}: no rate for {}", order.id, order.currency))
            })
        }
    };
    // Impatient, so that the example ends soon: the default takes its time, up to five minutes.
    let delays = [Duration::from_millis(50)];
    let retry = RetryPolicy::default().with_delays(delays).with_jitter(false);
    let handler = EventHandler::new("orders", "created", "on_created", on_created);
    Service::new("billing")?.with_retry(retry).with_handler(handler)
}

/// Prints what becomes of events, until `open` of them are handled or given up.
async fn see(told: &mut ServiceEvents, mut open: u32) -> Result<()> {
    while open > 0
        && let Some(event) = told.next().await
    {
        let Ok(ServiceEvent::Settled(it)) = event else { continue };
        let order: Order = PayloadOptions::default().decode(&it.message)?;
        println!("order {}, {} runs: {:?}", order.id, it.runs, it.outcome);
        open -= u32::from(matches!(it.outcome, SettledAs::Handled | SettledAs::DeadLettered));
    }
    Ok(())
}
