//! The two tests that ate-dispatcher 0.1.0 ships, with its times, which pass on a clock of the test's.
use std::time::Duration;

use sinew_core::{Result, Value};
use sinew_dispatch::{Ended, compat::AteDispatcher};

use crate::support::{Clock, LIMIT, Listener, Slow, call, expected, send, start};

struct Fixture {
    dispatcher: AteDispatcher,
    clock: Clock,
    /// The one takes a second, the other half of one.
    producers: [Slow; 2],
    listeners: [Listener; 2],
}

impl Fixture {
    fn new() -> Result<Self> {
        let (dispatcher, clock) = start()?;
        let producers = [Slow::new(0)?, Slow::new(1)?];
        for producer in &producers {
            dispatcher.register_result_producer(&producer.handle, "a")?;
        }
        let listeners = [Listener::on(&dispatcher, &["a"])?, Listener::on(&dispatcher, &["a"])?];
        Ok(Self { dispatcher, clock, producers, listeners })
    }

    /// After 500 ms more this producer answers, and every listener hears it.
    fn answers(&self, producer: &Slow, id: i64, after: u64) -> Result<()> {
        self.clock.pass(500)?;
        producer.answers();
        let response = expected(id, "a", &call());
        for listener in &self.listeners {
            let told = listener.response()?;
            assert_eq!(told, ("a".to_owned(), response.clone(), Duration::from_millis(after)));
        }
        Ok(())
    }
}

/// Nothing more than the end.
const NOTHING: [(String, Value); 0] = [];

#[test]
fn multiple_listeners_producers() -> Result<()> {
    let it = Fixture::new()?;
    send(&it.dispatcher, "a", 4000)?;
    it.answers(&it.producers[1], 1, 500)?;
    it.answers(&it.producers[0], 0, 1000)?;
    for listener in &it.listeners {
        let (results, end) = listener.until_end()?;
        assert_eq!((results.as_slice(), end.ended, end.ok), (&NOTHING[..], Ended::AllKnown, 2));
    }
    it.dispatcher.stop(LIMIT)
}

#[test]
fn producer_timeout() -> Result<()> {
    let it = Fixture::new()?;
    send(&it.dispatcher, "a", 600)?;
    it.answers(&it.producers[1], 1, 500)?;
    it.clock.pass(100)?;
    for listener in &it.listeners {
        let (results, end) = listener.until_end()?;
        assert_eq!((results.as_slice(), end.ended), (&NOTHING[..], Ended::Deadline));
        assert_eq!((end.missing.len(), end.missing[0].as_str()), (1, "0"));
    }
    it.producers[0].answers();
    it.dispatcher.stop(LIMIT)?;
    assert!(it.listeners.iter().all(Listener::hears_nothing), "it was too late");
    Ok(())
}
