//! What a service and its handlers say of what they emit, and read of what comes.
use std::collections::HashSet;

use sinew_core::Value;
use sinew_events::{
    Context, ContextData, EmitOptions, EventDispatcher, EventHandler, HandlerError, HeaderPrefix,
    Service,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::Scene;

/// A handler of the events `event_type` of `source`, and the contexts that it has.
fn hearing(source: &str, event_type: &str) -> (EventHandler, UnboundedReceiver<Context>) {
    let (tell, told) = unbounded_channel();
    let handler = EventHandler::new(source, event_type, "on_it", move |ctx: Context, _: u64| {
        let told = tell.send(ctx);
        async move { told.map_err(HandlerError::new) }
    });
    (handler, told)
}

fn service(name: &str, handler: EventHandler) -> Service {
    Service::new(name).unwrap().with_handler(handler).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_reads_behind_its_own_prefix_and_emits_behind_that_of_its_service() {
    let scene = Scene::new();
    let acme = HeaderPrefix::parse("acme").unwrap();
    let (tell, mut told) = unbounded_channel();
    let relay =
        EventHandler::new("orders", "created", "on_created", move |ctx: Context, id: u64| {
            let told = tell.send(ctx.clone());
            async move {
                told?;
                ctx.emit("billed", &id).await?;
                Ok::<_, HandlerError>(())
            }
        });
    let _billing = scene.start(&service("billing", relay.with_header_prefix(acme.clone()))).await;
    let (other, mut heard) = hearing("orders", "created");
    let _stock = scene.start(&service("stock", other)).await;
    let (last, mut billed) = hearing("billing", "billed");
    let _mailing = scene.start(&service("mailing", last)).await;
    let mut cause = ContextData::default();
    cause.insert("language", "en").unwrap();
    let orders = scene.orders().with_header_prefix(acme).with_context(cause);
    orders.emit("created", &7).await.unwrap();
    assert_eq!(told.recv().await.unwrap().language(), Some("en"));
    let heard = heard.recv().await.unwrap();
    assert_eq!((heard.language(), heard.text("acme.language")), (None, Some("en")));
    let billed = billed.recv().await.unwrap();
    let names: Vec<_> = billed.message().headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["nameko.language", "nameko.call_id_stack"]);
    assert_eq!(billed.language(), Some("en"));
}

#[tokio::test(start_paused = true)]
async fn handlers_emit_as_their_service_says_where_an_emit_says_nothing_else() {
    let scene = Scene::new();
    let relay =
        EventHandler::new("orders", "created", "on_created", |ctx: Context, id: u64| async move {
            let own = EmitOptions::new().with_correlation_id("own").with_header("shop", "north")?;
            ctx.emit("billed", &id).await?;
            ctx.emit_with("billed", &id, &own).await?;
            Ok::<_, HandlerError>(())
        });
    let options = EmitOptions::new().with_correlation_id("all").with_message_id("1");
    let options = options.with_header("shop", "south").unwrap().with_header("till", 3).unwrap();
    let _billing = scene.start(&service("billing", relay).with_emit_options(options)).await;
    let (last, mut billed) = hearing("billing", "billed");
    let _mailing = scene.start(&service("mailing", last).with_max_workers(1)).await;
    scene.emit("created", 7_u64).await;
    let mut ids = HashSet::from(["1".to_owned()]);
    for (correlation, shop) in [("all", "south"), ("own", "north")] {
        let it = billed.recv().await.unwrap();
        let (properties, headers) = (it.message().properties().unwrap(), &it.message().headers);
        assert_eq!(properties.correlation_id.as_deref(), Some(correlation));
        // That of all would be a second copy's from the second one on.
        assert!(ids.insert(properties.id.clone().unwrap()), "{ids:?}");
        let shops: Vec<_> = headers.texts("shop").collect();
        assert_eq!((shops, headers.integer("till")), (vec![shop], Some(3)));
    }
}

/// The stack of what is emitted after `hops` calls, by services that track so many.
async fn stack_after(hops: u64, tracked: Option<usize>) -> Vec<String> {
    let scene = Scene::new();
    let relay =
        EventHandler::new("billing", "hop", "on_hop", |ctx: Context, left: u64| async move {
            match left {
                0 => ctx.emit("done", &left).await?,
                _ => ctx.emit("hop", &(left - 1)).await?,
            };
            Ok::<_, HandlerError>(())
        });
    let mut relay = service("billing", relay);
    if let Some(tracked) = tracked {
        relay = relay.with_calls_tracked(tracked);
    }
    let _billing = scene.start(&relay).await;
    let (last, mut done) = hearing("billing", "done");
    let _mailing = scene.start(&service("mailing", last)).await;
    let first = EventDispatcher::new(&scene.connect(), "billing").unwrap();
    first.emit("hop", &(hops - 1)).await.unwrap();
    let done = done.recv().await.unwrap();
    let stack: Vec<_> = done.call_id_stack().map(str::to_owned).collect();
    let sent = done.message().headers.value("nameko.call_id_stack");
    assert_eq!(sent, Some(&stack.iter().map(String::as_str).collect::<Value>()));
    stack
}

#[tokio::test(start_paused = true)]
async fn so_many_parents_of_a_call_go_on_as_its_service_tracks() {
    for (hops, tracked, calls) in
        [(5, Some(2), 3), (5, Some(0), 1), (2, Some(2), 2), (15, Some(20), 15), (15, None, 11)]
    {
        let stack = stack_after(hops, tracked).await;
        assert_eq!(stack.len(), calls, "{tracked:?} after {hops}");
        assert!(stack.iter().all(|it| it.starts_with("billing.on_hop.")), "{stack:?}");
    }
}
