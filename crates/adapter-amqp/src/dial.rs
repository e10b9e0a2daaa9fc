//! Making a connection: TCP, TLS and the login, all of it within one deadline.
use std::{
    fmt, io,
    net::{Shutdown, TcpStream as StdTcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_compat::Compat;
use lapin::{
    Connection, ConnectionProperties,
    tcp::{AsyncTcpStream, RustlsConnector},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use rustls::pki_types::ServerName;
use sinew_core::ErrorKind;
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

use crate::{
    AmqpOptions,
    error::Cause,
    login::Login,
    refusal::Terms,
    stream::{self, Guarded},
    tls,
};

/// The largest frame that we take, in bytes: what RabbitMQ proposes. The client's buffers are multiples of it.
const FRAME_MAX: u32 = 128 << 10;

/// Where connections are made, again and again.
pub(crate) struct Door {
    /// Without the login: the client prints URIs.
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: Option<RustlsConnector>,
    terms: Terms,
    connect_timeout: Duration,
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) connection: Connection,
    /// Missing where somebody else made the connection.
    pub(crate) line: Option<Line>,
}

/// A hold on a connection's socket: dropped, it cuts the connection.
///
/// The client's own thread waits for the broker without a deadline, before the login and after a close. What it waits
/// for is the socket; cut, the thread ends.
#[derive(Debug)]
pub(crate) struct Line(StdTcpStream);

impl Line {
    /// Cuts the connection.
    pub(crate) fn cut(&self) {
        // It fails when the peer was faster, or it was cut before.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
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
        let external = matches!(target.login, Login::External);
        let terms = Terms { tls: tls.is_some(), external };
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
        Ok(Self { uri, properties, tls, terms, connect_timeout: target.connect_timeout })
    }

    /// Makes a connection, on the runtime that polls this.
    ///
    /// Cancel safe: dropped, nothing of the attempt stays.
    pub(crate) async fn open(&self) -> Result<Dialed, Cause> {
        match timeout(self.connect_timeout, self.attempt()).await {
            Ok(made) => made.map_err(|source| Cause::Connect { terms: self.terms, source }),
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
        let stream = AsyncTcpStream::Plain(Guarded::new(stream));
        // The client may ask for one stream only: it retries nothing.
        let stream = Mutex::new(Some(stream));
        let once = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let (uri, properties) = (self.uri.clone(), self.properties.clone());
        let connection = Connection::connector(uri, stream::runtime(), once, properties).await?;
        Ok(Dialed { connection, line: Some(line) })
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("host", &self.uri.authority.host)
            .field("port", &self.uri.authority.port)
            .field("vhost", &self.uri.vhost)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::Error;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::interval,
    };

    use super::*;

    const QUICK: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server that reads something and answers `answer`, then stays, or hangs up if there is none.
    async fn serve(answer: Option<&'static [u8]>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    let _ = client.read(&mut buffer).await;
                    let Some(answer) = answer else { return };
                    let _ = client.write_all(answer).await;
                    while client.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
                });
            }
        });
        port
    }

    async fn refused(url: String, timeout: Duration) -> Error {
        let options = AmqpOptions::new(url).with_connect_timeout(timeout);
        let at = options.redacted();
        let door = Door::new(options).await.unwrap();
        let cause = door.open().await.unwrap_err();
        cause.during("amqp connect").on(at).into()
    }

    /// The client's threads in this process.
    #[cfg(target_os = "linux")]
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "lapin-io-loop").count()
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let err = refused(format!("amqp://127.0.0.1:{port}"), PATIENCE).await;
        assert_eq!((err.kind(), err.is_transient()), (ErrorKind::Unreachable, true));
        assert!(err.to_string().contains("is RabbitMQ running there?"), "{err}");
        let err = refused("amqp://no-such-host.invalid".to_owned(), PATIENCE).await;
        assert_eq!(err.kind(), ErrorKind::Unreachable);
    }

    #[tokio::test]
    async fn who_speaks_something_else_is_no_broker() {
        for answer in [
            &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..],
            b"INFO {\"server_id\":\"N\",\"version\":\"2.12.0\",\"proto\":1}\r\n",
            b"AMQP\x00\x01\x00\x00",
            // An alert of TLS: a handshake was expected.
            b"\x15\x03\x03\x00\x02\x02\x0a",
        ] {
            let port = serve(Some(answer)).await;
            let err = refused(format!("amqp://127.0.0.1:{port}"), PATIENCE).await;
            assert_eq!((err.kind(), err.is_transient()), (ErrorKind::Protocol, false), "{err}");
        }
    }

    #[tokio::test]
    async fn who_hangs_up_is_not_ready() {
        let port = serve(None).await;
        for scheme in ["amqp", "amqps"] {
            let err = refused(format!("{scheme}://127.0.0.1:{port}"), PATIENCE).await;
            assert_eq!((err.kind(), err.is_transient()), (ErrorKind::Unreachable, true), "{err}");
            assert!(err.to_string().contains("closed during the handshake"), "{err}");
        }
    }

    #[tokio::test]
    async fn who_speaks_no_tls_is_told_from_who_is_away() {
        let port = serve(Some(b"AMQP\x00\x00\x09\x01")).await;
        let err = refused(format!("amqps://127.0.0.1:{port}"), PATIENCE).await;
        assert_eq!((err.kind(), err.is_transient()), (ErrorKind::Unreachable, false));
        assert!(err.to_string().contains("TLS handshake failed"), "{err}");
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn attempts_at_a_silent_server_leave_no_thread() {
        let port = serve(Some(b"")).await;
        let attempts = (0..8).map(|_| refused(format!("amqp://127.0.0.1:{port}"), QUICK));
        for err in futures_util::future::join_all(attempts).await {
            assert_eq!((err.kind(), err.is_transient()), (ErrorKind::Timeout, true));
        }
        let err = refused(format!("amqps://127.0.0.1:{port}"), QUICK).await;
        assert_eq!(err.kind(), ErrorKind::Timeout);
        // One that is dropped half-way, too.
        let door = AmqpOptions::new(format!("amqp://127.0.0.1:{port}"));
        let door = Door::new(door).await.unwrap();
        assert!(timeout(QUICK, door.open()).await.is_err());
        let gone = async {
            let mut look = interval(Duration::from_millis(10));
            while threads() > 0 {
                look.tick().await;
            }
        };
        assert!(timeout(PATIENCE, gone).await.is_ok(), "{} threads are left", threads());
    }
}
