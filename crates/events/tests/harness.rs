//! The harness that users test their services with.
use std::time::Duration;

use sinew_adapter_memory::MemoryBroker;
use sinew_core::{ErrorKind, Result};
use sinew_events::{Context, EventHandler, HandlerError, Service, SettledAs, testing::Harness};
use tokio::time::Instant;

async fn start() -> Result<Harness> {
    let created =
        EventHandler::new("orders", "created", "on_created", |ctx: Context, id: u64| async move {
            ctx.emit("seen", &id).await?;
            ctx.emit("billed", &format!("{id} billed")).await?;
            Ok::<_, HandlerError>(())
        });
    let deleted =
        EventHandler::new("orders", "deleted", "on_deleted", |_: Context, _: u64| async {
            Err::<(), _>(HandlerError::new("never"))
        });
    let service = Service::new("billing")?.with_handler(created)?.with_handler(deleted)?;
    Harness::start(&service, &MemoryBroker::new().connect().into_any()).await
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_is_seen_to_its_end() {
    let mut harness = start().await.unwrap();
    harness.emit("orders", "created", &7).await.unwrap();
    assert_eq!(harness.settled("on_created").await.unwrap().outcome, SettledAs::Handled);
    assert_eq!(harness.emitted::<String>("billed").await.unwrap(), "7 billed");
    harness.emit("orders", "deleted", &7).await.unwrap();
    let settled = harness.settled("on_deleted").await.unwrap();
    assert_eq!(settled.outcome, SettledAs::DeadLettered);
    assert_eq!(settled.error.as_deref(), Some("never"));
    harness.finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_beyond_what_is_held_is_told_as_lost() {
    let handler = EventHandler::new(
        "orders",
        "created",
        "on_created",
        |ctx: Context, count: u64| async move {
            for number in 0..count {
                ctx.emit("counted", &number).await?;
            }
            Ok::<_, HandlerError>(())
        },
    );
    let service = Service::new("billing").unwrap().with_handler(handler).unwrap();
    let backend = MemoryBroker::new().connect().into_any();
    let mut harness = Harness::start(&service, &backend).await.unwrap();
    harness.emit("orders", "created", &100_000).await.unwrap();
    harness.settled("on_created").await.unwrap();
    let err = harness.emitted::<u64>("billed").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_happen_is_told_in_time() {
    let mut harness = start().await.unwrap().with_deadline(Duration::from_secs(5));
    let began = Instant::now();
    assert_eq!(harness.settled("on_created").await.unwrap_err().kind(), ErrorKind::Timeout);
    let err = harness.emitted::<u64>("billed").await.unwrap_err();
    assert_eq!((err.kind(), began.elapsed()), (ErrorKind::Timeout, Duration::from_secs(10)));
    let err = harness.emit("orders", "craeted", &7).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unroutable, "nobody handles what is misspelt");
}
