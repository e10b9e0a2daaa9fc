//! TLS to RabbitMQ and to NATS in one program that chooses no provider of cryptography for them.
use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use libtest_mimic::Arguments;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sinew_adapter_amqp::AmqpOptions;
use sinew_adapter_nats::NatsOptions;
use sinew_core::{Event, Incoming, Message, Pattern, PublishExt, Subject, Subscribe, Subscription};
use sinew_testkit::harness::{nats::NatsServerOptions, rabbitmq::RabbitMqOptions};
use sinew_testkit::trial::{Outcome, trial};
use tempfile::TempDir;
use tokio::time::timeout;

const HERE: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let trials = vec![trial("rabbitmq_and_nats_speak_tls_where_no_provider_is_the_default", both)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// rustls takes the one provider that is compiled in, and panics where there are two. In `beside-aws-lc`, which runs this
/// trial too, there are `ring` and `aws-lc-rs`; among the crate's own tests rustls has its feature `custom-provider`, by
/// which it finds none in the same way, and no second one is compiled.
async fn both() -> Outcome {
    if rustls::crypto::CryptoProvider::get_default().is_some() || finds_a_provider() {
        return Err("there is a provider for everybody, so this shows nothing".into());
    }
    let folder = TempDir::new()?;
    let write = |name: &str, text: &str| -> std::io::Result<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![HERE.to_owned()])?.signed_by(&key, &issuer)?;
    let ca = write("ca.pem", &issuer.pem())?;
    let certificate = write("server.pem", &certificate.pem())?;
    let key = write("server.key", &key.serialize_pem())?;

    let rabbitmq = RabbitMqOptions::new().with_tls(&certificate, &key).start().await?;
    let nats = NatsServerOptions::new().with_tls(&certificate, &key).start().await?;
    let url = rabbitmq.tls_url().ok_or("it speaks no TLS")?;
    let amqp =
        AmqpOptions::new(url).with_ca_file(&ca).with_connect_timeout(PATIENCE).connect().await?;
    let nats = NatsOptions::new(nats.url()).with_ca_file(&ca).connect().await?;
    carries(&amqp).await?;
    carries(&nats).await
}

/// A message goes there and back.
async fn carries<B: PublishExt + Subscribe>(backend: &B) -> Outcome {
    let wanted = Subscription::new(Pattern::parse("tls")?);
    let mut incoming: Incoming<Message> = backend.subscribe(wanted).await?;
    backend.send(Message::new(Subject::parse("tls")?, "x")).await?;
    match timeout(PATIENCE, incoming.next()).await? {
        Some(Ok(Event::Item(message))) if message.payload == "x" => Ok(()),
        other => Err(format!("a message was expected, {other:?} came").into()),
    }
}

/// Whether rustls finds one by itself, where a client asks for none.
fn finds_a_provider() -> bool {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = std::panic::catch_unwind(rustls::ClientConfig::builder);
    std::panic::set_hook(report);
    found.is_ok()
}
