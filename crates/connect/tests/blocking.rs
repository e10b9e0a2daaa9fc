//! The blocking door over the memory backend, which cannot be told from another one here.
#![cfg(feature = "memory")]

use std::time::{Duration, Instant};

use sinew_connect::blocking::Blocking;
use sinew_core::{
    Consumption, Error, ErrorKind, Message, Pattern, Queue, Result, Subject, Subscription, Verdict,
};

const SOON: Duration = Duration::from_secs(5);

fn message(subject: &str, payload: &'static str) -> Result<Message> {
    Ok(Message::new(Subject::parse(subject)?, payload))
}

fn none() -> Error {
    Error::new(ErrorKind::Internal, "test").with_detail("the intake ended")
}

#[test]
fn what_is_published_is_heard_by_another_connection_of_the_same_name() -> Result<()> {
    let (one, other) =
        (Blocking::connect("memory:b1", SOON)?, Blocking::connect("memory:b1", SOON)?);
    let stranger = Blocking::connect("memory:b1-other", SOON)?;
    let mut heard = other.subscribe(Subscription::new(Pattern::parse("a.>")?), SOON)?;
    stranger.publish(message("a.b", "not this")?, SOON)?;
    one.publish(message("a.b", "this")?, SOON)?;
    one.flush(SOON)?;
    assert_eq!(heard.next_item(SOON)?.ok_or_else(none)?.payload, "this");
    heard.stop();
    assert!(heard.next(SOON)?.is_none());
    one.drain(SOON)
}

#[test]
fn a_delivery_handed_back_comes_again() -> Result<()> {
    let broker = Blocking::connect("memory:b2", SOON)?;
    let wanted = Consumption::new(Queue::parse("q")?, Pattern::parse("jobs")?);
    let mut jobs = broker.consume(wanted, SOON)?;
    broker.publish(message("jobs", "1")?, SOON)?;
    let first = jobs.next_item(SOON)?.ok_or_else(none)?;
    broker.settle(first, Verdict::Requeue, SOON)?;
    let second = jobs.next_item(SOON)?.ok_or_else(none)?;
    assert_eq!(second.message.payload, "1");
    broker.settle(second, Verdict::Ack, SOON)?;
    drop(jobs);
    broker.drain(SOON)
}

#[test]
fn a_request_without_anyone_to_answer_says_so() -> Result<()> {
    let broker = Blocking::connect("memory:b3", SOON)?;
    let mut replies = broker.request(message("nobody", "?")?, SOON)?;
    assert_eq!(replies.next(SOON).err().map(|err| err.kind()), Some(ErrorKind::NoResponders));
    Ok(())
}

#[test]
fn a_call_ends_at_its_deadline() -> Result<()> {
    let broker = Blocking::connect("memory:b4", SOON)?;
    let mut heard = broker.subscribe(Subscription::new(Pattern::parse("quiet")?), SOON)?;
    let began = Instant::now();
    let err = heard.next(Duration::from_millis(50)).err();
    assert_eq!(err.map(|err| err.kind()), Some(ErrorKind::Timeout));
    assert!(began.elapsed() < SOON);
    // The intake goes on.
    broker.publish(message("quiet", "now")?, SOON)?;
    assert_eq!(heard.next_item(SOON)?.ok_or_else(none)?.payload, "now");
    Ok(())
}

#[tokio::test]
async fn a_call_inside_of_a_runtime_is_refused() {
    let err = Blocking::connect("memory:b5", SOON).err();
    assert_eq!(err.map(|err| err.kind()), Some(ErrorKind::InsideRuntime));
}

#[test]
fn it_works_from_many_threads_at_once() -> Result<()> {
    let broker = Blocking::connect("memory:b6", SOON)?;
    let mut heard = broker.subscribe(Subscription::new(Pattern::parse("n")?), SOON)?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let broker = broker.clone();
                scope.spawn(move || broker.publish(message("n", "x")?, SOON))
            })
            .collect();
        for thread in threads {
            let outcome = thread.join().unwrap_or_else(|_| Err(none()));
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    });
    for _ in 0..8 {
        heard.next_item(SOON)?.ok_or_else(none)?;
    }
    Ok(())
}
