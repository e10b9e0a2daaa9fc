//! What a configuration of nameko's says.
use super::*;

fn parse(text: &str) -> Result<NamekoConfig> {
    NamekoConfig::parse_with(text, |_| None)
}

#[test]
fn what_nothing_is_said_of_is_as_nameko_has_it() {
    let config = parse("AMQP_URI: pyamqp://guest:guest@localhost").unwrap();
    assert_eq!((config.max_workers(), config.prefetch_count()), (10, None));
    assert_eq!((config.calls_tracked(), config.serializer()), (10, "json"));
    assert_eq!(config.accept().collect::<Vec<_>>(), ["json"]);
    let settings = config.options().settings().unwrap();
    assert_eq!(settings.exchange("orders.events"), ExchangePolicy::declare());
}

#[test]
fn each_key_does_what_it_does_in_nameko() {
    let config = parse(
        "AMQP_URI: 'pyamqp://ann:s3cret@rabbit:5673/shop'\n\
         HEARTBEAT: 30\n\
         max_workers: 3\n\
         PREFETCH_COUNT: 5\n\
         parent_calls_tracked: 0\n\
         serializer: upper\n\
         ACCEPT: [json, upper]\n\
         SERIALIZERS: {upper: {encoder: a.b, decoder: c.d, content_type: application/x-up, content_encoding: binary}}\n\
         AUTO_DELETE_EVENT_EXCHANGES: true\n\
         AMQP_SSL: {ca_certs: /ca.pem, certfile: /c.pem, keyfile: /k.pem}\n\
         LOGIN_METHOD: EXTERNAL\n\
         SERVICE_IDENTIFIER: host-1\n",
    )
    .unwrap();
    let target = config.options().target().unwrap();
    assert_eq!(
        (target.host.as_str(), target.port, target.vhost.as_str()),
        ("rabbit", 5673, "shop")
    );
    assert_eq!((target.heartbeat, target.tls.is_some()), (30, true));
    assert!(target.login == crate::login::Login::External);
    let settings = config.options().settings().unwrap();
    let fleeting = ExchangePolicy::declare().with_auto_delete(true);
    assert_eq!(settings.exchange("orders.events"), fleeting);
    assert_eq!((config.max_workers(), config.prefetch_count()), (3, Some(5)));
    assert_eq!((config.calls_tracked(), config.serializer()), (0, "upper"));
    assert_eq!(config.accept().collect::<Vec<_>>(), ["json", "upper"]);
    let upper = config.serializers().next().unwrap();
    assert_eq!((&*upper.content_type, &*upper.content_encoding), ("application/x-up", "binary"));
    assert_eq!(config.value("SERVICE_IDENTIFIER"), Some(&Value::from("host-1")));
}

#[test]
fn exchanges_that_are_not_to_be_declared_are_assumed() {
    let config = parse("{AMQP_URI: 'amqp://h', DECLARE_EVENT_EXCHANGES: false}").unwrap();
    let settings = config.options().settings().unwrap();
    assert_eq!(settings.exchange("orders.events"), ExchangePolicy::assume());
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (more, named) in [
        ("AMQP_SSL: {cert_reqs: 0}", "cert_reqs"),
        ("AMQP_SSL: {certfile: /c.pem}", "keyfile"),
        ("AMQP_SSL: 7", "AMQP_SSL"),
        ("LOGIN_METHOD: AMQPLAIN", "LOGIN_METHOD"),
        ("HEARTBEAT: soon", "HEARTBEAT"),
        ("HEARTBEAT: -1", "HEARTBEAT"),
        ("max_workers: 0", "max_workers"),
        ("PREFETCH_COUNT: 70000", "PREFETCH_COUNT"),
        ("DECLARE_EVENT_EXCHANGES: 1", "DECLARE_EVENT_EXCHANGES"),
        ("SERIALIZERS: {x: {}}", "content_type"),
        ("ACCEPT: [1]", "ACCEPT"),
    ] {
        let refused = parse(&format!("AMQP_URI: amqp://h\n{more}\n")).unwrap_err();
        assert_eq!(refused.kind(), sinew_core::ErrorKind::InvalidOptions);
        assert!(refused.to_string().contains(named), "{refused}");
    }
    for text in ["", "7", "max_workers: 1"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_secret_is_in_no_error_and_in_no_debug_text() {
    let config = parse("{AMQP_URI: 'amqp://a:s3cret@h', token: s3cret}").unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    for text in ["AMQP_URI: [s3cret]", "HEARTBEAT: s3cret\nAMQP_URI: amqp://h", "s3cret: {"] {
        assert!(!parse(text).unwrap_err().to_string().contains("s3cret"), "{text}");
    }
}
