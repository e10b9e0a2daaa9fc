//! The harness does to RabbitMQ what it says, and leaves nothing running.
use std::{
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use amqp::Amqp;
use libtest_mimic::{Arguments, Trial};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use sinew_core::ErrorKind;
use sinew_testkit::{
    harness::rabbitmq::RabbitMqOptions,
    trial::{Outcome, trial_within},
};
use tempfile::TempDir;
use tokio::time::interval;

mod amqp;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_server_comes_up_ready_and_nothing_of_it_is_left_when_dropped", comes_and_goes()),
        trial("no_epmd_is_started_by_the_minutely_look_for_one", looks_for_epmd()),
        trial("a_killed_server_comes_back_at_its_port_with_its_files", kill_and_restart()),
        trial("a_frozen_server_answers_nothing_until_it_thaws", freeze_and_thaw()),
        trial("an_administrator_is_obeyed", administer()),
        trial("options_reach_the_server", options()),
        trial("a_client_certificate_lets_in_the_user_of_its_common_name", external()),
        trial("a_server_that_does_not_start_shows_its_log", shows_its_log()),
        trial("a_program_that_is_missing_is_not_found", missing_program()),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Skipped by name where it wants a program that is missing.
fn trial(name: &str, run: impl Future<Output = Outcome> + Send + 'static) -> Trial {
    trial_within(name, PATIENCE, || run)
}

async fn comes_and_goes() -> Outcome {
    let server = RabbitMqOptions::new().start().await?;
    let port = server.port();
    let id = server.id().ok_or("a running server has an id")?;
    let program = fs::read_link(format!("/proc/{id}/exe"))?;
    check(program.ends_with("beam.smp"), "its process is Erlang's, no shell before it")?;
    check(server.url() == format!("amqp://guest:guest@127.0.0.1:{port}"), "its URL")?;
    check(server.url_of("a/b") == format!("{}/a%2Fb", server.url()), "that of a virtual host")?;
    check(server.tls_url().is_none() && server.tls_port().is_none(), "it speaks no TLS")?;
    amqp::connect(port)?;
    let folder = server.folder().to_owned();
    check(processes_of(&folder)?.contains(&id), "its processes are found by their folder")?;
    drop(server);
    check(!folder.exists() && !Path::new(&format!("/proc/{id}")).exists(), "it is gone")?;
    check(amqp::connect(port).is_err(), "nobody listens any more")?;
    // What Erlang starts ends when it sees Erlang's end of the pipe closed.
    let mut look = interval(Duration::from_millis(10));
    while !processes_of(&folder)?.is_empty() {
        look.tick().await;
    }
    Ok(())
}

async fn looks_for_epmd() -> Outcome {
    let server = RabbitMqOptions::new().start().await?;
    // The second waits until the first is done.
    let look =
        "rabbit_epmd_monitor ! check, element(1, sys:get_state(rabbit_epmd_monitor, 60000)).";
    check(server.ctl(&["eval", look]).await?.trim() == "state", "it has looked")?;
    for id in processes_of(server.folder())? {
        let program = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
        check(!program.ends_with("epmd"), "an epmd runs")?;
    }
    check(server.id().is_some() && amqp::connect(server.port()).is_ok(), "it goes on")
}

async fn kill_and_restart() -> Outcome {
    let server = RabbitMqOptions::new().start().await?;
    let (port, folder) = (server.port(), server.folder().to_owned());
    server.add_vhost("kept").await?;
    let mut open = amqp::connect(port)?;
    server.kill()?;
    server.kill()?;
    check(open.expect(amqp::CLOSE).is_err(), "its connections end")?;
    check(server.id().is_none(), "a dead one has no id")?;
    check(server.freeze().is_err_and(|err| err.kind() == ErrorKind::Closed), "nor can it freeze")?;
    let asked = server.ctl(&["list_vhosts"]).await;
    check(asked.is_err_and(|err| err.kind() == ErrorKind::Closed), "nor be administered")?;
    server.restart().await?;
    amqp::connect(port)?;
    let vhosts = server.list(&["list_vhosts", "name"]).await?;
    check(vhosts.iter().any(|it| it["name"] == "kept"), "it has kept what it stored")?;
    check(server.folder() == folder && server.port() == port, "it is where it was")
}

async fn freeze_and_thaw() -> Outcome {
    let server = RabbitMqOptions::new().start().await?;
    server.freeze()?;
    let stream = TcpStream::connect(("127.0.0.1", server.port()))?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let early = Amqp::over(stream.try_clone()?).start();
    check(early.is_err_and(|err| err.kind() == io::ErrorKind::WouldBlock), "it answers nothing")?;
    server.thaw()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Amqp::over(stream).expect(amqp::START)?;
    server.freeze()?;
    // A frozen one dies, too.
    Ok(server.kill()?)
}

async fn administer() -> Outcome {
    let server = RabbitMqOptions::new().start().await?;
    for (resource, on) in [("memory", true), ("memory", false), ("disk", true), ("disk", false)] {
        match resource {
            "memory" => server.memory_alarm(on).await?,
            _ => server.disk_alarm(on).await?,
        }
        let alarms = server.ctl(&["eval", "rabbit_alarm:get_alarms()."]).await?;
        check(alarms.contains(&format!("resource_limit,{resource}")) == on, &alarms)?;
    }

    let mut open = amqp::connect(server.port())?;
    server.close_all_connections("for a test").await?;
    let close = open.expect(amqp::CLOSE)?;
    check(close.starts_with(&320_u16.to_be_bytes()), "connection-forced")?;
    check(String::from_utf8_lossy(&close).contains("for a test"), "with the reason")?;

    let declared = "rabbit_amqqueue:declare({resource, <<\"/\">>, queue, <<\"q\">>}, \
                    true, false, [{<<\"x-expires\">>, long, 60000}], none, <<\"guest\">>), ok.";
    server.ctl(&["eval", declared]).await?;
    let queues = server.list(&["list_queues", "-p", "/", "name", "arguments"]).await?;
    check(matches!(&*queues, [it] if it["name"] == "q"), &format!("{queues:?}"))?;
    let bindings = server.list(&["list_bindings", "source_name", "destination_name"]).await?;
    check(bindings.iter().any(|it| it["destination_name"] == "q"), &format!("{bindings:?}"))?;
    server.delete_queue("/", "q").await?;
    check(server.list(&["list_queues", "name"]).await?.is_empty(), "the queue is deleted")?;
    let again = server.delete_queue("/", "q").await.err().ok_or("it was deleted twice")?;
    check(again.kind() == ErrorKind::Internal, "a failure")?;
    check(again.to_string().contains("Queue not found"), &again.to_string())
}

async fn options() -> Outcome {
    let server = RabbitMqOptions::new()
        .with_heartbeat(Duration::from_secs(7))
        .with_frame_max(8192)
        .with_channel_max(11)
        .with_max_message_size(4096)
        .with_consumer_timeout(Duration::from_secs(3))
        .start()
        .await?;
    let mut open = Amqp::over(amqp::tcp(server.port())?);
    open.start()?;
    let tune = open.log_in("PLAIN", b"\0guest\0guest")?;
    let wanted = amqp::Tune { channel_max: 11, frame_max: 8192, heartbeat: 7 };
    check(tune == wanted, &format!("{tune:?}"))?;
    let set = "[element(2, application:get_env(rabbit, It)) || \
               It <- [max_message_size, consumer_timeout, channel_tick_interval]].";
    let set = server.ctl(&["eval", set]).await?;
    check(set.trim() == "[4096,3000,1000]", &set)
}

async fn external() -> Outcome {
    let authority = Authority::new()?;
    let (certificate, key) = authority.sign("127.0.0.1")?;
    let options = RabbitMqOptions::new().with_mutual_tls(&certificate, &key, &authority.ca);
    let server = options.start().await?;
    server.ctl(&["add_user", "a client", "unused"]).await?;
    let port = server.tls_port().ok_or("it speaks TLS")?;
    check(server.tls_url() == Some(format!("amqps://guest:guest@127.0.0.1:{port}")), "its URL")?;
    let (certificate, key) = authority.sign("a client")?;
    let mut open = Amqp::over(authority.tls(port, Some((&certificate, &key)))?);
    let start = String::from_utf8_lossy(&open.start()?).into_owned();
    check(start.contains("EXTERNAL"), &start)?;
    open.log_in("EXTERNAL", b"")?;
    let refused = Amqp::over(authority.tls(port, None)?).start();
    check(refused.is_err(), "nobody is let in without a certificate")?;
    // Who speaks no TLS gives a password.
    amqp::connect(server.port())?;
    Ok(())
}

async fn shows_its_log() -> Outcome {
    let options = RabbitMqOptions::new().with_config("heartbeat = often");
    let err = options.start().await.err().ok_or("it started on nonsense")?;
    check(err.kind() == ErrorKind::Unreachable, "it is not there")?;
    let told = err.to_string();
    check(told.contains("heartbeat") && told.contains("exit status"), &told)
}

async fn missing_program() -> Outcome {
    for program in ["/nonexistent/rabbitmq-server", "/dev/null"] {
        let err = RabbitMqOptions::new().with_program(program).start().await.err();
        check(err.is_some_and(|err| err.kind() == ErrorKind::NotFound), program)?;
    }
    Ok(())
}

/// Who has `folder` as its home: the broker, and whatever it started.
fn processes_of(folder: &Path) -> Outcome<Vec<u32>> {
    let home = format!("HOME={}", folder.display()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse() else { continue };
        // One that has ended meanwhile has none.
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|it| it == home) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Signs certificates.
struct Authority {
    folder: TempDir,
    ca: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, issuer.pem())?;
        Ok(Self { folder, ca, issuer })
    }

    /// A certificate for `name`, which is its common name, too, and its key: PEM files.
    fn sign(&self, name: &str) -> Outcome<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.replace(' ', "-")])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let path = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        fs::write(path("pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(path("key"), key.serialize_pem())?;
        Ok((path("pem"), path("key")))
    }

    fn tls(
        &self,
        port: u16,
        mine: Option<(&Path, &Path)>,
    ) -> Outcome<StreamOwned<ClientConnection, TcpStream>> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match mine {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config.with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate)?],
                PrivateKeyDer::from_pem_file(key)?,
            )?,
        };
        let name = ServerName::try_from("127.0.0.1")?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        Ok(StreamOwned::new(tls, amqp::tcp(port)?))
    }
}

fn check(held: bool, what: &str) -> Outcome {
    if held { Ok(()) } else { Err(format!("was not so: {what}").into()) }
}

const PATIENCE: Duration = Duration::from_secs(120);
