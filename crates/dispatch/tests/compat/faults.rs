//! The faults of ate-dispatcher 0.1.0, one by one: each was seen in it, none is here.
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use sinew_core::{ErrorKind, Result, Value};
use sinew_dispatch::{
    AgentError, Context, Ended,
    compat::{About, AteDispatcher, Call, ListenerHandle, ProducerHandle},
};

use crate::support::{Heard, LIMIT, Listener, call, example, send, start};

/// Works until the sender is dropped.
fn held(name: &str) -> Result<(ProducerHandle, Sender<()>)> {
    let (producer, release, _) = told(name)?;
    Ok((producer, release))
}

/// The same; tells each time it is begun.
fn told(name: &str) -> Result<(ProducerHandle, Sender<()>, Receiver<()>)> {
    let ((release, held), (begin, begun)) = (channel(), channel());
    let producer = ProducerHandle::new(name, move |_: &str, _: &Call, _: &Context| {
        let _ = begin.send(());
        let _ = held.recv();
        Ok(Value::Null)
    })?;
    Ok((producer, release, begun))
}

#[test]
fn two_requests_at_once_are_told_apart_and_each_says_when_it_is_over() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let producers = [example(0)?, example(1)?];
    for producer in &producers {
        dispatcher.register_result_producer(producer, "a")?;
    }
    let listener = Listener::on(&dispatcher, &["a"])?;
    let requests = [send(&dispatcher, "a", 60_000)?, send(&dispatcher, "a", 60_000)?];
    let (mut told, mut ends) = (BTreeSet::new(), Vec::new());
    while ends.len() < 2 {
        match listener.next()? {
            Heard::Result(about, _) => {
                assert!(told.insert((about.request, about.producer.to_string())));
            }
            Heard::End(request, end) => ends.push((request, end.ok, end.ended)),
            Heard::Failure(_, failure) => panic!("{failure}"),
        }
    }
    let expected = requests.map(|it| [(it, "0".to_owned()), (it, "1".to_owned())]);
    assert_eq!(told, expected.into_iter().flatten().collect());
    ends.sort_unstable_by_key(|it| it.0);
    assert_eq!(ends, requests.map(|it| (it, 2, Ended::AllKnown)));
    dispatcher.stop(LIMIT)
}

#[test]
fn a_request_with_nobody_to_answer_is_refused_and_leaves_nothing() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let err = send(&dispatcher, "a", None).unwrap_err();
    assert_eq!((err.kind(), err.subject()), (ErrorKind::NoResponders, Some("a")));
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

#[test]
fn a_producer_that_never_answers_leaves_nothing_and_is_named() -> Result<()> {
    let (dispatcher, clock) = start()?;
    let (first, release) = held("first")?;
    let (second, release_too) = held("second")?;
    dispatcher.register_result_producer(&first, "a")?;
    dispatcher.register_result_producer(&second, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    send(&dispatcher, "a", 20)?;
    clock.pass(20)?;
    let (results, end) = listener.until_end()?;
    assert_eq!((end.elapsed, dispatcher.counts().pending), (Duration::from_millis(20), 0));
    let missing: Vec<_> = end.missing.iter().map(|it| it.as_str()).collect();
    assert_eq!((results.len(), end.ended, missing), (0, Ended::Deadline, vec!["first", "second"]));
    drop((release, release_too));
    dispatcher.stop(LIMIT)
}

#[test]
fn a_producer_that_raises_is_told_of_and_answers_the_next_request() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let mut calls = 0;
    let producer = ProducerHandle::new("p", move |_: &str, _: &Call, _: &Context| {
        calls += 1;
        match calls {
            1 => panic!("first time"),
            2 => Err(AgentError::new("camera", "it is dark")),
            _ => Ok(Value::from(calls)),
        }
    })?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    for (code, message) in [(AgentError::PANIC, "first time"), ("camera", "it is dark")] {
        send(&dispatcher, "a", 60_000)?;
        let Heard::Failure(about, failure) = listener.next()? else { panic!("a failure") };
        assert_eq!(
            (about.producer.as_str(), failure.code(), failure.message()),
            ("p", code, message)
        );
        assert!(matches!(listener.next()?, Heard::End(_, end) if end.failed == 1));
    }
    send(&dispatcher, "a", 60_000)?;
    assert_eq!(listener.until_end()?.0, [("a".to_owned(), Value::from(3))]);
    dispatcher.stop(LIMIT)
}

