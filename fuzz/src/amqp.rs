//! What people write to reach a RabbitMQ.
use sinew_adapter_amqp::AmqpOptions;

/// Whatever the password is, what is shown of a URL is the same, or says no more than that it is none.
pub(crate) fn amqp_url(data: &[u8]) {
    let Some([password, rest]) = super::lines(data) else { return };
    let shown = |password: &str| {
        let options = AmqpOptions::new(format!("amqp://ann:{password}@{rest}"));
        format!("{options:?}")
    };
    let plain = shown("x");
    assert!(!plain.contains(char::is_control), "{plain:?} is more than a line");
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(shown(&encoded), plain);
    let bare = shown(password);
    assert!(bare == plain || bare == format!("{:?}", AmqpOptions::new("")), "{bare}");
}
