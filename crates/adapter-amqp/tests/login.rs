//! Who is let in, and where: passwords, certificates, virtual hosts and TLS, on real brokers.
use std::{
    error::Error as StdError,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use libtest_mimic::Arguments;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair as TlsKey,
};
use sinew_adapter_amqp::{Amqp, AmqpOptions};
use sinew_core::{Error, ErrorKind, Result};
use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};
use sinew_testkit::trial::{Outcome, trial};
use tempfile::TempDir;

const SECRET: &str = "s3cr@t/,:% &hush";
const ENCODED: &str = "s3cr%40t%2F,:%25 &hush";

fn main() -> ExitCode {
    let trials = vec![
        trial("logins_and_virtual_hosts", logins),
        trial("a_connection_is_shown_with_its_name_and_its_heartbeat", monitoring),
        trial("a_certificate_of_the_given_ca_is_trusted_and_no_other", tls),
        trial("a_certificate_for_another_name_is_refused", tls_name),
        trial("a_client_certificate_is_shown_where_it_is_asked_for_and_logs_in", mutual_tls),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn quick(url: String) -> AmqpOptions {
    AmqpOptions::new(url)
        .with_connect_timeout(Duration::from_secs(10))
        .with_answer_timeout(Duration::from_secs(5))
}

async fn works(options: AmqpOptions) -> Result<Amqp> {
    options.connect().await
}

/// The refusal is of one of those kinds, says `text`, and tells no secret.
async fn refused(
    options: AmqpOptions,
    kinds: &[ErrorKind],
    text: &str,
) -> std::result::Result<Error, String> {
    let mut shown = format!("{options:?}");
    let Err(err) = options.connect().await else { return Err(format!("{shown} was let in")) };
    shown.push_str(&format!(" {err} {err:?}"));
    let mut source = err.source();
    while let Some(cause) = source {
        shown.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    if shown.contains("hush") {
        return Err(format!("a secret is shown: {shown}"));
    }
    if kinds.contains(&err.kind()) && err.to_string().contains(text) {
        Ok(err)
    } else {
        Err(format!("{kinds:?} with `{text}` was expected: {shown}"))
    }
}

/// The broker's address with another login than `guest`.
fn as_user(broker: &RabbitMq, login: &str, vhost: &str) -> String {
    broker.url_of(vhost).replace("guest:guest@", login)
}

/// Passwords, and the virtual hosts that they open.
async fn logins() -> Outcome {
    let broker = RabbitMqOptions::new().start().await?;
    for vhost in ["mine", "a b/c", "closed", "full"] {
        broker.add_vhost(vhost).await?;
    }
    broker.ctl(&["add_user", "me", SECRET]).await?;
    for vhost in ["/", "mine", "a b/c", "full"] {
        broker.ctl(&["set_permissions", "-p", vhost, "me", ".*", ".*", ".*"]).await?;
    }
    broker.ctl(&["set_vhost_limits", "-p", "full", r#"{"max-connections": 0}"#]).await?;

    let mine = format!("me:{ENCODED}@");
    works(quick(broker.url_of("mine")).with_user("me", SECRET)).await?;
    for vhost in ["/", "mine", "a b/c"] {
        works(quick(as_user(&broker, &mine, vhost))).await?;
    }
    // kombu's `/` is the virtual host `/`, of which `guest` is the default user.
    works(quick(format!("py{}/", broker.url()))).await?;
    works(quick(broker.url().replace("guest:guest@", ""))).await?;

    let wrong = quick(broker.url()).with_user("me", format!("{SECRET}!"));
    let err = refused(wrong, &[ErrorKind::Denied], "refuses the login").await?;
    if err.is_transient() {
        return Err("a refused login is no matter of time".into());
    }
    refused(quick(as_user(&broker, &mine, "none")), &[ErrorKind::NotFound], "vhost none").await?;
    refused(quick(as_user(&broker, &mine, "closed")), &[ErrorKind::Denied], "closed").await?;
    let err =
        refused(quick(as_user(&broker, &mine, "full")), &[ErrorKind::Overloaded], "limit").await?;
    if !err.is_transient() {
        return Err("there may be room in a moment".into());
    }
    Ok(())
}

/// What `rabbitmqctl` shows of our connections.
async fn monitoring() -> Outcome {
    let broker = RabbitMqOptions::new().with_heartbeat(Duration::from_secs(60)).start().await?;
    let options = quick(broker.url()).with_name("billing").with_heartbeat(Duration::from_secs(7));
    let amqp = works(options).await?;
    let shown = broker.list(&["list_connections", "timeout", "client_properties"]).await?;
    let shown: String = shown.iter().map(ToString::to_string).collect();
    for part in ["billing", "sinew", env!("CARGO_PKG_VERSION"), "\"timeout\":7"] {
        if !shown.contains(part) {
            return Err(format!("{part} is missing: {shown}").into());
        }
    }
    drop(amqp);
    Ok(())
}

/// A certificate authority, and the files that it signed.
struct Authority {
    folder: TempDir,
    ca: PathBuf,
    issuer: CertifiedIssuer<'static, TlsKey>,
}

impl Authority {
    fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, TlsKey::generate()?)?;
        let ca = write(&folder, "ca.pem", &issuer.pem())?;
        Ok(Self { folder, ca, issuer })
    }

    /// A certificate for `name`, which is its common name as well, and its key.
    fn sign(&self, name: &str) -> Outcome<(PathBuf, PathBuf)> {
        let key = TlsKey::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer)?;
        let cert = write(&self.folder, &format!("{name}.pem"), &cert.pem())?;
        Ok((cert, write(&self.folder, &format!("{name}.key"), &key.serialize_pem())?))
    }
}

fn write(folder: &TempDir, name: &str, text: &str) -> std::io::Result<PathBuf> {
    let path = folder.path().join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// A broker that speaks TLS, and who signed its certificate.
struct RabbitMqTls {
    authority: Authority,
    broker: RabbitMq,
}

impl RabbitMqTls {
    /// For the host `name`.
    async fn new(name: &str, mutual: bool) -> Outcome<Self> {
        let authority = Authority::new()?;
        let (cert, key) = authority.sign(name)?;
        let options = RabbitMqOptions::new();
        let options = if mutual {
            options.with_mutual_tls(&cert, &key, &authority.ca)
        } else {
            options.with_tls(&cert, &key)
        };
        let broker = options.start().await?;
        Ok(Self { authority, broker })
    }

    fn url(&self) -> Outcome<String> {
        Ok(self.broker.tls_url().ok_or("it speaks no TLS")?)
    }

    /// With the right authority.
    fn options(&self) -> Outcome<AmqpOptions> {
        Ok(quick(self.url()?).with_ca_file(&self.authority.ca))
    }
}

/// What is left of a refusal whose reason was overtaken by the reset of the connection.
const CUT: ErrorKind = ErrorKind::Unreachable;
const HERE: &str = "127.0.0.1";

async fn tls() -> Outcome {
    let server = RabbitMqTls::new(HERE, false).await?;
    works(server.options()?).await?;
    // It knows nobody by certificate.
    let (cert, key) = server.authority.sign("me")?;
    let external = server.options()?.with_client_cert(cert, key).with_external_login();
    refused(external, &[ErrorKind::Unreachable], "EXTERNAL").await?;
    // `amqp://` turns to TLS, too, once a CA is given.
    let plain = server.url()?.replace("amqps://", "amqp://");
    works(quick(plain.clone()).with_ca_file(&server.authority.ca)).await?;
    works(quick(format!("{}?cacertfile={}", plain, server.authority.ca.display()))).await?;
    if rustls::crypto::CryptoProvider::get_default().is_some() {
        return Err("a TLS provider was installed for the whole process".into());
    }

    let other = Authority::new()?;
    for options in [quick(server.url()?).with_ca_file(&other.ca), quick(server.url()?)] {
        let err = refused(options, &[ErrorKind::Unreachable], "TLS").await?;
        if err.is_transient() {
            return Err("a certificate is no matter of time".into());
        }
    }
    // Each on the other's port.
    refused(quick(plain), &[ErrorKind::Protocol, CUT], "amqps://").await?;
    let swapped = server.broker.url().replace("amqp://", "amqps://");
    refused(quick(swapped), &[ErrorKind::Unreachable], "TLS").await?;

    let missing = Path::new("/no/such/ca.pem");
    let options = quick(server.url()?).with_ca_file(missing);
    refused(options, &[ErrorKind::InvalidOptions], "CA file").await?;
    let no_pem = write(&server.authority.folder, "no.pem", SECRET)?;
    let options = quick(server.url()?).with_ca_file(no_pem);
    refused(options, &[ErrorKind::InvalidOptions], "CA file").await?;
    Ok(())
}

async fn tls_name() -> Outcome {
    let server = RabbitMqTls::new("elsewhere.example", false).await?;
    refused(server.options()?, &[ErrorKind::Unreachable], "host name").await?;
    Ok(())
}

async fn mutual_tls() -> Outcome {
    let server = RabbitMqTls::new(HERE, true).await?;
    server.broker.ctl(&["add_user", "me", SECRET]).await?;
    server.broker.ctl(&["set_permissions", "me", ".*", ".*", ".*"]).await?;
    let (cert, key) = server.authority.sign("me")?;
    let options = server.options()?.with_client_cert(&cert, &key);
    works(options.clone()).await?;
    works(options.clone().with_external_login()).await?;
    let (stranger, stranger_key) = server.authority.sign("stranger")?;
    let unknown = server.options()?.with_client_cert(&stranger, &stranger_key);
    refused(unknown.with_external_login(), &[ErrorKind::Denied], "refuses the login").await?;
    refused(server.options()?, &[ErrorKind::Denied, CUT], "certificate").await?;
    let other = Authority::new()?;
    let (forged, forged_key) = other.sign("me")?;
    let options = server.options()?;
    let forged = options.clone().with_client_cert(forged, forged_key);
    refused(forged, &[ErrorKind::Denied, CUT], "certificate").await?;
    refused(options.with_client_cert(cert, stranger_key), &[ErrorKind::InvalidOptions], "TLS")
        .await?;
    Ok(())
}