#[test]
fn registering_while_requests_are_relayed_kills_nothing() -> Result<()> {
    let dispatcher = Arc::new(AteDispatcher::start()?);
    let stays = example(0)?;
    dispatcher.register_result_producer(&stays, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    let over = Arc::new(AtomicBool::new(false));
    let changes: Vec<_> = (1..4)
        .map(|id| {
            let (dispatcher, over) = (Arc::clone(&dispatcher), Arc::clone(&over));
            thread::spawn(move || -> Result<()> {
                let (producer, ear) =
                    (example(id)?, ListenerHandle::new(|_: &About, _: &Value| {})?);
                while !over.load(SeqCst) {
                    dispatcher.register_result_producer(&producer, "a")?;
                    dispatcher.register_result_listener(&ear, "a")?;
                    dispatcher.deregister_result_listener(&ear, "a")?;
                    dispatcher.deregister_result_producer(&producer, "a")?;
                }
                Ok(())
            })
        })
        .collect();
    for _ in 0..300 {
        send(&dispatcher, "a", 60_000)?;
        let (results, end) = listener.until_end()?;
        assert_eq!((end.ended, end.failed), (Ended::AllKnown, 0));
        assert_eq!(results.len(), end.ok);
    }
    over.store(true, SeqCst);
    for it in changes {
        it.join().unwrap()?;
    }
    Ok(())
}

#[test]
fn registering_twice_counts_once_and_another_of_that_name_is_refused() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let producer = example(0)?;
    let listener = Listener::on(&dispatcher, &["a", "a"])?;
    dispatcher.register_result_producer(&producer, "a")?;
    dispatcher.register_result_producer(&producer.clone(), "a")?;
    send(&dispatcher, "a", 60_000)?;
    assert_eq!(listener.until_end()?.0.len(), 1);
    let err = dispatcher.register_result_producer(&example(0)?, "a").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    // It is not the one that is registered, either.
    dispatcher.deregister_result_producer(&example(0)?, "a")?;
    send(&dispatcher, "a", 60_000)?;
    assert_eq!(listener.until_end()?.0.len(), 1);
    dispatcher.stop(LIMIT)
}

#[test]
fn no_name_of_an_argument_is_reserved() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    dispatcher.register_result_producer(&example(0)?, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    let names = ["reply_to", "uuid", "topic", "ttl", "self", ""];
    let kwargs = names.map(|it| (it.to_owned(), Value::from(it)));
    dispatcher.send_request("a", [], kwargs.clone(), Some(60_000))?;
    let (_, response) = listener.until_end()?.0.remove(0);
    let Value::Map(response) = response else { panic!("a map") };
    assert_eq!(response[3], ("kwargs".to_owned(), Value::from(kwargs.to_vec())));
    dispatcher.stop(LIMIT)
}

#[test]
fn a_listener_that_raises_is_told_what_comes_next() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    dispatcher.register_result_producer(&example(0)?, "a")?;
    let (say, said) = channel();
    let mut calls = 0;
    let listener = ListenerHandle::new(move |about: &About, _: &Value| {
        calls += 1;
        assert!(calls > 1, "the first time");
        let _ = say.send(about.request);
    })?;
    dispatcher.register_result_listener(&listener, "a")?;
    let other = Listener::on(&dispatcher, &["a"])?;
    send(&dispatcher, "a", 60_000)?;
    assert_eq!(other.until_end()?.0.len(), 1);
    let second = send(&dispatcher, "a", 60_000)?;
    assert_eq!(said.recv_timeout(LIMIT), Ok(second));
    assert_eq!((listener.panics(), listener.lost()), (1, 0));
    dispatcher.stop(LIMIT)
}

