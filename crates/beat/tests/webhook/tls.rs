//! Whom it trusts, and what it does with others.
use sinew_core::{ErrorKind, Sent};

use crate::{
    ca_file, counted, counts, hasty, kinds, only,
    receiver::{Authority, Receiver, status},
    send_one,
};

#[tokio::test]
async fn a_certificate_of_those_who_are_trusted_is_taken() {
    let authority = Authority::new().unwrap();
    let mut receiver = Receiver::start_tls(&authority).await.unwrap();
    let (options, _) = hasty(format!("https://{}/hook", receiver.address));
    let file = ca_file("trusted", &authority.pem()).unwrap();
    let sent = send_one(options.with_ca_file(file)).await.unwrap();
    assert_eq!(counted(sent), counts(1, 0, 0));
    assert_eq!(receiver.next().await.unwrap().path, "POST /hook");
}

#[tokio::test]
async fn a_wrong_certificate_is_told_and_not_asked_for_again() {
    let authority = Authority::new().unwrap();
    let mut receiver = Receiver::start_tls(&authority).await.unwrap();
    let port = receiver.address.port();
    let trusted = ca_file("right-name", &authority.pem()).unwrap();
    let alien = ca_file("alien", &Authority::new().unwrap().pem()).unwrap();
    for (host, file, why) in [
        ("127.0.0.1", Some(&alien), "authority that is not trusted"),
        ("127.0.0.1", None, "authority that is not trusted"),
        ("localhost", Some(&trusted), "another host name"),
    ] {
        let (mut options, failures) = hasty(format!("https://{host}:{port}/hook"));
        if let Some(file) = file {
            options = options.with_ca_file(file);
        }
        assert_eq!(counted(send_one(options).await.unwrap()), counts(0, 0, 1), "{why}");
        let failure = only(&failures).unwrap();
        assert_eq!((failure.kind, failure.sent), (ErrorKind::Unreachable, Sent::No), "{why}");
        assert!(failure.text.contains("certificate"), "{}", failure.text);
        assert!(failure.text.contains(why), "{}", failure.text);
        assert!(!failure.is_transient && failure.retry_in.is_none());
        assert_eq!(receiver.connections(), 1, "{why}");
    }
    assert!(receiver.rest().is_empty(), "nothing was sent to a stranger");
}

#[tokio::test]
async fn a_proxy_that_breaks_off_handshakes_while_it_is_put_up_anew_is_tried_again() {
    let authority = Authority::new().unwrap();
    // The descriptions of the alerts `handshake_failure`, `internal_error` and `unrecognized_name`.
    let refusals = [40, 80, 112];
    let mut receiver = Receiver::start_tls_after(&authority, &refusals).await.unwrap();
    let (options, failures) = hasty(format!("https://{}/hook", receiver.address));
    let file = ca_file("redeployed", &authority.pem()).unwrap();
    let sent = send_one(options.with_ca_file(file)).await.unwrap();
    assert_eq!(counted(sent), counts(1, 3, 0));
    assert_eq!(kinds(&failures), [ErrorKind::Unreachable; 3]);
    assert_eq!(receiver.next().await.unwrap().path, "POST /hook");
}

#[tokio::test]
async fn who_wants_a_client_certificate_is_given_up() {
    let authority = Authority::new().unwrap();
    // `bad_certificate` and `certificate_required`: servers send one or the other.
    for alert in [42, 116] {
        let receiver = Receiver::start_tls_after(&authority, &[alert]).await.unwrap();
        let (options, failures) = hasty(format!("https://{}/hook", receiver.address));
        let file = ca_file("no-client", &authority.pem()).unwrap();
        assert_eq!(
            counted(send_one(options.with_ca_file(file)).await.unwrap()),
            counts(0, 0, 1),
            "{alert}"
        );
        assert_eq!(only(&failures).unwrap().kind, ErrorKind::Denied, "{alert}");
    }
}

#[tokio::test]
async fn tls_where_there_is_none_is_given_up() {
    let broken = Receiver::start(|_| status(204)).await.unwrap();
    let (options, failures) = hasty(format!("https://{}/", broken.address));
    assert_eq!(counted(send_one(options).await.unwrap()), counts(0, 0, 1));
    assert!(only(&failures).unwrap().text.contains("speaks no TLS"));
}
