//! A running RabbitMQ, and what its administrator does to it.
use std::{fmt::Write, io, ops::Deref, process::Stdio, time::Duration};

use serde_json::Value;
use sinew_core::{Error, ErrorKind, Result};
use tokio::{process::Command, time::timeout};

use super::{super::Server, launch::Launch};

/// A running RabbitMQ: a [`Server`], with its URL and its `rabbitmqctl`, a call of which takes about a second.
#[derive(Debug)]
pub struct RabbitMq {
    server: Server,
    launch: Launch,
    tls: Option<u16>,
}

impl RabbitMq {
    pub(super) fn new(server: Server, launch: Launch, tls: Option<u16>) -> Self {
        Self { server, launch, tls }
    }

    /// Where to connect, to the virtual host `/`: `amqp://guest:guest@127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.server.port())
    }

    /// Where to connect to another virtual host, whose name is percent-encoded here.
    #[must_use]
    pub fn url_of(&self, vhost: &str) -> String {
        let mut url = self.url();
        url.push('/');
        for byte in vhost.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url
    }

    /// Where to connect by TLS, to the virtual host `/`: `amqps://guest:guest@127.0.0.1:PORT`; `None` without TLS.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.tls.map(|port| format!("amqps://guest:guest@127.0.0.1:{port}"))
    }

    /// The port of 127.0.0.1 that speaks TLS, the same in each of its lives; `None` without TLS.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls
    }

    /// The `rabbitmqctl` that knows it, for who runs it by themselves.
    #[must_use]
    pub fn control(&self) -> std::process::Command {
        self.launch.control()
    }

    /// Runs `rabbitmqctl`, and gives what it wrote to its standard output.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when the broker is dead, [`ErrorKind::Timeout`] when the command takes more than 60 s,
    /// [`ErrorKind::Internal`], with what it complained of, when it fails.
    ///
    /// # Cancel safety
    ///
    /// A dropped call kills `rabbitmqctl`; what it was told to do may or may not have been done.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let command = arguments.first().copied().unwrap_or_default();
        let failed = |kind| Error::new(kind, format!("run rabbitmqctl {command}"));
        if self.server.id().is_none() {
            return Err(failed(ErrorKind::Closed).with_detail("the broker is dead: restart it"));
        }
        let mut program = Command::from(self.control());
        program.arg("--quiet").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let internal = |err: io::Error| failed(ErrorKind::Internal).with_source(err);
        let output = timeout(PATIENCE, program.output())
            .await
            .map_err(|_| failed(ErrorKind::Timeout))?
            .map_err(internal)?;
        if output.status.success() {
            return String::from_utf8(output.stdout)
                .map_err(|err| internal(io::Error::new(io::ErrorKind::InvalidData, err)));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(failed(ErrorKind::Internal).with_detail(format!("{}: {complaint}", output.status)))
    }

    /// Asks for a list, such as `&["list_queues", "-p", "/", "name", "messages"]`, and gives its rows: JSON objects with
    /// a value for each column.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`]; [`ErrorKind::Protocol`] when what comes is no list.
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let told = self.ctl(&[arguments, &["--formatter", "json"]].concat()).await?;
        serde_json::from_str(&told)
            .map_err(|err| Error::new(ErrorKind::Protocol, "read rabbitmqctl").with_source(err))
    }

    /// Adds a virtual host in which `guest` may do everything: a place of one's own in a shared broker.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`].
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn add_vhost(&self, name: &str) -> Result<()> {
        self.ctl(&["add_vhost", name]).await?;
        self.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]).await.map(drop)
    }

    /// Raises the memory alarm, so that it blocks whoever publishes, or clears it.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`].
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn memory_alarm(&self, on: bool) -> Result<()> {
        let limit: &[&str] = if on { &["0.0000001"] } else { &["absolute", MEMORY] };
        self.ctl(&[&["set_vm_memory_high_watermark"], limit].concat()).await.map(drop)
    }

    /// Raises the disk alarm, so that it blocks whoever publishes, or clears it.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`].
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn disk_alarm(&self, on: bool) -> Result<()> {
        let limit = if on { "1000000GB" } else { DISK };
        self.ctl(&["set_disk_free_limit", limit]).await.map(drop)
    }

    /// Closes every connection by `connection.close` 320, as an administrator does, with `reason` in its text.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`].
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn close_all_connections(&self, reason: &str) -> Result<()> {
        self.ctl(&["close_all_connections", reason]).await.map(drop)
    }

    /// Deletes a queue under its consumers, who are told by `basic.cancel`.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::ctl`]; [`ErrorKind::Internal`] when there is no such queue.
    ///
    /// # Cancel safety
    ///
    /// As [`RabbitMq::ctl`].
    pub async fn delete_queue(&self, vhost: &str, queue: &str) -> Result<()> {
        self.ctl(&["delete_queue", "-p", vhost, queue]).await.map(drop)
    }
}

impl Deref for RabbitMq {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// What it may use, where no alarm is meant: the same on every machine.
pub(super) const MEMORY: &str = "1GB";
pub(super) const DISK: &str = "1MB";
const PATIENCE: Duration = Duration::from_secs(60);
