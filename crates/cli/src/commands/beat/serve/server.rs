//! The server below the pages: connections, how many and how long, and their end.
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};

use super::routes;

/// What a client may take of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; of further ones those are answered that ask whether we live.
    pub(super) connections: usize,
    /// How many of these there may be at once; who comes after them waits in the queue of the operating system.
    pub(super) probes: usize,
    /// How long a client may take for the head of a request, and between two.
    pub(super) head: Duration,
    /// How long a client may take nothing of what we send.
    pub(super) stalled: Duration,
    /// How long the end may take.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            probes: 16,
            head: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// How long the head of a request may be, in bytes and in lines.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;

/// How long the head of a request may take where every place is taken.
const HURRY: Duration = Duration::from_secs(1);

/// How long to wait when a connection cannot be taken, as when there are too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop`; then the requests under way are finished, within the limit.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let probes = Arc::new(Semaphore::new(limits.probes));
    let hurried = Limits { head: limits.head.min(HURRY), ..limits };
    let only_probes = routes::only_probes(router.clone());
    let mut connections = JoinSet::new();
    let ended = stop.clone();
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(BREATH).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            // Whoever holds all places, by half-sent heads say, cannot have us taken for dead.
            let (place, router, limits) = tokio::select! {
                biased;
                place = Arc::clone(&places).acquire_owned() => (place, &router, limits),
                place = Arc::clone(&probes).acquire_owned() => (place, &only_probes, hurried),
            };
            let connection = connection(stream, router.clone(), limits, ended.clone());
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = accept => {}
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who is not done by then is cut off with the set.
    let _ = timeout(limits.drain, all).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Without it an event may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(
            TokioIo::new(Patient::new(stream, limits.stalled)),
            TowerToHyperService::new(router),
        );
    let mut serving = pin!(serving);
    // What goes wrong with one client is nobody else's concern.
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stopped => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = serving.await;
}

/// A stream whose reader may be slow, but not for ever.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// What a write came to, unless it has waited for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waiting = None;
            return done;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
