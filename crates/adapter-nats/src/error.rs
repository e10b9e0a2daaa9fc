//! What can go wrong, and what each cause means to callers.
use std::{error::Error as StdError, io};

use async_nats::{
    ConnectError, ConnectErrorKind, PublishError, PublishErrorKind, ServerError, SubscribeError,
    SubscribeErrorKind,
};
use sinew_core::{Error, ErrorKind, Sent};

/// A cause, and what was being done.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub(crate) struct NatsError {
    operation: &'static str,
    subject: Option<Box<str>>,
    #[source]
    cause: Cause,
}

/// Why an operation failed. The texts say what to do; what the client reported is the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("the connection was not made")]
    Connect { tls: bool, source: ConnectError },
    #[error("{0}")]
    Options(String),
    #[error("the options name a file that cannot be used")]
    File { what: &'static str, source: io::Error },
    #[error("the TLS options do not fit together")]
    Tls(#[from] rustls::Error),
    #[error("the client refused the message")]
    Publish(#[from] PublishError),
    #[error("the client refused the subscription")]
    Subscribe(#[from] SubscribeError),
    #[error("the server reported it")]
    Server { kind: ErrorKind, detail: &'static str, sent: Sent, source: ServerError },
    #[error("the server answered with an error")]
    Api { kind: ErrorKind, detail: String, sent: Sent },
    #[error("{detail}")]
    Plain { kind: ErrorKind, detail: &'static str, sent: Sent },
}

impl Cause {
    /// A cause that has no source.
    pub(crate) const fn plain(kind: ErrorKind, detail: &'static str) -> Self {
        Self::Plain { kind, detail, sent: Sent::No }
    }

    /// The link is down, known before anything left.
    pub(crate) const fn down() -> Self {
        Self::plain(ErrorKind::Disconnected, "the link is down; it reconnects by itself")
    }

    /// The link went down while an answer was awaited.
    pub(crate) const fn broke() -> Self {
        Self::Plain {
            kind: ErrorKind::Disconnected,
            detail: "the link broke before the answer came",
            sent: Sent::Maybe,
        }
    }

    /// The answer did not come in time.
    pub(crate) const fn late() -> Self {
        Self::Plain {
            kind: ErrorKind::Timeout,
            detail: "the server did not answer in time",
            sent: Sent::Maybe,
        }
    }

    /// The handle, or its link, was closed.
    pub(crate) const fn closed() -> Self {
        Self::plain(ErrorKind::Closed, "the link was drained")
    }

    /// The same, for what was on its way by then.
    pub(crate) const fn cut_off() -> Self {
        Self::Plain {
            kind: ErrorKind::Closed,
            detail: "the link was drained before the answer came",
            sent: Sent::Maybe,
        }
    }

    /// Names the operation: backend, then verb.
    pub(crate) fn during(self, operation: &'static str) -> NatsError {
        NatsError { operation, subject: None, cause: self }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { source, .. } => connect_kind(source),
            Self::Options(_) | Self::File { .. } | Self::Tls(_) => ErrorKind::InvalidOptions,
            Self::Publish(err) => match err.kind() {
                PublishErrorKind::MaxPayloadExceeded => ErrorKind::TooLarge,
                PublishErrorKind::InvalidSubject => ErrorKind::InvalidSubject,
                PublishErrorKind::Send => ErrorKind::Closed,
            },
            Self::Subscribe(err) => match err.kind() {
                SubscribeErrorKind::InvalidSubject => ErrorKind::InvalidPattern,
                SubscribeErrorKind::InvalidQueueName => ErrorKind::InvalidName,
                SubscribeErrorKind::Other => ErrorKind::Closed,
            },
            Self::Server { kind, .. } | Self::Api { kind, .. } | Self::Plain { kind, .. } => *kind,
        }
    }

    const fn sent(&self) -> Sent {
        match self {
            Self::Server { sent, .. } | Self::Api { sent, .. } | Self::Plain { sent, .. } => *sent,
            _ => Sent::No,
        }
    }

    /// Whether waiting does not mend it: refused credentials, a certificate that is not trusted, a peer that speaks
    /// something else.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Connect { source, .. } => is_tls_fault(source) || !self.is_unreachable(),
            _ => true,
        }
    }

    /// What to do about it.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Connect { tls, source } => connect_detail(*tls, source).to_owned(),
            Self::File { what, .. } => format!("the {what} cannot be used"),
            Self::Api { detail, .. } => detail.clone(),
            Self::Server { detail, .. } => (*detail).to_owned(),
            other => other.to_string(),
        }
    }

    /// What the client reported, where there is something.
    fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        match self {
            Self::Connect { source, .. } => Some(source.into()),
            Self::File { source, .. } => Some(source.into()),
            Self::Tls(source) => Some(source.into()),
            Self::Publish(source) => Some(source.into()),
            Self::Subscribe(source) => Some(source.into()),
            Self::Server { source, .. } => Some(source.into()),
            Self::Options(_) | Self::Api { .. } | Self::Plain { .. } => None,
        }
    }
}

