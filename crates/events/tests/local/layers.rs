//! Layers, hooks, and handlers that block.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use sinew_core::{BoxFuture, Message, Subject};
use sinew_events::{
    AnyHandler, BoxError, ConcurrencyLayer, Context, EventHandler, HandlerError, Invocation,
    PayloadOptions, Profile, RetryLayer, RetryPolicy, Returned, Service, SettledAs, TimeoutLayer,
    blocking,
};
use tokio::time::Instant;
use tower_layer::{Layer as _, layer_fn};
use tower_service::Service as TowerService;

use crate::support::{QUEUE, Scene, a_second, billing, counting, outcomes, settled};

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

#[tokio::test(start_paused = true)]
async fn a_handler_that_blocks_is_told_when_it_is_given_up_and_counts_until_it_returns() {
    const LIMIT: Duration = Duration::from_millis(20);
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
    .layer(TimeoutLayer::new(LIMIT));
    let service = billing(handler).with_max_workers(1).with_retry(RetryPolicy::none());
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 0).await;
    let (context, _) = told.recv().await.unwrap();
    // Time stands still while a thread is blocked.
    tokio::time::advance(LIMIT).await;
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

/// How tower is told to try again: so often, and not what has failed for good.
#[derive(Clone)]
struct Again(u32);

impl<E: Into<BoxError>> tower::retry::Policy<Invocation, Returned, E> for Again {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Invocation,
        ended: &mut Result<Returned, E>,
    ) -> Option<Self::Future> {
        ended.as_ref().err()?;
        self.0 = self.0.checked_sub(1)?;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, run: &Invocation) -> Option<Invocation> {
        run.try_clone()
    }
}

#[tokio::test(start_paused = true)]
async fn towers_own_layers_fit_beside_one_that_a_user_wrote() {
    let scene = Scene::new();
    let (seen, runs) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (noted, counted) = (Arc::clone(&seen), Arc::clone(&runs));
    let layers = tower::ServiceBuilder::new()
        .retry(Again(2))
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))
        .layer(tower::limit::ConcurrencyLimitLayer::new(1))
        .layer(layer_fn(move |inner| Noting { inner, seen: Arc::clone(&noted), name: "mine" }));
    let handler =
        EventHandler::new("orders", "created", "on_created", move |ctx: Context, id: u64| {
            let run = counted.fetch_add(1, SeqCst);
            assert_eq!(ctx.run(), 1, "to the service it is one run");
            async move {
                match (id, run) {
                    (1, _) => std::future::pending().await,
                    (2, _) => Err(HandlerError::permanent("two")),
                    (_, 6..8) => Err(HandlerError::new("not yet")),
                    _ => Ok(id),
                }
            }
        })
        .layer(layers);
    let running = scene.start(&billing(handler).with_retry(RetryPolicy::none())).await;
    let mut events = running.events();
    for (id, outcome, all) in [
        (0, SettledAs::DeadLettered, 3),
        (1, SettledAs::DeadLettered, 6),
        (2, SettledAs::Handled, 9),
    ] {
        scene.emit("created", id).await;
        assert_eq!(outcomes(&mut events, 1).await, [outcome]);
        assert_eq!((runs.load(SeqCst), seen.lock().unwrap().len()), (all, all));
    }
    let kept = scene.kept(QUEUE).await;
    let kinds: Vec<_> = kept.iter().map(|it| it.kind().unwrap()).collect();
    assert_eq!(kinds, ["failed", "permanent"], "what a handler says goes through all of them");
}

/// A handler inside of `RetryLayer`, which fails on the runs that `end` says, in the profile without other retries.
async fn retried(
    end: fn(usize) -> Result<(), HandlerError>,
    pauses: &[u64],
) -> (SettledAs, usize, Duration) {
    let scene = Scene::new();
    let (handler, runs) = counting(end);
    let layer = RetryLayer::new(pauses.iter().copied().map(Duration::from_secs));
    let service = billing(handler.layer(layer)).with_profile(Profile::Nameko);
    let running = scene.start(&service).await;
    let mut events = running.events();
    let began = Instant::now();
    scene.emit("created", 7).await;
    let settled = settled(&mut events).await;
    assert_eq!(settled.runs, 1);
    (settled.outcome, runs.load(SeqCst), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_run_again_after_each_pause_unless_it_failed_for_good() {
    let seconds = Duration::from_secs;
    let passes = |run| if run < 3 { Err(HandlerError::new("not yet")) } else { Ok(()) };
    assert_eq!(retried(passes, &[1, 5, 30]).await, (SettledAs::Handled, 3, seconds(6)));
    let never = |_| Err(HandlerError::new("never"));
    assert_eq!(retried(never, &[1, 5]).await, (SettledAs::Dropped, 3, seconds(6)));
    assert_eq!(retried(never, &[]).await, (SettledAs::Dropped, 1, seconds(0)));
    let for_good = |_| Err(HandlerError::permanent("no such order"));
    assert_eq!(retried(for_good, &[1, 5]).await, (SettledAs::Dropped, 1, seconds(0)));
}

#[tokio::test(start_paused = true)]
async fn a_layer_is_tested_by_itself_and_has_a_run_again_as_it_came_or_not_at_all() {
    let message =
        Message::new(Subject::parse("created").unwrap(), "7").with_content_type("application/json");
    let context =
        Context::new("billing.on_created".parse().unwrap(), "orders".parse().unwrap(), message);
    let body = PayloadOptions::default().open(context.message()).unwrap();
    assert!(Invocation::new::<String>(context.clone(), body.clone()).is_err());
    let mut run = Invocation::new::<u64>(context, body).unwrap();
    assert_eq!((run.payload::<u64>(), run.payload::<u8>()), (Some(&7), None));
    assert_eq!(run.payload_mut::<u8>(), None);
    let again = run.try_clone().unwrap();
    assert_eq!(again.payload::<u64>(), Some(&7));
    assert_eq!(again.context.call_id(), run.context.call_id());
    *run.payload_mut::<u64>().unwrap() = 8;
    assert!(run.try_clone().is_none(), "it would be run as it came");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let counted = Arc::clone(&seen);
    let failing = tower::service_fn(move |run: Invocation| {
        counted.lock().unwrap().push(*run.payload::<u64>().unwrap());
        async { Err::<Returned, _>(HandlerError::new("never")) }
    });
    let mut layered = RetryLayer::new([Duration::from_secs(1)]).layer(failing);
    layered.call(run).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), [8], "once");
    layered.call(again).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), [8, 7, 7]);
}
