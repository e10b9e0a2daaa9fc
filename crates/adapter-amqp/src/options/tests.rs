//! What options make sense, and which beats which.
use sinew_core::ErrorKind;

use super::*;

#[test]
fn an_option_beats_the_url() {
    let target = AmqpOptions::new("amqps://a:b@h/v?heartbeat=7&connection_name=x")
        .with_user("c", "d")
        .with_vhost("w")
        .with_heartbeat(Duration::from_millis(1001))
        .with_name("y")
        .with_tls(false)
        .target()
        .unwrap();
    assert!(target.login == Login::Password { user: "c".to_owned(), password: "d".to_owned() });
    assert_eq!((target.vhost.as_str(), target.heartbeat), ("w", 2));
    assert_eq!(target.name.as_deref(), Some("y"));
    assert_eq!((target.port, target.tls.is_none()), (5672, true));
}

#[test]
fn a_certificate_implies_tls_and_its_port() {
    for options in [
        AmqpOptions::new("amqp://h").with_ca_file("/ca.pem"),
        AmqpOptions::new("amqp://h").with_client_cert("/c.pem", "/k.pem").with_external_login(),
        AmqpOptions::new("amqp://h?cacertfile=/ca.pem"),
    ] {
        let target = options.target().unwrap();
        assert_eq!((target.port, target.tls.is_some()), (5671, true));
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let long = "x".repeat(256);
    let options = || AmqpOptions::new("amqp://h");
    for options in [
        options().with_vhost(long.clone()),
        options().with_name(long.clone()),
        options().with_heartbeat(Duration::ZERO),
        options().with_external_login(),
        options().with_user("a\0b", "c"),
        options().with_user("a", "x".repeat(1 << 17)),
        AmqpOptions::new("amqps://h").with_external_login(),
    ] {
        let cause = options.target().unwrap_err();
        assert_eq!(cause.kind(), ErrorKind::InvalidOptions, "{options:?}");
    }
    for options in [
        options().with_confirm_window(0),
        options().with_answer_timeout(Duration::ZERO),
        options().with_default_exchange(""),
        options().with_default_exchange(long.clone()),
        options().with_exchange(long.clone(), ExchangePolicy::assume()),
        options().with_queue_argument(long.clone(), Value::Null),
    ] {
        let cause = options.settings().unwrap_err();
        assert_eq!(cause.kind(), ErrorKind::InvalidOptions, "{options:?}");
    }
}

#[test]
fn no_span_of_time_is_too_long() {
    let options = AmqpOptions::new("amqp://h")
        .with_heartbeat(Duration::MAX)
        .with_connect_timeout(Duration::MAX)
        .with_answer_timeout(Duration::MAX)
        .with_blocked_timeout(Duration::MAX);
    let (target, settings) = (options.target().unwrap(), options.settings().unwrap());
    assert_eq!(target.heartbeat, u16::MAX);
    let now = std::time::Instant::now();
    for span in [target.connect_timeout, settings.answer_timeout, settings.blocked_timeout] {
        assert!(now.checked_add(span).is_some());
    }
    assert!(now.checked_add(settings.patience()).is_some());
}

#[test]
fn exchanges_of_the_broker_are_assumed_unless_they_are_named() {
    let declared = ExchangePolicy::declare();
    let options = AmqpOptions::new("amqp://h").with_exchanges(declared);
    let settings = options.settings().unwrap();
    assert_eq!(settings.exchange("orders.events"), declared);
    assert_eq!(settings.exchange("amq.topic"), ExchangePolicy::assume());
    let fanout = declared.with_kind(ExchangeKind::Fanout);
    let settings = options.with_exchange("amq.fanout", fanout).settings().unwrap();
    assert_eq!(settings.exchange("amq.fanout"), fanout);
}
