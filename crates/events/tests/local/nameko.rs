//! What becomes of failures, in the profile that does as nameko does.
use std::sync::atomic::Ordering::SeqCst;

use sinew_core::{Attempt, ErrorKind, Message, PublishExt as _, Queue};
use sinew_events::{EmitOptions, Encoded, ErrorQueue, Profile, SettledAs, Source};

use crate::support::{QUEUE, Scene, billing, broken, counting, outcomes, settled};

#[tokio::test(start_paused = true)]
async fn what_fails_is_gone() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Err(broken()));
    let running = scene.start(&billing(handler).with_profile(Profile::Nameko)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Dropped]);
    assert_eq!((runs.load(SeqCst), scene.waiting(QUEUE).await), (1, 0));
    assert_eq!(scene.broker.stats().queues, 1, "no error queue was made");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_requeued_is_requeued_at_once_until_it_succeeds() {
    let scene = Scene::new();
    let (handler, runs) = counting(|run| if run < 20 { Err(broken()) } else { Ok(()) });
    let service = billing(handler.with_requeue_on_error(true)).with_profile(Profile::Nameko);
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let mut expected = vec![SettledAs::Requeued; 19];
    expected.push(SettledAs::Handled);
    assert_eq!(outcomes(&mut events, 20).await, expected);
    assert_eq!(runs.load(SeqCst), 20);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_gone_whatever_is_to_be_requeued() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let service = billing(handler.with_requeue_on_error(true)).with_profile(Profile::Nameko);
    let running = scene.start(&service).await;
    let mut events = running.events();
    let address = Source::parse("orders").unwrap().address("created").unwrap();
    let message = Message::to(address, "{half a").with_content_type("application/json");
    scene.connect().publisher().unwrap().send(message).await.unwrap();
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Dropped]);
    assert_eq!((runs.load(SeqCst), running.counts().next().unwrap().2.undecodable), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_has_an_id_and_a_time_in_the_safe_profile_alone() {
    let scene = Scene::new();
    let (handler, _) = counting(|_| Ok(()));
    let running = scene.start(&billing(handler)).await;
    let mut events = running.events();
    for (profile, has) in [(Profile::Safe, true), (Profile::Nameko, false)] {
        scene.orders().with_profile(profile).emit("created", &7).await.unwrap();
        let message = settled(&mut events).await.message;
        let properties = message.properties().unwrap();
        assert_eq!((properties.id.is_some(), properties.timestamp.is_some()), (has, has));
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(properties.content_encoding.as_deref(), Some("utf-8"));
        assert!(message.headers.is_empty(), "nobody called");
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_type_with_a_parameter_is_not_emitted() {
    let payload = Encoded::new("7", "application/json; charset=utf-8", "utf-8");
    let emitted = Scene::new().orders().emit_encoded("created", payload, &EmitOptions::new()).await;
    assert_eq!(emitted.unwrap_err().kind(), ErrorKind::InvalidPayload);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_which_delivery_it_has() {
    let scene = Scene::new();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = sinew_events::EventHandler::new(
        "orders",
        "created",
        "on_created",
        move |ctx: sinew_events::Context, _: u64| {
            let attempt = ctx.attempt();
            let told = tell.send(attempt);
            async move {
                told.map_err(sinew_events::HandlerError::new)?;
                if attempt == Attempt::Number(3) { Ok(()) } else { Err(broken()) }
            }
        },
    );
    let service = billing(handler.with_requeue_on_error(true)).with_profile(Profile::Nameko);
    let _running = scene.start(&service).await;
    scene.emit("created", 7).await;
    for number in 1..=3 {
        assert_eq!(told.recv().await, Some(Attempt::Number(number)));
    }
    let errors = ErrorQueue::new(&scene.connect(), Queue::parse(QUEUE).unwrap()).unwrap();
    assert_eq!(errors.place(), "evt-orders-created--billing.on_created.errors");
}
