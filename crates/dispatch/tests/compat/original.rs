//! The two tests that ate-dispatcher 0.1.0 ships, with its times.
use sinew_core::{Result, Value};
use sinew_dispatch::{
    Ended,
    compat::{AteDispatcher, ProducerHandle},
};

use crate::support::{LIMIT, Listener, call, example, expected, send};

struct Fixture {
    dispatcher: AteDispatcher,
    _producers: [ProducerHandle; 2],
    listeners: [Listener; 2],
}

fn fixture() -> Result<Fixture> {
    let dispatcher = AteDispatcher::start()?;
    let producers = [example(0, 1000)?, example(1, 500)?];
    for producer in &producers {
        dispatcher.register_result_producer(producer, "a")?;
    }
    let listeners = [Listener::on(&dispatcher, &["a"])?, Listener::on(&dispatcher, &["a"])?];
    Ok(Fixture { dispatcher, _producers: producers, listeners })
}

fn response(id: i64) -> (String, Value) {
    ("a".to_owned(), expected(id, "a", &call()))
}

#[test]
fn multiple_listeners_producers() -> Result<()> {
    let it = fixture()?;
    send(&it.dispatcher, "a", 4000)?;
    for listener in &it.listeners {
        let (results, end) = listener.until_end()?;
        assert_eq!(results, [response(1), response(0)]);
        assert_eq!((end.ended, end.ok), (Ended::AllKnown, 2));
    }
    it.dispatcher.stop(LIMIT)
}

#[test]
fn producer_timeout() -> Result<()> {
    let it = fixture()?;
    send(&it.dispatcher, "a", 600)?;
    for listener in &it.listeners {
        let (results, end) = listener.until_end()?;
        assert_eq!(results, [response(1)]);
        assert_eq!((end.ended, end.missing.len()), (Ended::Deadline, 1));
        assert_eq!(end.missing[0].as_str(), "0");
    }
    it.dispatcher.stop(LIMIT)
}
