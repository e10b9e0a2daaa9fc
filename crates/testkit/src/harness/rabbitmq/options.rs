//! How to run RabbitMQ.
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use sinew_core::{BoxFuture, Error, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    super::{Recipe, Server, locate::find_rabbitmq_server, port},
    RabbitMq, broker,
    launch::{self, Launch},
};

/// How to run RabbitMQ. Starts with the user `guest`, password `guest`, and without TLS.
#[derive(Clone, Debug, Default)]
pub struct RabbitMqOptions {
    program: Option<PathBuf>,
    tls: Option<String>,
    external: bool,
    config: String,
    arguments: String,
}

impl RabbitMqOptions {
    /// With the user `guest`, password `guest`, and without TLS.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs this `rabbitmq-server`. Default: what [`find_rabbitmq_server`] finds.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Speaks TLS too, on a port of its own, with a certificate and its key in PEM files. Default: no TLS.
    #[must_use]
    pub fn with_tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some(format!(
            "ssl_options.certfile = {}\nssl_options.keyfile = {}\n",
            certificate.display(),
            key.display()
        ));
        self
    }

    /// Speaks TLS too, asks clients for a certificate that descends from the authority in `ca`, a PEM file, and lets
    /// them in by it (`EXTERNAL`): as the user that is called like its common name, who has yet to be added.
    #[must_use]
    pub fn with_mutual_tls(self, certificate: &Path, key: &Path, ca: &Path) -> Self {
        let mut this = self.with_tls(certificate, key);
        if let Some(tls) = &mut this.tls {
            // Writing to a String cannot fail.
            let _ = write!(
                tls,
                "ssl_options.cacertfile = {}\n\
                 ssl_options.verify = verify_peer\n\
                 ssl_options.fail_if_no_peer_cert = true\n\
                 ssl_cert_login_from = common_name\n\
                 auth_mechanisms.1 = EXTERNAL\n\
                 auth_mechanisms.2 = PLAIN\n\
                 auth_mechanisms.3 = AMQPLAIN\n",
                ca.display()
            );
        }
        this.external = true;
        this
    }

    /// The heartbeat that it proposes, in whole seconds; 0 for none. Default: the broker's, 60 s.
    #[must_use]
    pub fn with_heartbeat(self, interval: Duration) -> Self {
        self.with_config(&format!("heartbeat = {}", interval.as_secs()))
    }

    /// The largest frame that it proposes, in bytes, at least 8192. Default: the broker's, 128 KiB.
    #[must_use]
    pub fn with_frame_max(self, bytes: u32) -> Self {
        self.with_config(&format!("frame_max = {bytes}"))
    }

    /// How many channels a connection may have. Default: the broker's, 2047.
    #[must_use]
    pub fn with_channel_max(self, channels: u16) -> Self {
        self.with_config(&format!("channel_max = {channels}"))
    }

    /// Refuses messages of more than this many bytes. Default: the broker's, 128 MiB.
    #[must_use]
    pub fn with_max_message_size(self, bytes: usize) -> Self {
        self.with_config(&format!("max_message_size = {bytes}"))
    }

    /// Closes a channel that leaves a delivery unsettled for this long, and looks each second whether one does. From 4.3 on
    /// quorum queues take theirs back, and others do not. Default: the broker's, 30 min, looked for each minute.
    #[must_use]
    pub fn with_consumer_timeout(mut self, timeout: Duration) -> Self {
        self.arguments.push_str(" -rabbit channel_tick_interval 1000");
        self.with_config(&format!("consumer_timeout = {}", timeout.as_millis()))
    }

    /// Adds lines to its configuration, in the syntax of `rabbitmq.conf`. Default: none.
    #[must_use]
    pub fn with_config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Starts it, and ends when it takes connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when this machine has no RabbitMQ, and as [`Server::start`] has them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no process.
    pub async fn start(self) -> Result<RabbitMq> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => find_rabbitmq_server()?,
        };
        let scripts = launch::scripts(&program).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "run rabbitmq")
                .with_detail(format!("{} is no rabbitmq-server", program.display()))
        })?;
        let tls = self.tls.is_some();
        let server =
            Server::start(RabbitMqRecipe { scripts: scripts.clone(), options: self }).await?;
        let ports = Ports::of(server.folder()).map_err(failed)?;
        let launch = launch_in(server.folder(), scripts, server.port(), ports);
        Ok(RabbitMq::new(server, launch, tls.then_some(ports.tls)))
    }

    fn config(&self, ports: Ports) -> String {
        let mut text = format!(
            "vm_memory_high_watermark.absolute = {}\ndisk_free_limit.absolute = {}\n",
            broker::MEMORY,
            broker::DISK
        );
        if let Some(tls) = &self.tls {
            // Writing to a String cannot fail.
            let _ = write!(text, "listeners.ssl.default = 127.0.0.1:{}\n{tls}", ports.tls);
        }
        text.push_str(&self.config);
        text
    }
}

