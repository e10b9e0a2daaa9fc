//! Making a connection: TCP, TLS and the login, all of it within one deadline.
use std::{
    fmt, io,
    net::{Shutdown, TcpStream as StdTcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_compat::Compat;
use async_rs::TokioRuntime;
use lapin::{
    Connection, ConnectionProperties,
    tcp::{AsyncTcpStream, RustlsConnector},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use rustls::pki_types::ServerName;
use sinew_core::ErrorKind;
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

use crate::{AmqpOptions, error::Cause, tls};

/// The largest frame that we take, in bytes: what RabbitMQ proposes. The client's buffers are multiples of it.
const FRAME_MAX: u32 = 128 << 10;

/// Where connections are made, again and again.
pub(crate) struct Door {
    /// Without the login: the client prints URIs.
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: Option<RustlsConnector>,
    connect_timeout: Duration,
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) connection: Connection,
    pub(crate) line: Line,
}

/// A hold on a connection's socket: dropped, it cuts the connection.
///
/// The client's own thread waits for the broker without a deadline, before the login and after a close. What it waits
/// for is the socket; cut, the thread ends.
#[derive(Debug)]
pub(crate) struct Line(StdTcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        // It fails when the peer was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Door {
    /// Checks the options, and reads the files that they name.
    ///
    /// Cancel safe.
    pub(crate) async fn new(options: AmqpOptions) -> Result<Self, Cause> {
        spawn_blocking(move || Self::read(&options))
            .await
            .map_err(|_| Cause::plain(ErrorKind::Internal, "the TLS configuration panicked"))?
    }

    fn read(options: &AmqpOptions) -> Result<Self, Cause> {
        let target = options.target()?;
        let tls = match &target.tls {
            None => None,
            Some(_) if ServerName::try_from(target.host.as_str()).is_err() => {
                return Err(Cause::options("no certificate can be for such a host name"));
            }
            Some(files) => Some(tls::config(files)?.into()),
        };
        let uri = AMQPUri {
            // Whatever it says, the stream is ours.
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: String::new(), password: String::new() },
                host: target.host,
                port: target.port,
            },
            vhost: target.vhost.to_string(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(target.heartbeat),
                ..AMQPQueryString::default()
            },
        };
        let mut properties = ConnectionProperties::default()
            .with_client_property("product".into(), "sinew".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_auth_provider(target.login);
        if let Some(name) = target.name {
            properties = properties.with_connection_name(name.into());
        }
        Ok(Self { uri, properties, tls, connect_timeout: target.connect_timeout })
    }

    /// Makes a connection, on the runtime that polls this.
    ///
    /// Cancel safe: dropped, nothing of the attempt stays.
    pub(crate) async fn open(&self) -> Result<Dialed, Cause> {
        let tls = self.tls.is_some();
        match timeout(self.connect_timeout, self.attempt()).await {
            Ok(made) => made.map_err(|source| Cause::Connect { tls, source }),
            Err(_) => Err(Cause::plain(
                ErrorKind::Timeout,
                "the broker did not answer in time; is it RabbitMQ, and does it speak TLS just if we do?",
            )),
        }
    }

    async fn attempt(&self) -> lapin::Result<Dialed> {
        let AMQPAuthority { host, port, .. } = &self.uri.authority;
        let tcp = TcpStream::connect((host.as_str(), *port)).await?;
        tcp.set_nodelay(true)?;
        let tcp = tcp.into_std()?;
        let line = Line(tcp.try_clone()?);
        let mut stream = AsyncTcpStream::Plain(Compat::new(TcpStream::from_std(tcp)?));
        if let Some(connector) = &self.tls {
            stream = stream.into_rustls(connector, host).await?;
        }
        // The client may ask for one stream only: it retries nothing.
        let stream = Mutex::new(Some(stream));
        let once = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let runtime = TokioRuntime::tokio_current();
        let connection =
            Connection::connector(self.uri.clone(), runtime, once, self.properties.clone()).await?;
        Ok(Dialed { connection, line })
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("host", &self.uri.authority.host)
            .field("port", &self.uri.authority.port)
            .field("vhost", &self.uri.vhost)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
