//! Layers, hooks, and handlers that block.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use sinew_core::BoxFuture;
use sinew_events::{
    AnyHandler, BoxError, ConcurrencyLayer, Context, EventHandler, HandlerError, Invocation,
    RetryPolicy, Returned, Service, SettledAs, TimeoutLayer, blocking,
};
use tower_layer::layer_fn;
use tower_service::Service as TowerService;

use crate::support::{QUEUE, Scene, a_second, billing, counting, outcomes};

/// A layer as users write them: it boxes errors, changes the payload, and notes what it sees.
#[derive(Clone)]
struct Noting {
    inner: AnyHandler,
    seen: Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
}

impl TowerService<Invocation> for Noting {
    type Response = Returned;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Returned, BoxError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut invocation: Invocation) -> Self::Future {
        self.seen.lock().unwrap().push(self.name);
        if let Some(id) = invocation.payload_mut::<u64>() {
            *id += 1;
        }
        let running = self.inner.call(invocation);
        Box::pin(async move { running.await.map_err(Into::into) })
    }
}

#[tokio::test(start_paused = true)]
async fn layers_run_around_each_run_the_last_one_outside() {
    let scene = Scene::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = |name| {
        let seen = Arc::clone(&seen);
        layer_fn(move |inner| Noting { inner, seen: Arc::clone(&seen), name })
    };
    let handler =
        EventHandler::new("orders", "created", "on_created", |_: Context, id: u64| async move {
            if id == 9 { Err(HandlerError::permanent("nine")) } else { Ok(id) }
        })
        .layer(noting("inner"))
        .layer(noting("outer"));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
    assert_eq!(*seen.lock().unwrap(), ["outer", "inner"]);
    // A boxed error is still what the handler made of it.
    scene.emit("created", 7).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_sees_what_a_run_ended_in_and_may_change_it() {
    let scene = Scene::new();
    let handler =
        EventHandler::new("orders", "created", "on_created", |_: Context, id: u64| async move {
            if id == 1 { Ok(id) } else { Err(HandlerError::new("not one")) }
        })
        .with_result_hook(|context, result| {
            assert_eq!(context.handler().method(), "on_created");
            match result {
                Ok(returned) => {
                    assert_eq!(returned.value::<u64>(), Some(&1));
                    Err(HandlerError::permanent("one is not well"))
                }
                Err(_) => Ok(Returned::new(())),
            }
        });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
    scene.emit("created", 2).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_handlers_share_is_kept() {
    let scene = Scene::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let layer = ConcurrencyLayer::new(2);
    let mut service = Service::new("billing").unwrap();
    for method in ["one", "two"] {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        let handler = EventHandler::new("orders", "created", method, move |_: Context, _: u64| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                a_second().await;
                now.fetch_sub(1, SeqCst);
                Ok::<_, HandlerError>(())
            }
        });
        service = service.with_handler(handler.layer(layer.clone())).unwrap();
    }
    let running = scene.start(&service).await;
    let mut events = running.events();
    for id in 0..10 {
        scene.emit("created", id).await;
    }
    assert_eq!(outcomes(&mut events, 20).await, [SettledAs::Handled; 20]);
    assert_eq!(most.load(SeqCst), 2);
}

#[tokio::test]
async fn a_handler_that_blocks_is_told_when_it_is_given_up_and_counts_until_it_returns() {
    let scene = Scene::new();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let handler = EventHandler::new(
        "orders",
        "created",
        "on_created",
        blocking(move |ctx: Context, id: u64| {
            tell.send((ctx, id))?;
            if id == 0 {
                gone.lock().unwrap().recv()?;
            }
            Ok::<_, HandlerError>(())
        }),
    )
    .layer(TimeoutLayer::new(Duration::from_millis(20)));
    let service = billing(handler).with_max_workers(1).with_retry(RetryPolicy::none());
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 0).await;
    let (context, _) = told.recv().await.unwrap();
    context.cancelled().await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
    scene.emit("created", 1).await;
    tokio::task::yield_now().await;
    assert!(told.try_recv().is_err(), "its thread is still the service's one worker");
    go.send(()).unwrap();
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
}

#[tokio::test(start_paused = true)]
async fn errors_that_are_expected_end_as_others_do() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Err(HandlerError::permanent("as usual")));
    let handler = handler.with_expected_errors(|err| err.to_string() == "as usual");
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
}

#[tokio::test(start_paused = true)]
async fn towers_own_layers_fit() {
    let scene = Scene::new();
    let handler =
        EventHandler::new("orders", "created", "on_created", |_: Context, id: u64| async move {
            match id {
                0 => std::future::pending().await,
                1 => Err(HandlerError::permanent("one")),
                _ => Ok(id),
            }
        })
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))
        .layer(tower::limit::ConcurrencyLimitLayer::new(1));
    let running = scene.start(&billing(handler).with_retry(RetryPolicy::none())).await;
    let mut events = running.events();
    for id in 0..3 {
        scene.emit("created", id).await;
    }
    let kept = SettledAs::DeadLettered;
    assert_eq!(outcomes(&mut events, 3).await, [kept, kept, SettledAs::Handled]);
    let kinds: Vec<_> =
        scene.kept(QUEUE).await.iter().map(|it| it.kind().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        ["failed", "permanent"],
        "what a handler says of its failure goes through them"
    );
}