#[test]
fn a_request_that_expires_in_line_is_not_worked_on() -> Result<()> {
    let (dispatcher, clock) = start()?;
    let (producer, release, begun) = told("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    send(&dispatcher, "a", 200)?;
    // Before its time is over: the clock waits for nobody.
    assert_eq!(begun.recv_timeout(LIMIT), Ok(()));
    for _ in 0..4 {
        send(&dispatcher, "a", 50)?;
    }
    for (pass, ttl) in [(50, 50), (0, 50), (0, 50), (0, 50), (150, 200)] {
        clock.pass(pass)?;
        let (results, end) = listener.until_end()?;
        // Its time counts from the call, not from when somebody gets to it.
        assert_eq!((results.len(), end.ended), (0, Ended::Deadline));
        assert_eq!(end.elapsed, Duration::from_millis(ttl));
    }
    drop(release);
    dispatcher.stop(LIMIT)?;
    assert_eq!(begun.try_iter().count(), 0);
    Ok(())
}

#[test]
fn one_producer_answers_one_request_at_a_time_in_their_order() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let busy = Arc::new(AtomicBool::new(false));
    let producer = ProducerHandle::new("p", move |_: &str, call: &Call, _: &Context| {
        assert!(!busy.swap(true, SeqCst), "two at once");
        (0..100).for_each(|_| thread::yield_now());
        busy.store(false, SeqCst);
        Ok(call.args[0].clone())
    })?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    for at in 0..50 {
        dispatcher.send_request("a", [Value::from(at)], [], Some(60_000))?;
    }
    let results: Vec<_> = (0..50).map(|_| Ok(listener.until_end()?.0)).collect::<Result<_>>()?;
    let expected: Vec<_> = (0..50).map(|at| vec![("a".to_owned(), Value::from(at))]).collect();
    assert_eq!(results, expected);
    dispatcher.stop(LIMIT)
}

#[test]
fn a_listener_that_comes_after_the_request_is_told_and_a_producer_is_not_asked() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let (producer, release) = held("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    send(&dispatcher, "a", 60_000)?;
    dispatcher.register_result_producer(&example(1)?, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    drop(release);
    assert_eq!(listener.until_end()?.0, [("a".to_owned(), Value::Null)]);
    dispatcher.stop(LIMIT)
}

#[test]
fn more_requests_than_may_wait_for_a_producer_are_refused_as_busy() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let (producer, release) = held("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    for _ in 0..1025 {
        send(&dispatcher, "a", 60_000)?;
    }
    let Heard::Failure(_, failure) = listener.next()? else { panic!("a failure") };
    assert_eq!((failure.code(), failure.is_retryable()), (AgentError::BUSY, true));
    assert!(matches!(listener.next()?, Heard::End(_, end) if end.failed == 1));
    drop(release);
    for _ in 0..1024 {
        assert_eq!(listener.until_end()?.0.len(), 1);
    }
    dispatcher.stop(LIMIT)
}

#[test]
fn a_stop_waits_for_what_was_sent_within_its_time() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let (producer, release) = held("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    send(&dispatcher, "a", 60_000)?;
    drop(release);
    dispatcher.stop(LIMIT)?;
    assert_eq!(listener.until_end()?.0.len(), 1);

    let dispatcher = AteDispatcher::start()?;
    let (producer, _release) = held("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    send(&dispatcher, "a", 60_000)?;
    let err = dispatcher.stop(Duration::from_millis(10)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    Ok(())
}

#[test]
fn a_forgotten_stop_hangs_nothing() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let (producer, release) = held("p")?;
    dispatcher.register_result_producer(&producer, "a")?;
    let listener = Listener::on(&dispatcher, &["a"])?;
    send(&dispatcher, "a", 60_000)?;
    let start = Instant::now();
    drop(dispatcher);
    assert!(start.elapsed() < LIMIT, "it waits for the producer");
    drop((release, listener));
    assert_eq!(call().arg(1), Some(&Value::from(4)));
    Ok(())
}

#[test]
fn a_stop_on_a_runtimes_thread_is_refused() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let err = runtime.block_on(async { dispatcher.stop(LIMIT) }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InsideRuntime);
    Ok(())
}
