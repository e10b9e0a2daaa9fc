//! The session of ate-dispatcher's README, step by step, with its times, which pass on a clock of the test's.
use std::time::Duration;

use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{Ended, compat::AteDispatcher};

use crate::support::{LIMIT, Listener, Slow, call, example, expected, send, start};

#[test]
fn the_session_of_the_readme() -> Result<()> {
    let (dispatcher, clock) = start()?;
    // They take 200 and 500 ms.
    let (producer1, producer2) = (Slow::new(0)?, Slow::new(1)?);
    for topic in ["topic1", "my_topic"] {
        dispatcher.register_result_producer(&producer1.handle, topic)?;
    }
    for topic in ["topic1", "topic2", "my_topic"] {
        dispatcher.register_result_producer(&producer2.handle, topic)?;
    }
    let listener1 = Listener::on(&dispatcher, &["topic1", "topic2", "my_topic"])?;
    let listener2 = Listener::on(&dispatcher, &["topic1", "my_topic"])?;
    let both = [&listener1, &listener2];
    let hears = |listener: &Listener, id: i64, topic: &str, after| -> Result<()> {
        let response = (topic.to_owned(), expected(id, topic, &call()));
        let (topic, told, elapsed) = listener.response()?;
        assert_eq!(((topic, told), elapsed), (response, Duration::from_millis(after)));
        Ok(())
    };
    let ends = |listener: &Listener, why| -> Result<()> {
        let (results, end) = listener.until_end()?;
        assert_eq!((results.len(), end.ended), (0, why));
        Ok(())
    };

    // Both listeners have the responses of both producers.
    send(&dispatcher, "topic1", 4000)?;
    clock.pass(200)?;
    producer1.answers();
    both.iter().try_for_each(|it| hears(it, 0, "topic1", 200))?;
    clock.pass(300)?;
    producer2.answers();
    both.iter().try_for_each(|it| hears(it, 1, "topic1", 500))?;
    both.iter().try_for_each(|it| ends(it, Ended::AllKnown))?;

    // Only the quick producer is within 300 ms.
    send(&dispatcher, "my_topic", 300)?;
    clock.pass(200)?;
    producer1.answers();
    both.iter().try_for_each(|it| hears(it, 0, "my_topic", 200))?;
    clock.pass(100)?;
    both.iter().try_for_each(|it| ends(it, Ended::Deadline))?;
    producer2.answers();

    // Only the first listener attends to that topic, and only the second producer.
    send(&dispatcher, "topic2", 1000)?;
    clock.pass(500)?;
    producer2.answers();
    hears(&listener1, 1, "topic2", 500)?;
    ends(&listener1, Ended::AllKnown)?;
    assert!(listener2.hears_nothing());

    // Anything can be deregistered at any time, in any order; twice is fine.
    dispatcher.deregister_result_listener(&listener2.handle, "my_topic")?;
    dispatcher.deregister_result_producer(&producer1.handle, "topic1")?;
    send(&dispatcher, "topic1", 4000)?;
    clock.pass(500)?;
    producer2.answers();
    both.iter().try_for_each(|it| hears(it, 1, "topic1", 500))?;
    both.iter().try_for_each(|it| ends(it, Ended::AllKnown))?;
    for topic in ["topic1", "topic2", "my_topic"] {
        dispatcher.deregister_result_producer(&producer1.handle, topic)?;
        dispatcher.deregister_result_producer(&producer2.handle, topic)?;
        dispatcher.deregister_result_listener(&listener1.handle, topic)?;
    }
    assert_eq!(send(&dispatcher, "topic1", None).unwrap_err().kind(), ErrorKind::NoResponders);
    dispatcher.stop(LIMIT)?;
    assert!(listener1.hears_nothing() && listener2.hears_nothing());
    Ok(())
}

#[test]
fn any_text_is_a_topic_and_none_is_a_pattern() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let topics = ["", "a", "a.b", "a.*", "*", "my topic", "Wafer/7 ü", "a..b"];
    let producers: Vec<_> = (0..).take(topics.len()).map(example).collect::<Result<_>>()?;
    for (producer, topic) in producers.iter().zip(topics) {
        dispatcher.register_result_producer(producer, topic)?;
    }
    let listener = Listener::on(&dispatcher, &topics)?;
    for (id, topic) in (0..).zip(topics) {
        send(&dispatcher, topic, None)?;
        assert_eq!(listener.until_end()?.0, [(topic.to_owned(), expected(id, topic, &call()))]);
    }
    let err = dispatcher.register_result_producer(&producers[0], &"x".repeat(300)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidSubject);
    assert!(
        matches!(send(&dispatcher, "b", None), Err(err) if err.kind() == ErrorKind::NoResponders)
    );
    dispatcher.stop(LIMIT)
}
