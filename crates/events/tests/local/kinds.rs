//! Who of several has an event.
use std::sync::atomic::Ordering::SeqCst;

use sinew_events::{CallId, Context, EventHandler, HandlerError, HandlerKind, Service, SettledAs};

use crate::support::{Scene, counting, outcomes, settled};

fn service(name: &str, handler: &EventHandler) -> Service {
    Service::new(name).unwrap().with_handler(handler.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pool_has_an_event_once_each_service_and_a_singleton_once_in_all() {
    for (kind, expected) in
        [(HandlerKind::ServicePool, 2), (HandlerKind::Singleton, 1), (HandlerKind::Broadcast, 3)]
    {
        let scene = Scene::new();
        let (handler, runs) = counting(|_| Ok(()));
        let handler = handler.with_kind(kind).with_reliable_delivery(false);
        let mut heard = Vec::new();
        for name in ["billing", "billing", "stock"] {
            let running = scene.start(&service(name, &handler)).await;
            heard.push((running.events(), running));
        }
        for id in 0..10 {
            scene.emit("created", id).await;
        }
        let mut handled = 0;
        for (_, running) in &mut heard {
            let name = running.counts().next().unwrap().1.clone();
            assert!(name.as_str().starts_with("evt-orders-created"), "{name}");
        }
        while handled < expected * 10 {
            tokio::task::yield_now().await;
            handled =
                heard.iter().map(|(_, it)| it.counts().map(|it| it.2.succeeded).sum::<u64>()).sum();
        }
        assert_eq!((handled, runs.load(SeqCst) as u64), (expected * 10, expected * 10), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_type_with_wildcards_is_a_pattern() {
    let scene = Scene::new();
    let handler =
        EventHandler::new("orders", "created.#", "on_any", |ctx: Context, _: u64| async move {
            ctx.emit("seen", &ctx.message().subject().map(|it| it.as_str().to_owned())).await?;
            Ok::<_, HandlerError>(())
        });
    let running = scene.start(&service("billing", &handler)).await;
    let mut events = running.events();
    for event_type in ["created", "deleted", "created.eu.west"] {
        scene.emit(event_type, 1).await;
    }
    assert_eq!(outcomes(&mut events, 2).await, [SettledAs::Handled; 2]);
    let (_, queue, counts) = running.counts().next().unwrap();
    assert_eq!(queue.as_str(), "evt-orders-created.#--billing.on_any");
    assert_eq!((counts.received, counts.succeeded), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn empty_and_spaced_event_types_are_handled() {
    for event_type in ["", "order created"] {
        let scene = Scene::new();
        let handler =
            EventHandler::new("orders", event_type, "on_it", |_: Context, _: u64| async {
                Ok::<_, HandlerError>(())
            });
        let running = scene.start(&service("billing", &handler)).await;
        let mut events = running.events();
        scene.emit(event_type, 1).await;
        assert_eq!(settled(&mut events).await.outcome, SettledAs::Handled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_events_carries_its_calls_and_its_context_and_its_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let scene = Scene::new();
    let hop =
        EventHandler::new("orders", "created", "on_created", |ctx: Context, id: u64| async move {
            ctx.clone().with("tenant", "acme")?.emit("billed", &id).await?;
            Ok::<_, HandlerError>(())
        });
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let last = EventHandler::new("billing", "billed", "on_billed", move |ctx: Context, id: u64| {
        let told = tell.send((ctx, id));
        async move { told }
    });
    let _billing = scene.start(&service("billing", &hop)).await;
    let _stock = scene.start(&service("stock", &last)).await;
    let mut cause = sinew_events::ContextData::default();
    cause.insert("language", "en").unwrap();
    cause.insert("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
    scene.orders().with_context(cause).emit("created", &7).await.unwrap();
    let (ctx, id) = told.recv().await.unwrap();
    assert_eq!((id, ctx.language(), ctx.text("tenant")), (7, Some("en"), Some("acme")));
    let calls: Vec<_> = ctx.call_id_stack().collect();
    assert!(
        matches!(calls.as_slice(), [call] if call.starts_with("billing.on_created.")),
        "{calls:?}"
    );
    let own: &CallId = ctx.call_id();
    assert!(own.as_str().starts_with("stock.on_billed."));
    let trace = ctx.message().headers.text("nameko.traceparent").unwrap();
    assert!(trace.starts_with(&format!("00-{TRACE}-")) && !trace.contains("00f067aa0ba902b7"));
}
