//! The program of `docs/from-nameko.md`, word for word, and a way in.
use std::{env, fs, time::Duration};

use serde::{Deserialize, Serialize};
use sinew_adapter_amqp::NamekoConfig;
use sinew_events::{
    AnySerializer, Context, EventHandler, HandlerError, PayloadOptions, Profile, Service,
};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = NamekoConfig::parse(&fs::read_to_string("config.yaml")?)?;
    let profile = match env::var("PROFILE").as_deref() {
        Ok("safe") => Profile::Safe,
        _ => Profile::Nameko,
    };
    let payload =
        PayloadOptions::from_names(config.serializer(), config.accept(), AnySerializer::named)?;
    let billing = Service::new("billing")?
        .with_profile(profile)
        .with_max_workers(config.max_workers())
        .with_prefetch(config.prefetch_count())
        .with_calls_tracked(config.calls_tracked())
        .with_payload(payload)
        .with_handler(EventHandler::new("orders", "created", "on_created", on_created))?;

    let backend = config.options().connect().await?.into_any();
    let running = billing.start(&backend).await?;
    running.run_until(terminated, Duration::from_secs(30)).await?;
    Ok(())
}

async fn on_created(ctx: Context, order: Order) -> Result<(), HandlerError> {
    ctx.emit("billed", &order).await?;
    Ok(())
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Runs it, in a process of its own.
pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
