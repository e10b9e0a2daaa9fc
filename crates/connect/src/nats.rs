//! NATS by URL: the core door and the JetStream door.
use sinew_adapter_nats::{JetStreamOptions, NatsOptions};
use sinew_core::{AnyBackend, Error, ErrorKind, Result};

use crate::{ConnectOptions, options::Login};

pub(crate) async fn connect(options: &ConnectOptions) -> Result<AnyBackend> {
    if !options.url().path().is_empty() {
        return Err(refuse(options, "a path names a stream: write nats+js:// for JetStream"));
    }
    Ok(translate(options)?.connect().await?.into_any())
}

pub(crate) async fn connect_jetstream(options: &ConnectOptions) -> Result<AnyBackend> {
    let stream = options.url().path();
    if stream.is_empty() {
        return Err(refuse(options, "it names no stream: write nats+js://HOST[:PORT]/STREAM"));
    }
    let jetstream = JetStreamOptions::new(stream).connect(translate(options)?).await?;
    Ok(jetstream.into_any())
}

fn translate(options: &ConnectOptions) -> Result<NatsOptions> {
    let hosts = options.url().hosts().filter(|hosts| !hosts.is_empty());
    let hosts =
        hosts.ok_or_else(|| refuse(options, "it names no host: write nats://HOST[:PORT]"))?;
    let servers: Vec<_> = hosts.split(',').map(|host| format!("nats://{host}")).collect();
    let mut nats = NatsOptions::new(servers.join(","));
    let security = &options.security;
    if let Some(path) = &security.ca_file {
        nats = nats.with_ca_file(path);
    }
    if let Some((cert, key)) = &security.client_cert {
        nats = nats.with_client_cert(cert, key);
    }
    if security.is_contradictory() {
        return Err(refuse(options, "certificates are given, yet TLS is turned off"));
    }
    if security.tls == Some(true) {
        nats = nats.with_tls(true);
    }
    nats = match &options.login {
        Some(Login::User(user, password)) => nats.with_user(user, password.read("read password")?),
        Some(Login::Token(token)) => nats.with_token(token.read("read token")?),
        Some(Login::Creds(path)) => nats.with_credentials_file(path),
        Some(Login::Certificate) => {
            return Err(refuse(options, "NATS takes a client certificate without being asked to"));
        }
        None => nats,
    };
    if let Some(name) = &options.name {
        nats = nats.with_name(name);
    }
    Ok(match options.connect_timeout {
        Some(timeout) => nats.with_connect_timeout(timeout),
        None => nats,
    })
}

fn refuse(options: &ConnectOptions, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "nats connect")
        .with_subject(options.url().to_string())
        .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use sinew_core::ErrorKind;

    use super::*;

    fn refused(url: &str) -> Error {
        translate(&ConnectOptions::new(url).unwrap()).map(drop).unwrap_err()
    }

    #[test]
    fn an_address_without_a_host_is_refused() {
        for url in ["nats:", "nats://", "nats+js:///ORDERS"] {
            assert_eq!(refused(url).kind(), ErrorKind::InvalidOptions, "{url}");
        }
    }

    #[test]
    fn certificates_without_tls_are_refused() {
        let err = refused("nats://h?tls=false&tls_ca=/ca.pem");
        assert!(err.to_string().contains("turned off"), "{err}");
    }

    #[test]
    fn what_the_address_says_reaches_the_adapter_without_being_shown() {
        let options = ConnectOptions::new("nats://ann:hush@a:1,b:2?name=billing").unwrap();
        let shown = format!("{:?}", translate(&options).unwrap());
        assert!(shown.contains("a:1") && shown.contains("b:2"), "{shown}");
        assert!(shown.contains("billing") && !shown.contains("hush"), "{shown}");
    }
}