impl NatsError {
    /// Names what the operation was on.
    pub(crate) fn on(mut self, subject: impl Into<Box<str>>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

impl From<NatsError> for Error {
    fn from(err: NatsError) -> Self {
        let NatsError { operation, subject, cause } = err;
        let kind = cause.kind();
        // A peer that refuses TLS or speaks something else refuses it again.
        let lasting = matches!(&cause, Cause::Connect { source, .. } if is_tls_fault(source));
        let mut core =
            Self::new(kind, operation).with_sent(cause.sent()).with_detail(cause.detail());
        if lasting {
            core = core.with_transient(false);
        }
        if let Some(subject) = subject {
            core = core.with_subject(subject);
        }
        match cause.into_source() {
            Some(source) => core.with_source(source),
            None => core,
        }
    }
}

fn connect_kind(err: &ConnectError) -> ErrorKind {
    if let Some(fault) = tls_fault(err) {
        return match fault {
            rustls::Error::AlertReceived(alert) if is_certificate_alert(*alert) => {
                ErrorKind::Denied
            }
            _ => ErrorKind::Unreachable,
        };
    }
    match err.kind() {
        ConnectErrorKind::ServerParse => ErrorKind::InvalidOptions,
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ErrorKind::Denied
        }
        ConnectErrorKind::TimedOut => ErrorKind::Timeout,
        _ if is_refused_login(err) => ErrorKind::Denied,
        _ if is_foreign_protocol(err) => ErrorKind::Protocol,
        _ => ErrorKind::Unreachable,
    }
}

fn connect_detail(tls: bool, err: &ConnectError) -> &'static str {
    match (tls_fault(err), connect_kind(err)) {
        (Some(_), ErrorKind::Denied) => {
            "the server asks for a client certificate; give one with `with_client_cert`"
        }
        (Some(_), _) if tls => {
            "the TLS handshake failed; check the server's certificate, its host name and the CA"
        }
        (Some(_), _) => "the server requires TLS; use `tls://`, or `with_tls`",
        (None, ErrorKind::Denied) => "the server refused the credentials",
        (None, ErrorKind::Protocol) => "what answered is no NATS server",
        (None, ErrorKind::Timeout) => "the server did not answer in time; is it a NATS server?",
        (None, ErrorKind::InvalidOptions) => "the address is no NATS URL",
        (None, _) if err.kind() == ConnectErrorKind::Tls => {
            "TLS cannot be set up; check the platform's certificates and the host name"
        }
        (None, _) => "is nats-server running there?",
    }
}

fn tls_fault(err: &ConnectError) -> Option<&rustls::Error> {
    let io = err.source()?.downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>()
}

/// Says whether TLS could not be set up, or failed.
fn is_tls_fault(err: &ConnectError) -> bool {
    err.kind() == ConnectErrorKind::Tls || tls_fault(err).is_some()
}

fn is_certificate_alert(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
    )
}

/// Says whether the server ended the handshake over who we are, in words that the client does not know.
fn is_refused_login(err: &ConnectError) -> bool {
    match err.source().and_then(|source| source.downcast_ref::<ServerError>()) {
        Some(ServerError::AuthorizationViolation) => true,
        Some(ServerError::Other(text)) => {
            let text = text.to_ascii_lowercase();
            text.contains("authentication") || text.contains("authorization")
        }
        _ => false,
    }
}

fn is_foreign_protocol(err: &ConnectError) -> bool {
    let Some(source) = err.source() else { return false };
    match source.downcast_ref::<io::Error>() {
        Some(io) => matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData),
        // The client has no kind for it, only this text.
        None => {
            let text = source.to_string();
            text.starts_with("expected INFO, got") && !text.ends_with("nothing")
        }
    }
}

/// What an asynchronous `-ERR` of the server says that somebody is waiting to hear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Violation<'a> {
    Publish(&'a str),
    Subscription(&'a str),
}

impl<'a> Violation<'a> {
    /// Reads `Permissions Violation for Publish to "a.b"` and its sibling.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.split_once("ermissions Violation for ")?.1;
        let (verb, rest) = rest.split_once(" to \"")?;
        let subject = rest.split_once('"')?.0;
        match verb {
            "Publish" => Some(Self::Publish(subject)),
            "Subscription" => Some(Self::Subscription(subject)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_its_subject() {
        for (text, violation) in [
            (r#"Permissions Violation for Publish to "a.b""#, Some(Violation::Publish("a.b"))),
            (
                r#"Permissions Violation for Subscription to "a.>" using queue "q""#,
                Some(Violation::Subscription("a.>")),
            ),
            ("Stale Connection", None),
            (r#"Permissions Violation for Publish with Reply of "x""#, None),
        ] {
            assert_eq!(Violation::parse(text), violation);
        }
    }

    #[test]
    fn display_never_repeats_its_source() {
        let source = ConnectError::with_source(ConnectErrorKind::Io, "boom");
        let err = Error::from(
            Cause::Connect { tls: false, source }.during("nats connect").on("nats://h:1"),
        );
        assert_eq!(err.kind(), ErrorKind::Unreachable);
        assert!(!err.to_string().contains("boom"));
        assert!(err.source().is_some());
    }
}
