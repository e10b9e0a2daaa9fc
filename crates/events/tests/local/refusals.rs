//! What is refused, and when: before anything is consumed.
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{AnyBackend, ErrorKind};
use sinew_events::{
    Context, EventDispatcher, EventHandler, HandlerError, HandlerKind, Profile, Service,
};

use crate::support::{Scene, billing, counting};

fn handler() -> EventHandler {
    counting(|_| Ok(())).0
}

#[test]
fn a_reliable_broadcast_without_an_identifier_is_refused_as_it_is_built() {
    let service = || Service::new("billing").unwrap();
    let broadcast = handler().with_kind(HandlerKind::Broadcast);
    let err = service().with_handler(broadcast.clone()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    assert!(err.to_string().contains("with_broadcast_identifier"), "{err}");
    assert!(service().with_handler(broadcast.clone().with_broadcast_identifier("h7")).is_ok());
    assert!(service().with_handler(broadcast.with_reliable_delivery(false)).is_ok());
}

#[test]
fn names_that_are_none_are_refused_as_it_is_built() {
    let refused = |source: &str, event_type: &str, method: &str| {
        let handler = EventHandler::new(source, event_type, method, |_: Context, _: u64| async {
            Ok::<_, HandlerError>(())
        });
        Service::new("billing").unwrap().with_handler(handler).unwrap_err().kind()
    };
    assert_eq!(refused("", "created", "on_created"), ErrorKind::InvalidName);
    assert_eq!(refused("orders", "created", "on.created"), ErrorKind::InvalidName);
    assert_eq!(refused("orders", "*.>", "on_created"), ErrorKind::InvalidPattern);
    assert_eq!(refused("orders", &"t".repeat(250), "on_created"), ErrorKind::InvalidName);
    let twice = billing(handler()).with_handler(handler()).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_service_without_handlers_is_refused() {
    let scene = Scene::new();
    let err = Service::new("billing").unwrap().start(&scene.connect()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    assert!(err.to_string().contains("EventDispatcher"), "{err}");
}

/// A service of two handlers, of which one has the queue that is the other's error queue.
fn colliding() -> Service {
    let singleton = |event_type: &str, method: &str| {
        EventHandler::new("orders", event_type, method, |_: Context, _: u64| async {
            Ok::<_, HandlerError>(())
        })
        .with_kind(HandlerKind::Singleton)
    };
    let service = Service::new("billing").unwrap();
    let service = service.with_handler(singleton("created.errors", "on_error")).unwrap();
    service.with_handler(singleton("created", "on_created")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_anothers_error_queue_is_refused_where_errors_are_kept() {
    let scene = Scene::new();
    let err = colliding().start(&scene.connect()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert_eq!(err.subject(), Some("billing.on_error"));
    assert!(err.to_string().contains("the error queue of `evt-orders-created`"), "{err}");
    assert_eq!(scene.broker.stats().queues, 0);
    drop(scene.start(&colliding().with_profile(Profile::Nameko)).await);
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_error_queue_has_too_long_a_name_is_refused_where_errors_are_kept() {
    let scene = Scene::new();
    let of_bytes = |bytes: usize| {
        let event_type = "t".repeat(bytes - "evt-orders---billing.on_it".len());
        billing(EventHandler::new("orders", &event_type, "on_it", |_: Context, _: u64| async {
            Ok::<_, HandlerError>(())
        }))
    };
    for bytes in [249, 255] {
        let err = of_bytes(bytes).start(&scene.connect()).await.unwrap_err();
        assert_eq!((err.kind(), err.subject()), (ErrorKind::InvalidName, Some("billing.on_it")));
        assert!(err.to_string().contains("its error queue"), "{err}");
        drop(scene.start(&of_bytes(bytes).with_profile(Profile::Nameko)).await);
    }
    drop(scene.start(&of_bytes(248)).await);
}

#[tokio::test(start_paused = true)]
async fn a_second_broadcast_of_the_same_identifier_is_refused_as_it_starts() {
    let scene = Scene::new();
    let broadcast =
        |id| billing(handler().with_kind(HandlerKind::Broadcast).with_broadcast_identifier(id));
    let first = scene.start(&broadcast("h7")).await;
    let err = broadcast("h7").start(&scene.connect()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(err.to_string().contains("another instance"), "{err}");
    let _other = scene.start(&broadcast("h8")).await;
    let shared = broadcast("h7").with_shared_broadcasts(true);
    drop(scene.start(&shared).await);
    drop(first);
    // Who has just gone is waited for.
    let _again = scene.start(&broadcast("h7")).await;
}

#[tokio::test(start_paused = true)]
async fn requeueing_without_end_is_refused_where_failures_are_retried() {
    let scene = Scene::new();
    let service = billing(handler().with_requeue_on_error(true));
    let err = service.start(&scene.connect()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    assert_eq!(scene.broker.stats().queues, 0);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_keeps_nothing_is_refused_by_reliable_handlers_and_taken_by_others() {
    let memory = MemoryBroker::new().connect().into_any();
    let passing = || {
        AnyBackend::new(memory.link())
            .with_publisher(memory.publisher().unwrap())
            .with_subscriber(memory.subscriber().unwrap())
    };
    let err = billing(handler()).start(&passing()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
    assert!(err.to_string().contains("nats+js://"), "{err}");
    let (handler, _) = counting(|run| match run {
        3 => Ok(()),
        _ => Err(HandlerError::new("not yet")),
    });
    let running = billing(handler.with_reliable_delivery(false)).start(&passing()).await.unwrap();
    let mut events = running.events();
    let orders = EventDispatcher::new(&memory, "orders").unwrap();
    orders.emit("created", &7).await.unwrap();
    let settled = crate::support::settled(&mut events).await;
    assert_eq!((settled.outcome, settled.runs), (sinew_events::SettledAs::Handled, 3));
}

#[tokio::test]
async fn a_context_outside_of_a_service_emits_nothing() {
    let message = sinew_core::Message::new(sinew_core::Subject::parse("a").unwrap(), "");
    let context =
        Context::new("billing.on_created".parse().unwrap(), "orders".parse().unwrap(), message);
    let err = context.emit("billed", &7).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
    assert!(!context.is_cancelled());
}
