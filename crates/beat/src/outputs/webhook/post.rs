//! One attempt: a connection of its own, a request, and what the answer means.
use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error as StdError,
    future::pending,
    io,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, client::conn::http1, header::RETRY_AFTER,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use sinew_core::{Error, ErrorKind, Sent};
use tokio::{select, time::timeout};
use tower_service::Service as _;

use super::target::Target;

/// What the head of an answer may take, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The body of an answer is read, so that whoever writes it sees no reset; no more of it, in bytes, and for no longer.
const MAX_ANSWER: usize = 64 * 1024;
const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// Transient when another attempt may succeed.
    pub(super) error: Error,
    /// What the receiver asked to wait for.
    pub(super) asked: Option<Duration>,
}

/// Sends requests to one target.
pub(super) struct Poster {
    connector: HttpsConnector<HttpConnector>,
    pub(super) target: Target,
    timeout: Duration,
}

impl Poster {
    pub(super) fn new(target: Target, tls: ClientConfig, timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared by the addresses of the host, so that the first one does not take all of it.
        http.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Self { connector, target, timeout }
    }

    /// Sends a request, and reads whether it was taken. Dropping it closes the connection.
    pub(super) async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<(), Failed> {
        match timeout(self.timeout, self.exchange(headers, body)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let detail = format!("no answer within {:?}", self.timeout);
                Err(self.failed(ErrorKind::Timeout, detail).with_sent(Sent::Maybe).into())
            }
        }
    }

    async fn exchange(&self, headers: HeaderMap, body: Bytes) -> Result<(), Failed> {
        let stream = self.connector.clone().call(self.target.uri.clone()).await;
        let stream = stream.map_err(|err| self.unreachable(err))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(stream)
            .await
            .map_err(|err| self.broken(err))?;
        let request = self.request(headers, body);
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|err| self.broken(err))?;
            let verdict = self.verdict(&answer);
            let rest = Limited::new(answer.into_body(), MAX_ANSWER).collect();
            // Whatever it is, the verdict stands.
            let _rest = timeout(LONGEST_ANSWER, rest).await;
            verdict
        };
        let driven = async {
            // Whoever waits for the answer is told why it ended.
            let _ended = connection.await;
            pending::<Infallible>().await
        };
        select! {
            verdict = answered => verdict,
            never = driven => match never {},
        }
    }

    fn request(&self, own: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.path.clone();
        *request.headers_mut() = self.target.headers.clone();
        request.headers_mut().extend(own);
        request
    }

    /// What an answer means: 2xx that it was taken, 408, 429 and 5xx that it may be later, all else that it never is.
    fn verdict<B>(&self, answer: &Response<B>) -> Result<(), Failed> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
            StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ErrorKind::InvalidPayload,
            StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
            StatusCode::REQUEST_TIMEOUT => ErrorKind::Timeout,
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::Overloaded,
            status if status.is_server_error() => ErrorKind::Overloaded,
            status if status.is_informational() => ErrorKind::Protocol,
            // What is there is no place to post to.
            _ => ErrorKind::InvalidOptions,
        };
        let advice = match status {
            status if status.is_redirection() => "; redirects are not followed, give the new URL",
            _ => "",
        };
        let error = self.failed(kind, format!("the answer is {status}{advice}"));
        Err(Failed { error: error.with_sent(Sent::Yes), asked: retry_after(answer.headers()) })
    }

    /// There was no connection.
    fn unreachable(&self, err: Box<dyn StdError + Send + Sync>) -> Error {
        let error = self.tls_refusal(&*err).unwrap_or_else(|| {
            let is_refused = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionRefused;
            let detail = match cause(&*err) {
                Some(io) if is_refused(io) => "nothing listens there",
                _ => "no connection; is the host's name right, and does it answer?",
            };
            self.failed(ErrorKind::Unreachable, detail)
        });
        error.with_source(err)
    }

    /// There was one, and it ended without an answer.
    fn broken(&self, err: hyper::Error) -> Error {
        let error = match self.tls_refusal(&err) {
            Some(error) => error,
            None if err.is_parse() || err.is_user() => {
                self.failed(ErrorKind::Protocol, "what answered speaks no HTTP/1.1")
            }
            None => self.failed(ErrorKind::Disconnected, "the connection ended before the answer"),
        };
        error.with_sent(Sent::Maybe).with_source(err)
    }

    /// What TLS had against it. Only what the peer would have against the next handshake too is there to stay: a proxy
    /// that is put up anew breaks off handshakes until it is ready.
    fn tls_refusal(&self, err: &(dyn StdError + 'static)) -> Option<Error> {
        use AlertDescription::{BadCertificate, CertificateRequired};

        let (kind, detail) = match cause(err)? {
            rustls::Error::InvalidCertificate(why) => (ErrorKind::Unreachable, distrust(why)),
            rustls::Error::InvalidMessage(_) => {
                (ErrorKind::Unreachable, "it speaks no TLS there; check the port, or use `http://`")
            }
            rustls::Error::AlertReceived(CertificateRequired | BadCertificate) => {
                (ErrorKind::Denied, "it asks for a client certificate, and there is none to give")
            }
            _ => {
                let detail = "the TLS handshake failed; check the port and the TLS there";
                return Some(self.failed(ErrorKind::Unreachable, detail));
            }
        };
        Some(self.failed(kind, detail).with_transient(false))
    }

    fn failed(&self, kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(kind, "alert webhook").with_subject(&self.target.origin).with_detail(detail)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, asked: None }
    }
}

/// Why a certificate is none for us.
fn distrust(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of an authority that is not trusted; check the CA file"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is our clock right?"
        }
        _ => "its certificate is not accepted",
    }
}

/// The first cause of this type, however deep it is wrapped.
fn cause<'a, E: StdError + 'static>(err: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    if let Some(found) = err.downcast_ref() {
        return Some(found);
    }
    // What an I/O error wraps is not its source, but has its source.
    match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => cause(inner),
        None => cause(err.source()?),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_asks_for_is_seconds_or_a_date() {
        let asked = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]))
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked(" 0 "), Some(Duration::ZERO));
        for none in ["", "-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "1e400"] {
            assert_eq!(asked(none), None, "{none}");
        }
        let year = Duration::from_secs(365 * 86_400);
        let date = httpdate::fmt_http_date(SystemTime::now() + year).parse().unwrap();
        let asked = retry_after(&HeaderMap::from_iter([(RETRY_AFTER, date)])).unwrap();
        assert!(asked > year / 2 && asked <= year, "{asked:?}");
    }
}
