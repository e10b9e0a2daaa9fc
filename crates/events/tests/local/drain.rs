//! How a service ends.
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures_util::stream::poll_fn;
use sinew_core::{
    AnyBackend, AnyConsumer, Backend, Capabilities, Consume, Consumption, Delivery, ErrorKind,
    Incoming, Queue, QueueStatus, Result,
};
use sinew_events::{
    Context, ErrorQueue, EventHandler, HandlerError, HandlerKind, RetryPolicy, ServiceEvent,
    SettledAs,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};

use crate::support::{LONG, QUEUE, Scene, billing, broken, counting, outcomes, settled};

/// A handler that says when it begins, ends when it may, and emits before it does.
fn gated() -> (EventHandler, Arc<Semaphore>, mpsc::UnboundedReceiver<u64>) {
    let gate = Arc::new(Semaphore::new(0));
    let (tell, told) = mpsc::unbounded_channel();
    let opened = Arc::clone(&gate);
    let handler =
        EventHandler::new("orders", "created", "on_created", move |ctx: Context, id: u64| {
            let (gate, begun) = (Arc::clone(&opened), tell.send(id));
            async move {
                begun?;
                gate.acquire().await?.forget();
                ctx.emit("billed", &id).await?;
                Ok::<_, HandlerError>(())
            }
        });
    (handler, gate, told)
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_finished_and_acknowledged_and_what_waits_goes_back() {
    let scene = Scene::new();
    let (handler, gate, mut begun) = gated();
    let running = scene.start(&billing(handler).with_max_workers(2)).await;
    let mut events = running.events();
    let billed = EventHandler::new("billing", "billed", "on_billed", |_: Context, _: u64| async {
        Ok::<_, HandlerError>(())
    });
    let listening = scene.start(&billing(billed)).await;
    let mut heard = listening.events();
    for id in 0..6 {
        scene.emit("created", id).await;
    }
    for id in 0..2 {
        assert_eq!(begun.recv().await, Some(id));
    }
    let draining = tokio::spawn(running.drain(LONG));
    tokio::task::yield_now().await;
    gate.add_permits(2);
    draining.await.unwrap().unwrap();
    assert_eq!(outcomes(&mut events, 2).await, [SettledAs::Handled; 2]);
    assert_eq!(outcomes(&mut heard, 2).await, [SettledAs::Handled; 2], "they could emit");
    assert!(begun.try_recv().is_err(), "nothing was begun");
    assert_eq!(scene.waiting(QUEUE).await, 4);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_given_up_and_comes_again() {
    let scene = Scene::new();
    let (handler, _gate, mut begun) = gated();
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    begun.recv().await.unwrap();
    let began = Instant::now();
    let err = running.drain(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert!(err.to_string().contains("to come again: 1"), "{err}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Cancelled]);
    assert_eq!(scene.waiting(QUEUE).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_leaves_what_it_had() {
    let scene = Scene::new();
    let (handler, _gate, mut begun) = gated();
    let running = scene.start(&billing(handler).with_max_workers(2)).await;
    let mut events = running.events();
    for id in 0..5 {
        scene.emit("created", id).await;
    }
    begun.recv().await.unwrap();
    drop(running);
    while timeout(LONG, events.next()).await.unwrap().is_some() {}
    assert_eq!(scene.waiting(QUEUE).await, 5);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_ack_the_broker_does_not_take_is_said_to_come_again() {
    let scene = Scene::new();
    let broker = scene.broker.clone();
    // Within the run, so that nobody sees the link go before the event is handled.
    let (handler, _) = counting(move |run| {
        if run == 1 {
            broker.kill();
        }
        Ok(())
    });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 0).await;
    let first = settled(&mut events).await;
    assert_eq!((first.outcome, first.comes_again), (SettledAs::Handled, true));
    let counts = running.counts().next().unwrap().2;
    assert_eq!((counts.succeeded, counts.unsettled), (1, 1));
    scene.broker.start();
    scene.emit("created", 1).await;
    let second = settled(&mut events).await;
    assert_eq!((second.outcome, second.comes_again), (SettledAs::Handled, false));
}

#[tokio::test(start_paused = true)]
async fn a_broken_link_cancels_what_runs_and_the_service_goes_on() {
    let scene = Scene::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler =
        EventHandler::new("orders", "created", "on_created", move |ctx: Context, id: u64| {
            let _ = tell.send(ctx);
            async move {
                match id {
                    0 => std::future::pending().await,
                    _ => Ok::<_, HandlerError>(()),
                }
            }
        });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 0).await;
    let context = told.recv().await.unwrap();
    assert!(!context.is_cancelled());
    scene.broker.kill();
    timeout(LONG, context.cancelled()).await.unwrap();
    scene.broker.start();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(ServiceEvent::Up { .. })) {
        seen.push(events.next().await.unwrap().unwrap());
    }
    let is_cancelled = |it: &ServiceEvent| matches!(it, ServiceEvent::Settled(it) if it.outcome == SettledAs::Cancelled);
    assert!(seen.iter().any(is_cancelled), "{seen:?}");
    assert!(seen.iter().any(|it| matches!(it, ServiceEvent::Down { .. })), "{seen:?}");
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_drains_and_a_second_one_ends_at_once() {
    for (signals, is_drained) in [(1, true), (2, false)] {
        let scene = Scene::new();
        let (handler, gate, mut begun) = gated();
        let running = scene.start(&billing(handler)).await;
        scene.emit("created", 7).await;
        begun.recv().await.unwrap();
        let signalled = Arc::new(Semaphore::new(signals));
        let next = async move || signalled.acquire().await.unwrap().forget();
        let ran = tokio::spawn(running.run_until(next, LONG));
        tokio::task::yield_now().await;
        if is_drained {
            gate.add_permits(1);
            ran.await.unwrap().unwrap();
            assert_eq!(scene.waiting(QUEUE).await, 0);
        } else {
            let began = Instant::now();
            assert_eq!(ran.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_intake_that_ends_by_itself_is_told_to_its_owner() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Ok(()));
    let backend = scene.connect();
    let mut running = billing(handler).start(&backend).await.unwrap();
    sinew_core::Link::drain(&backend.link(), Duration::from_secs(1)).await.unwrap();
    let ended = timeout(LONG, running.ended()).await.unwrap().unwrap();
    assert_eq!(ended.handler.as_str(), "billing.on_created");
    assert!(ended.result.is_ok());
    assert!(running.ended().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_intake_that_ends_by_itself_is_told_while_what_it_has_begun_goes_on() {
    let scene = Scene::new();
    let backend = scene.connect();
    // It takes nothing back: what runs is not called off.
    let passing = AnyBackend::new(backend.link())
        .with_publisher(scene.connect().publisher().unwrap())
        .with_subscriber(backend.subscriber().unwrap());
    let (handler, gate, mut begun) = gated();
    let service = billing(handler.with_reliable_delivery(false));
    let mut running = service.start(&passing).await.unwrap();
    let mut events = running.events();
    scene.emit("created", 7).await;
    assert_eq!(begun.recv().await, Some(7));
    sinew_core::Link::drain(&backend.link(), Duration::from_secs(1)).await.unwrap();
    let ended = timeout(LONG, running.ended()).await.expect("it is told").unwrap();
    assert!(ended.result.is_ok());
    assert!(matches!(events.next().await, Some(Ok(ServiceEvent::Ended { .. }))));
    gate.add_permits(1);
    running.drain(LONG).await.unwrap();
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
}

/// A consumer whose intakes panic.
struct Panicking(AnyConsumer);

impl Backend for Panicking {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl Consume for Panicking {
    async fn consume(&self, _: Consumption) -> Result<Incoming<Delivery>> {
        Ok(Incoming::new(poll_fn(|_| panic!("an adapter fails")), || ()))
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.0.declare(wanted).await
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        self.0.inspect(queue).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_intake_that_panics_is_told_to_its_owner() {
    std::panic::set_hook(Box::new(|_| {}));
    let backend = Scene::new().connect();
    let panicking = AnyConsumer::new(Panicking(backend.consumer().unwrap()));
    let (handler, _) = counting(|_| Ok(()));
    let mut running = billing(handler).start(&backend.with_consumer(panicking)).await.unwrap();
    let ended = timeout(LONG, running.ended()).await.unwrap().unwrap();
    assert_eq!(ended.result.unwrap_err().kind(), ErrorKind::Internal);
    running.drain(LONG).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_and_a_look_into_the_error_queue_may_take_as_long_as_there_is() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Err(HandlerError::permanent("x")));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
    running.drain(Duration::MAX).await.unwrap();
    let errors = ErrorQueue::new(&scene.connect(), Queue::parse(QUEUE).unwrap()).unwrap();
    assert_eq!(errors.take(1, Duration::MAX).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_handler_that_is_run_again_at_once_and_waits_for_nothing_can_be_called_off() {
    const AGAIN: u32 = 50_000;
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Err(broken()));
    let retry = RetryPolicy::none().with_immediate(AGAIN);
    let running = scene.start(&billing(handler).with_retry(retry)).await;
    scene.emit("created", 7).await;
    // All share one thread.
    while runs.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let err = running.drain(Duration::ZERO).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let made = runs.load(SeqCst);
    assert!(made < AGAIN as usize, "{made} runs");
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_before_a_drain_is_told_as_is_what_it_loses() {
    const EMITTED: u64 = 5000;
    let scene = Scene::new();
    let backend = scene.connect();
    let plain = AnyBackend::new(backend.link())
        .with_publisher(backend.publisher().unwrap())
        .with_subscriber(backend.subscriber().unwrap());
    let (handler, gate, mut begun) = gated();
    let handler = handler.with_kind(HandlerKind::Broadcast).with_reliable_delivery(false);
    let running = billing(handler).with_max_workers(1).start(&plain).await.unwrap();
    let mut events = running.events();
    for id in 0..EMITTED {
        scene.emit("created", id).await;
    }
    begun.recv().await.unwrap();
    let draining = tokio::spawn(running.drain(LONG));
    let mut lost = 0;
    while lost < EMITTED - 1 {
        match timeout(LONG, events.next()).await {
            Ok(Some(Ok(ServiceEvent::Lost { count, .. }))) => lost += count,
            Ok(Some(Ok(_))) => {}
            ended => panic!("{lost} are told as lost, and {ended:?}"),
        }
    }
    gate.add_permits(1);
    draining.await.unwrap().unwrap();
    assert_eq!(lost, EMITTED - 1);
}
