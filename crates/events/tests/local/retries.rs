//! What becomes of failures, in the safe profile.
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use sinew_core::{Address, ErrorKind, Message, PublishExt as _, Queue, Value};
use sinew_events::{ErrorQueue, HandlerError, RetryPolicy, SettledAs, Source};
use tokio::time::Instant;

use crate::support::{LONG, QUEUE, Scene, billing, broken, counting, outcomes, settled};

fn delayed(seconds: u64) -> SettledAs {
    SettledAs::Delayed(Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_run_again_then_delivered_again_then_kept() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Err(broken()));
    let service = billing(handler).with_retry(RetryPolicy::default().with_jitter(false));
    let running = scene.start(&service).await;
    let mut events = running.events();
    let began = Instant::now();
    scene.emit("created", 7).await;
    let expected = [delayed(1), delayed(5), delayed(30), delayed(300), SettledAs::DeadLettered];
    assert_eq!(outcomes(&mut events, 5).await, expected);
    assert_eq!((runs.load(SeqCst), began.elapsed().as_secs()), (15, 336));
    let counts = running.counts().next().unwrap().2;
    assert_eq!((counts.received, counts.failed, counts.rerun), (5, 15, 10));
    assert_eq!((counts.delayed, counts.dead_lettered, counts.in_flight), (4, 1, 0));
    let kept = scene.kept(QUEUE).await;
    let [event] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((event.kind(), event.error()), (Some("failed"), Some("the printer is on fire")));
    assert_eq!((event.handler(), event.source()), (Some("billing.on_created"), Some("orders")));
    assert_eq!(
        (event.event_type(), event.deliveries(), event.runs()),
        (Some("created"), Some(5), Some(3))
    );
    assert_eq!(event.message().payload, "7");
    assert!(event.first().is_some() && event.first() == event.last() && event.id().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_costs_no_more_than_a_run() {
    let scene = Scene::new();
    let (handler, runs) = counting(|run| if run < 3 { Err(broken()) } else { Ok(()) });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let settled = settled(&mut events).await;
    assert_eq!((settled.outcome, settled.runs, runs.load(SeqCst)), (SettledAs::Handled, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn what_trying_again_does_not_mend_is_kept_at_once() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Err(HandlerError::permanent("no such\norder ")));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
    assert_eq!(runs.load(SeqCst), 1);
    let kept = scene.kept(QUEUE).await;
    assert_eq!((kept[0].kind(), kept[0].error()), (Some("permanent"), Some("no such order")));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_kept_as_it_came() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    let address = Source::parse("orders").unwrap().address("created").unwrap();
    let message = Message::to(address, "{half a").with_content_type("application/json");
    let message = message.with_header("nameko.user_id", 7).unwrap();
    scene.connect().publisher().unwrap().send(message).await.unwrap();
    let settled = settled(&mut events).await;
    assert_eq!((settled.outcome, settled.runs), (SettledAs::DeadLettered, 0));
    assert_eq!(runs.load(SeqCst), 0);
    let kept = scene.kept(QUEUE).await;
    assert_eq!(
        (kept[0].kind(), &kept[0].message().payload[..]),
        (Some("undecodable"), &b"{half a"[..])
    );
    assert_eq!(kept[0].message().headers.value("nameko.user_id"), Some(&Value::from(7)));
    assert_eq!(running.counts().next().unwrap().2.undecodable, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_redriven_comes_to_its_handler_as_it_was() {
    let scene = Scene::new();
    let (handler, runs) =
        counting(|run| if run == 1 { Err(HandlerError::permanent("x")) } else { Ok(()) });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let first = settled(&mut events).await;
    for event in scene.kept(QUEUE).await {
        event.redrive().await.unwrap();
    }
    let second = settled(&mut events).await;
    assert_eq!((second.outcome, runs.load(SeqCst)), (SettledAs::Handled, 2));
    assert_eq!(second.message.address, first.message.address);
    let id = |message: &Message| message.properties().unwrap().id.clone().unwrap();
    assert_eq!(id(&second.message), id(&first.message));
    assert!(scene.kept(QUEUE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_looks_for_an_error_queue_that_is_not_there_makes_none() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Ok(()));
    let _running = scene.start(&billing(handler)).await;
    let errors = ErrorQueue::new(&scene.connect(), Queue::parse(QUEUE).unwrap()).unwrap();
    let err = errors.take(1, LONG).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(err.subject(), Some("evt-orders-created--billing.on_created.errors"));
    assert_eq!(scene.broker.stats().queues, 1);
}

#[tokio::test(start_paused = true)]
async fn headers_that_a_kept_event_has_no_room_for_are_counted_in_it() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Err(HandlerError::permanent("x")));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    for (headers, kept, dropped) in [(1008, 1008, None), (1024, 1008, Some(16))] {
        let address = Source::parse("orders").unwrap().address("created").unwrap();
        let mut message = Message::to(address, "7").with_content_type("application/json");
        for number in 0..headers {
            message = message.with_header(&format!("x{number}"), number).unwrap();
        }
        scene.connect().publisher().unwrap().send(message).await.unwrap();
        settled(&mut events).await;
        let event = scene.kept(QUEUE).await.remove(0);
        let theirs = event.message().headers.iter().filter(|it| it.0.starts_with('x')).count();
        assert_eq!((theirs, event.headers_dropped()), (kept, dropped));
        event.discard().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_redriven_and_then_moved_to_another_queue_is_handled_there() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Ok(()));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    // As an administrator moves what waits for a method that has another name now.
    let moved = Message::to(Address::Queue(Queue::parse(QUEUE).unwrap()), "7")
        .with_content_type("application/json")
        .with_header("sinew-redrive", "evt-orders-created--billing.on_order")
        .and_then(|it| it.with_header("sinew-redrive-type", "created"));
    scene.connect().publisher().unwrap().send(moved.unwrap()).await.unwrap();
    let handled = settled(&mut events).await;
    assert_eq!(handled.outcome, SettledAs::Handled);
    let created = Source::parse("orders").unwrap().address("created").unwrap();
    assert_eq!(handled.message.address, created);
}

#[tokio::test(start_paused = true)]
async fn when_it_was_given_up_first_outlives_a_redrive() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Err(HandlerError::permanent("x")));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    settled(&mut events).await;
    let kept = scene.kept(QUEUE).await.remove(0);
    let first = kept.first();
    kept.redrive().await.unwrap();
    settled(&mut events).await;
    let kept = scene.kept(QUEUE).await.remove(0);
    assert_eq!(kept.first(), first);
    assert!(kept.last() > first);
    kept.discard().await.unwrap();
    assert!(scene.kept(QUEUE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_error_queue_takes_nothing_is_handed_back() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Err(HandlerError::permanent("x")));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    // Somebody has a queue of that name, with other properties.
    let queue = Queue::parse(&format!("{QUEUE}.errors")).unwrap();
    let other =
        sinew_core::Consumption::unbound(queue).with_lifetime(sinew_core::Lifetime::UntilUnused);
    let taken = sinew_core::Consume::consume(&scene.connect().consumer().unwrap(), other).await;
    scene.emit("created", 7).await;
    let first = settled(&mut events).await.outcome;
    assert!(matches!(first, SettledAs::Delayed(_)), "{first:?}");
    assert_eq!(running.counts().next().unwrap().2.dead_letter_failed, 1);
    drop(taken);
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::DeadLettered]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_and_a_redrive_have_no_headers_by_which_a_broker_routes_or_counts() {
    let scene = Scene::new();
    let (handler, _) =
        counting(|run| if run == 1 { Err(HandlerError::permanent("x")) } else { Ok(()) });
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    let obeyed =
        ["CC", "BCC", "x-death", "x-delivery-count", "x-first-death-queue", "x-last-death-reason"];
    let address = Source::parse("orders").unwrap().address("created").unwrap();
    let mut message = Message::to(address, "7").with_content_type("application/json");
    for name in obeyed.into_iter().chain(["x-mine"]) {
        message = message.with_header(name, "elsewhere").unwrap();
    }
    scene.connect().publisher().unwrap().send(message).await.unwrap();
    settled(&mut events).await;
    let kept = scene.kept(QUEUE).await.remove(0);
    let copy = kept.message().clone();
    kept.redrive().await.unwrap();
    let redriven = settled(&mut events).await;
    assert_eq!(redriven.outcome, SettledAs::Handled);
    for message in [copy, redriven.message] {
        assert_eq!(message.headers.text("x-mine"), Some("elsewhere"));
        assert_eq!(obeyed.map(|name| message.headers.value(name).cloned()), [const { None }; 6]);
    }
}
