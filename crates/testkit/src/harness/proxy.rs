//! A TCP proxy that spoils a link.
use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// A TCP proxy on loopback between a client and a server, that cuts the link, delays it, or swallows what it carries.
///
/// Dropping it ends it and every connection through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accept: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Forward { delay: Duration },
    Swallow,
    Cut,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the system says when there is no port to listen on.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Forward { delay: Duration::ZERO });
        let accept = tokio::spawn(accept(listener, upstream, seen));
        Ok(Self { address, mode, accept })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection, and every new one at once, until [`Proxy::heal`].
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Forwards each piece of data, in either direction, after `delay`.
    pub fn delay(&self, delay: Duration) {
        self.mode.send_replace(Mode::Forward { delay });
    }

    /// Keeps connections open, takes new ones, swallows whatever is sent, and answers nothing, until
    /// [`Proxy::heal`].
    pub fn half_open(&self) {
        self.mode.send_replace(Mode::Swallow);
    }

    /// Forwards again. A connection that lost data meanwhile is reset.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Forward { delay: Duration::ZERO });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, mode: watch::Receiver<Mode>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(carry(client, upstream, mode.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until both sides have ended it, or a cut does.
async fn carry(mut client: TcpStream, upstream: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let started = *mode.borrow_and_update();
    match started {
        Mode::Forward { .. } => {
            if let Ok(mut server) = TcpStream::connect(upstream).await {
                // A wire of its own would not hold small packets back for 40 ms, either.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_client, to_client) = client.split();
                let (from_server, to_server) = server.split();
                let both = async {
                    tokio::try_join!(
                        pump(from_client, to_server, mode.clone()),
                        pump(from_server, to_client, mode.clone()),
                    )
                };
                let mut cut = mode.clone();
                tokio::select! {
                    carried = both => if carried.is_ok() {
                        return;
                    },
                    _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
                }
                let _ = server.set_zero_linger();
            }
        }
        // One that is half open when it comes never reaches the server.
        Mode::Swallow => {
            let mut piece = [0; 4096];
            tokio::select! {
                () = async { while client.read(&mut piece).await.is_ok_and(|read| read > 0) {} } => {}
                _ = mode.wait_for(|mode| *mode != Mode::Swallow) => {}
            }
        }
        Mode::Cut => {}
    }
    // Closing without lingering resets.
    let _ = client.set_zero_linger();
}

/// Carries one direction to its end; an error asks for a reset.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    let mut swallowed = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read?,
            changed = mode.changed(), if swallowed => match changed {
                Ok(()) if *mode.borrow() == Mode::Swallow => continue,
                _ => return Err(reset()),
            },
        };
        if read == 0 {
            return to.shutdown().await;
        }
        let now = *mode.borrow_and_update();
        match now {
            Mode::Forward { .. } if swallowed => return Err(reset()),
            Mode::Forward { delay } => {
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                to.write_all(piece.get(..read).unwrap_or_default()).await?;
            }
            Mode::Swallow => swallowed = true,
            Mode::Cut => return Err(reset()),
        }
    }
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
