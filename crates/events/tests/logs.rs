//! What is logged, and what is not. Alone in its program: who listens to a callsite is known to all threads.
use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::Result;
use sinew_events::{
    Context, ContextData, EventDispatcher, EventHandler, HandlerError, RetryPolicy, Service,
    ServiceEvent,
};
use tokio::runtime::Builder;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// All that was said, in spans and events, a line each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Lines {
    fn say(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Text)) -> u64 {
        let mut text = Text(format!("{} {}", metadata.level(), metadata.name()));
        record(&mut text);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(text.0);
        lines.len() as u64
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sinew_events"
    }

    fn new_span(&self, new: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.say(new.metadata(), |text| new.record(text)))
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut text = Text(String::from("recorded"));
        values.record(&mut text);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
    }

    fn event(&self, event: &Event<'_>) {
        self.say(event.metadata(), |text| event.record(text));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn scene() -> Result<()> {
    let handler = EventHandler::new(
        "orders",
        "created",
        "on_created",
        |_: Context, order: serde_json::Value| async move {
            match order.get("fails").and_then(serde_json::Value::as_str) {
                Some("in panic") => {
                    assert!(order.is_null(), "no such card: {order}");
                    Ok(())
                }
                Some("as usual") => Err(HandlerError::permanent("as usual")),
                Some(_) => Err(HandlerError::permanent("on fire")),
                None => Ok(()),
            }
        },
    )
    .with_expected_errors(|err| err.to_string() == "as usual")
    .with_sensitive_arguments(["card.number"]);
    let backend = MemoryBroker::new().connect().into_any();
    let open =
        EventHandler::new("orders", "opened", "on_opened", |_: Context, door: u64| async move {
            assert_ne!(door, 7, "no such door");
            Ok::<_, HandlerError>(())
        });
    let service = Service::new("billing")?.with_retry(RetryPolicy::none());
    let service = service.with_handler(handler)?.with_handler(open)?;
    let mut events = service.events();
    let _running = service.start(&backend).await?;
    let mut cause = ContextData::default();
    cause.insert("auth_token", "s3cret")?;
    cause.insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
    let orders = EventDispatcher::new(&backend, "orders")?.with_context(cause);
    for fails in [None, Some("as usual"), Some("badly"), Some("in panic")] {
        let order = serde_json::json!({"card": {"number": "4111", "name": "Ann"}, "fails": fails});
        orders.emit("created", &order).await?;
        while !matches!(events.next().await, Some(Ok(ServiceEvent::Settled(_)))) {}
    }
    orders.emit("opened", &7).await?;
    while !matches!(events.next().await, Some(Ok(ServiceEvent::Settled(_)))) {}
    Ok(())
}

#[test]
fn logs_tell_what_failed_and_no_secret() {
    std::panic::set_hook(Box::new(|_| {}));
    let lines = Lines::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(lines.clone(), || runtime.block_on(scene())).unwrap();
    let lines = lines.0.lock().unwrap();
    let all = lines.join("\n");
    let has = |texts: &[&str]| lines.iter().any(|line| texts.iter().all(|it| line.contains(it)));
    assert!(has(&["WARN", "billing.on_created", "as usual", "permanent"]), "{all}");
    assert!(has(&["ERROR", "billing.on_created", "on fire"]), "{all}");
    assert!(!has(&["ERROR", "as usual"]), "{all}");
    assert!(has(&["ERROR", "billing.on_created", "panicked", "see its log"]), "{all}");
    assert!(has(&["WARN", "billing.on_opened", "no such door"]), "{all}");
    assert!(!has(&["no such card"]), "{all}");
    assert!(has(&["TRACE", "********", "Ann"]), "{all}");
    assert!(has(&["DEBUG handle", "orders.events/created", "billing.on_created"]), "{all}");
    assert!(has(&["DEBUG run", "traceparent", "4bf92f3577b34da6a3ce929d0e0e4736"]), "{all}");
    assert!(has(&["recorded", "DeadLettered"]), "{all}");
    for secret in ["4111", "s3cret"] {
        assert!(!all.contains(secret), "{all}");
    }
}