struct RabbitMqRecipe {
    scripts: PathBuf,
    options: RabbitMqOptions,
}

impl Recipe for RabbitMqRecipe {
    fn name(&self) -> &str {
        "rabbitmq"
    }

    fn command(&self, folder: &Path, port: u16) -> Result<Command> {
        let ports = Ports::of(folder).map_err(failed)?;
        let plugins =
            if self.options.external { "[rabbitmq_auth_mechanism_ssl].\n" } else { "[].\n" };
        launch_in(folder, self.scripts.clone(), port, ports)
            .server(&self.options.config(ports), plugins, &self.options.arguments)
            .map_err(failed)
    }

    /// It answers a client's first 8 bytes with `connection.start`, in which its name shows that it is ours. The port of
    /// TLS it opens later.
    fn ready<'a>(&'a self, folder: &'a Path, port: u16) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            let mut head = [0; 7];
            stream.read_exact(&mut head).await?;
            let [1, 0, 0, 0, 0, high, low] = head else { return Err(stranger()) };
            let mut body = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            stream.read_exact(&mut body).await?;
            let name = format!("{}@", node(port));
            let named = body.windows(name.len()).any(|window| window == name.as_bytes());
            if !body.starts_with(CONNECTION_START) || !named {
                return Err(stranger());
            }
            match self.options.tls {
                Some(_) => {
                    let tls = Ports::of(folder)?.tls;
                    TcpStream::connect(("127.0.0.1", tls)).await.map(drop)
                }
                None => Ok(()),
            }
        })
    }
}

/// The ports beside the AMQP one: a folder's own in each life of its broker.
#[derive(Clone, Copy)]
struct Ports {
    distribution: u16,
    tls: u16,
}

impl Ports {
    fn of(folder: &Path) -> io::Result<Self> {
        let note = folder.join("ports");
        if let Ok(text) = fs::read_to_string(&note) {
            let mut ports = text.split_whitespace().map(str::parse);
            if let (Some(Ok(distribution)), Some(Ok(tls))) = (ports.next(), ports.next()) {
                return Ok(Self { distribution, tls });
            }
        }
        let this = Self { distribution: port::free()?, tls: port::free()? };
        fs::write(note, format!("{} {}\n", this.distribution, this.tls))?;
        Ok(this)
    }
}

fn launch_in(folder: &Path, scripts: PathBuf, port: u16, ports: Ports) -> Launch {
    Launch {
        scripts,
        folder: folder.to_owned(),
        node: format!("{}@localhost", node(port)),
        port,
        distribution: ports.distribution,
    }
}

/// Different in each process that runs tests.
fn node(port: u16) -> String {
    format!("sinew-{}-{port}", process::id())
}

fn stranger() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another program has its port")
}

fn failed(err: io::Error) -> Error {
    Error::new(ErrorKind::Internal, "configure rabbitmq").with_source(err)
}

/// Class 10, method 10.
const CONNECTION_START: &[u8] = &[0, 10, 0, 10];
