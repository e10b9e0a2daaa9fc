//! AMQP by URL: RabbitMQ, by `amqp`, `amqps`, and kombu's `pyamqp`.
use sinew_adapter_amqp::{AmqpOptions, ExchangePolicy};
use sinew_core::{AnyBackend, Error, ErrorKind, Result};

use crate::{
    ConnectOptions,
    options::{Login, OfAmqp},
};

#[cfg(test)]
#[path = "../../adapter-amqp/tests/kombu/mod.rs"]
mod kombu;

pub(crate) async fn connect(options: &ConnectOptions) -> Result<AnyBackend> {
    Ok(translate(options)?.connect().await?.into_any())
}

fn translate(options: &ConnectOptions) -> Result<AmqpOptions> {
    let url = options.url();
    let hosts = url
        .hosts()
        .ok_or_else(|| refuse(options, "it names no host: write amqp://HOST[:PORT][/VHOST]"))?;
    let security = &options.security;
    let is_secure = url.scheme() == "amqps";
    if security.is_contradictory() || (is_secure && security.tls == Some(false)) {
        return Err(refuse(options, "amqps:// and certificates are TLS, yet TLS is turned off"));
    }
    // The host alone: the rest is decoded already, and need not be encoded again.
    let mut amqp = AmqpOptions::new(format!("amqp://{hosts}"));
    if !url.path().is_empty() {
        amqp = amqp.with_vhost(url.path());
    }
    if is_secure || security.tls == Some(true) {
        amqp = amqp.with_tls(true);
    }
    if let Some(path) = &security.ca_file {
        amqp = amqp.with_ca_file(path);
    }
    if let Some((cert, key)) = &security.client_cert {
        amqp = amqp.with_client_cert(cert, key);
    }
    amqp = match &options.login {
        Some(Login::User(user, password)) => amqp.with_user(user, password.read("read password")?),
        Some(Login::Certificate) => amqp.with_external_login(),
        Some(Login::Token(_) | Login::Creds(_)) => {
            return Err(refuse(
                options,
                "RabbitMQ knows neither tokens nor credentials files; give a user and a password",
            ));
        }
        None => amqp,
    };
    if let Some(name) = &options.name {
        amqp = amqp.with_name(name);
    }
    if let Some(timeout) = options.connect_timeout {
        amqp = amqp.with_connect_timeout(timeout);
    }
    let OfAmqp { heartbeat, exchange, declare_exchanges } = &options.amqp;
    if let Some(interval) = heartbeat {
        amqp = amqp.with_heartbeat(*interval);
    }
    if let Some(exchange) = exchange {
        amqp = amqp.with_default_exchange(exchange);
    }
    if *declare_exchanges == Some(true) {
        amqp = amqp.with_exchanges(ExchangePolicy::declare());
    }
    Ok(amqp)
}

fn refuse(options: &ConnectOptions, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "amqp connect")
        .with_subject(options.url().to_string())
        .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::{kombu::KOMBU, *};

    fn options(url: &str) -> ConnectOptions {
        ConnectOptions::new(url).unwrap()
    }

    fn shown(url: &str) -> String {
        format!("{:?}", translate(&options(url)).unwrap())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for options in [
            options("amqp:h"),
            options("amqps://h?tls=false"),
            options("amqp://h?tls=false&cacertfile=/ca.pem"),
            options("amqp://h").with_token("hush"),
            options("amqp://h").with_creds_file("/c"),
        ] {
            let err = translate(&options).map(drop).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidOptions, "{options:?}");
            assert!(!format!("{err:?}").contains("hush"), "{err:?}");
        }
    }

    #[test]
    fn what_the_address_says_reaches_the_adapter_without_being_shown() {
        let shown = shown(
            "pyamqp://ann:hush@rabbit:5673/a%2Fb?name=billing&heartbeat=7&exchange=orders&connection_timeout=1500",
        );
        for part in ["amqp://rabbit:5673/a/b", "billing", "heartbeat: 7s", "orders", "1.5s"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_virtual_host_is_the_one_that_kombu_finds() {
        for (url, vhost) in [
            ("amqp://h", "amqp://h"),
            ("amqp://h/", "amqp://h"),
            ("amqp://h//", "amqp://h"),
            ("amqp://h/%2f", "amqp://h"),
            ("amqp://h//shop", "amqp://h//shop"),
            ("amqp://h/shop", "amqp://h/shop"),
        ] {
            let shown = shown(url);
            assert!(shown.contains(&format!("\"{vhost}\"")), "{url}: {shown}");
        }
    }

    #[test]
    fn an_address_means_what_it_means_to_kombu() {
        for (url, _, _, user, password, _) in KOMBU.iter().copied() {
            let read = options(url);
            let login = match &read.login {
                None => ("guest".to_owned(), "guest".to_owned()),
                Some(Login::User(user, password)) => (user.clone(), password.read("it").unwrap()),
                Some(other) => panic!("{url}: {other:?}"),
            };
            assert!(login == (user.to_owned(), password.to_owned()), "the login of {url}");
            // Where it leads to, the adapter reads alike, as a test of its own shows.
            let place = |options: &AmqpOptions| {
                format!("{options:?}").split('"').nth(1).unwrap().to_owned()
            };
            let alike = AmqpOptions::new(url);
            assert_eq!(place(&translate(&read).unwrap()), place(&alike), "{url}");
        }
    }

    #[test]
    fn tls_is_what_the_scheme_or_a_certificate_says() {
        for url in ["amqps://h", "amqp://h?tls", "amqp://h?tls_ca=/ca.pem", "pyamqp://h?tls=true"] {
            assert!(shown(url).contains("amqps://h"), "{url}");
        }
        assert!(shown("amqp://h?tls=false").contains("amqp://h"));
    }
}
