//! Who receives webhooks: a real HTTP server.
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::{Fallible, LONG};

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// What the header says; nothing when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A server on a port of its own, until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
    connections: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Answers the nth request, from 0, as `answer` says.
    pub(crate) async fn start(
        answer: impl Fn(usize) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Fallible<Self> {
        Self::listen(None, &[], answer).await
    }

    /// Takes all that comes over TLS.
    pub(crate) async fn start_tls(authority: &Authority) -> Fallible<Self> {
        Self::start_tls_after(authority, &[]).await
    }

    /// The same, once it has met a connection for each of `alerts` with this fatal alert of TLS.
    pub(crate) async fn start_tls_after(authority: &Authority, alerts: &[u8]) -> Fallible<Self> {
        Self::listen(Some(authority.acceptor()?), alerts, |_| status(204)).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        alerts: &[u8],
        answer: impl Fn(usize) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (requests, received) = mpsc::unbounded_channel();
        let (accepted, connections) = mpsc::unbounded_channel();
        let alerts = alerts.to_vec();
        let task = tokio::spawn(async move {
            for alert in alerts {
                let Ok((stream, _)) = listener.accept().await else { return };
                let _unread = accepted.send(());
                let _gone = refuse(stream, alert).await;
            }
            let count = AtomicUsize::new(0);
            let answer = || answer(count.fetch_add(1, Ordering::Relaxed));
            // One after the other, as the sender sends them.
            while let Ok((stream, _)) = listener.accept().await {
                let _unread = accepted.send(());
                match &tls {
                    None => serve(stream, &requests, &answer).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, &requests, &answer).await;
                        }
                    }
                }
            }
        });
        Ok(Self { address, received, connections, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) async fn next(&mut self) -> Fallible<Received> {
        Ok(timeout(LONG, self.received.recv()).await?.ok_or("the server ended")?)
    }

    /// What came in and nobody has looked at yet.
    pub(crate) fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// How many connections there were since it was asked last.
    pub(crate) fn connections(&mut self) -> usize {
        std::iter::from_fn(|| self.connections.try_recv().ok()).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the begin of a handshake with a fatal alert.
async fn refuse(mut stream: TcpStream, alert: u8) -> io::Result<()> {
    // The header of a record ends with its length; what is not read would reset the connection.
    let mut header = [0; 5];
    stream.read_exact(&mut header).await?;
    let mut hello = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
    stream.read_exact(&mut hello).await?;
    stream.write_all(&[21, 3, 3, 0, 2, 2, alert]).await
}

/// An answer of this status, and nothing else.
pub(crate) fn status(status: u16) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status.try_into().unwrap_or_default();
    answer
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    requests: &mpsc::UnboundedSender<Received>,
    answer: &(impl Fn() -> Response<Full<Bytes>> + Sync),
) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
        let path = format!("{} {}", head.method, head.uri);
        let _unread = requests.send(Received { path, headers: head.headers, body });
        Ok::<_, Infallible>(answer())
    });
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A certificate authority of our own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Fallible<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server for 127.0.0.1, and for no name.
    fn acceptor(&self) -> Fallible<TlsAcceptor> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        let chain = vec![params.signed_by(&key, &self.0)?.der().clone()];
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der())?)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
