//! The session of ate-dispatcher's README, step by step, with its times.
use sinew_core::{ErrorKind, Result, Value};
use sinew_dispatch::compat::AteDispatcher;

use crate::support::{LIMIT, Listener, call, example, expected, send};

#[test]
fn the_session_of_the_readme() -> Result<()> {
    let dispatcher = AteDispatcher::start()?;
    let producer1 = example(0, 200)?;
    let producer2 = example(1, 500)?;
    for topic in ["topic1", "my_topic"] {
        dispatcher.register_result_producer(&producer1, topic)?;
    }
    for topic in ["topic1", "topic2", "my_topic"] {
        dispatcher.register_result_producer(&producer2, topic)?;
    }
    let listener1 = Listener::on(&dispatcher, &["topic1", "topic2", "my_topic"])?;
    let listener2 = Listener::on(&dispatcher, &["topic1", "my_topic"])?;
    let response = |id: i64, topic: &str| -> (String, Value) {
        (topic.to_owned(), expected(id, topic, &call()))
    };

    // Both listeners have the responses of both producers.
    send(&dispatcher, "topic1", 4000)?;
    for listener in [&listener1, &listener2] {
        assert_eq!(listener.until_end()?.0, [response(0, "topic1"), response(1, "topic1")]);
    }

    // Only the quick producer is within 300 ms.
    send(&dispatcher, "my_topic", 300)?;
    for listener in [&listener1, &listener2] {
        assert_eq!(listener.until_end()?.0, [response(0, "my_topic")]);
    }

    // Only the first listener attends to that topic, and only the second producer.
    send(&dispatcher, "topic2", 1000)?;
    assert_eq!(listener1.until_end()?.0, [response(1, "topic2")]);
    assert!(listener2.hears_nothing());

    // Anything can be deregistered at any time, in any order; twice is fine.
    dispatcher.deregister_result_listener(&listener2.handle, "my_topic")?;
    dispatcher.deregister_result_producer(&producer1, "topic1")?;
    send(&dispatcher, "topic1", 4000)?;
    for listener in [&listener1, &listener2] {
        assert_eq!(listener.until_end()?.0, [response(1, "topic1")]);
    }
    for topic in ["topic1", "topic2", "my_topic"] {
        dispatcher.deregister_result_producer(&producer1, topic)?;
        dispatcher.deregister_result_producer(&producer2, topic)?;
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
    let producers: Vec<_> =
        (0..).take(topics.len()).map(|id| example(id, 0)).collect::<Result<_>>()?;
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
