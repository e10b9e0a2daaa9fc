//! The stream of the client, with the [`Guard`] on what it reads and the [`Gate`] on what it writes, and the runtime that
//! lets the client have such a one.
use std::{
    future::ready,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready as poll_ready},
    time::{Duration, Instant},
};

use async_compat::Compat;
use async_rs::{
    Runtime, Tokio,
    traits::Reactor,
    util::{DummyIO, RuntimeParts},
};
use futures_core::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::AsyncTcpStream;
use tokio::net::TcpStream;

use crate::{gate::Gate, guard::Guard};

/// What is connected, with or without TLS.
type Inner = AsyncTcpStream<Compat<TcpStream>>;

/// A connection that is looked through before the client reads it, and behind the client when it writes.
pub(crate) struct Guarded {
    inner: Inner,
    guard: Guard,
    gate: Gate,
}

impl Guarded {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner, guard: Guard::default(), gate: Gate::default() }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, guard, .. } = self.get_mut();
        let count = poll_ready!(Pin::new(inner).poll_read(cx, buffer))?;
        if let Some(read) = buffer.get_mut(..count) {
            guard.pass(read);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, gate, .. } = self.get_mut();
        gate.poll_write(cx, inner, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, gate, .. } = self.get_mut();
        poll_ready!(gate.poll_held(cx, inner))?;
        Pin::new(inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, gate, .. } = self.get_mut();
        poll_ready!(gate.poll_held(cx, inner))?;
        Pin::new(inner).poll_close(cx)
    }
}

/// The runtime of the caller, for the client: its clock and its tasks. It opens no stream, the client is given one.
pub(crate) fn runtime() -> Runtime<RuntimeParts<Tokio, Clock>> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Clock(tokio)))
}

#[derive(Clone, Debug)]
pub(crate) struct Clock(Tokio);

impl Reactor for Clock {
    type TcpStream = Guarded;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<DummyIO, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, wait: Duration) -> Self::Sleep {
        self.0.sleep(wait)
    }

    fn interval(&self, every: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(every)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Guarded>> + Send + 'static {
        ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
