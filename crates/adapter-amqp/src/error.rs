//! What can go wrong, and what each cause means to callers.
use std::{error::Error as StdError, io};

use lapin::{
    ErrorKind as ClientKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};
use sinew_core::{Error, ErrorKind, Sent};

use crate::refusal::{self, Terms, tls_fault};

/// An operation that failed. Never shown to users: it becomes a [`sinew_core::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub(crate) struct AmqpError {
    operation: &'static str,
    subject: Option<Box<str>>,
    #[source]
    cause: Cause,
}

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// What the client says, which is often what the broker said.
    #[error("the client reported it")]
    Client { sent: Sent, source: lapin::Error },
    /// The channel fell, for which something else that was in flight may be to blame.
    #[error("the channel was closed while it was in flight")]
    Fell { source: lapin::Error },
    /// A publish cost its channel.
    #[error("the broker refused it")]
    Refused { kind: ErrorKind, source: lapin::Error },
    /// No connection was made.
    #[error("the connection was not made")]
    Connect { terms: Terms, source: lapin::Error },
    /// A file that options name.
    #[error("the options name a file that cannot be used")]
    File { what: &'static str, source: std::sync::Arc<io::Error> },
    #[error("the TLS options do not fit together")]
    Tls(#[from] rustls::Error),
    /// What the caller gave is not to be used so.
    #[error("{detail}")]
    Given { kind: ErrorKind, detail: String },
    /// What we know by ourselves.
    #[error("{detail}")]
    Plain { kind: ErrorKind, detail: &'static str, sent: Sent },
}

impl Cause {
    pub(crate) const fn plain(kind: ErrorKind, detail: &'static str) -> Self {
        Self::Plain { kind, detail, sent: Sent::No }
    }

    pub(crate) fn options(detail: impl Into<String>) -> Self {
        Self::Given { kind: ErrorKind::InvalidOptions, detail: detail.into() }
    }

    pub(crate) const fn down() -> Self {
        Self::plain(ErrorKind::Disconnected, "the link is down; it reconnects by itself")
    }

    /// The link broke after the frame was handed to the client.
    pub(crate) const fn broke() -> Self {
        Self::Plain {
            kind: ErrorKind::Disconnected,
            detail: "the link broke before the answer came",
            sent: Sent::Maybe,
        }
    }

    /// The broker did not answer in time.
    pub(crate) const fn late() -> Self {
        Self::Plain {
            kind: ErrorKind::Timeout,
            detail: "the broker did not answer in time",
            sent: Sent::Maybe,
        }
    }

    pub(crate) const fn closed() -> Self {
        Self::plain(ErrorKind::Closed, "the link was drained")
    }

    /// Whoever kept it went without a word, as tasks do with their runtime.
    pub(crate) const fn gone() -> Self {
        Self::plain(ErrorKind::Closed, "the runtime that the connection was made on is gone")
    }

    /// The frame had been handed to the client when it failed, so that its fate is open.
    pub(crate) const fn after_sending(source: lapin::Error) -> Self {
        Self::Client { sent: Sent::Maybe, source }
    }

    /// The same, of a message whose fate is `sent`.
    pub(crate) fn with_sent(self, of: Sent) -> Self {
        match self {
            Self::Client { source, .. } => Self::Client { sent: of, source },
            Self::Plain { kind, detail, .. } => Self::Plain { kind, detail, sent: of },
            other => other,
        }
    }

    /// What it means to those of whom nothing but the end of their channel is known.
    pub(crate) fn fell(self) -> Self {
        match self {
            Self::Client { source, .. } => Self::Fell { source },
            known => known.with_sent(Sent::Maybe),
        }
    }

    /// The same, of an attempt to consume: RabbitMQ denies access to a queue that somebody else has for himself.
    pub(crate) fn of_consumer(self) -> Self {
        match &self {
            Self::Client { source, .. } if is_in_use(source) => Self::Given {
                kind: ErrorKind::Conflict,
                detail: "another consumer has the queue for itself".to_owned(),
            },
            _ => self,
        }
    }

    /// The same, told as `kind`: where it happened makes it something else.
    pub(crate) fn of_kind(self, kind: ErrorKind) -> Self {
        Self::Given { kind, detail: self.detail() }
    }

    /// One line for a log.
    pub(crate) fn describe(&self) -> String {
        self.detail()
    }

    pub(crate) fn during(self, operation: &'static str) -> AmqpError {
        AmqpError { operation, subject: None, cause: self }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Client { source, .. } => client_kind(source),
            Self::Fell { .. } => ErrorKind::Disconnected,
            Self::Connect { source, .. } => refusal::kind(source),
            Self::File { .. } | Self::Tls(_) => ErrorKind::InvalidOptions,
            Self::Refused { kind, .. } | Self::Given { kind, .. } | Self::Plain { kind, .. } => {
                *kind
            }
        }
    }

    /// Whether trying again would meet the same refusal: what the broker was asked for is wrong, not the moment.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Connect { source, .. } if tls_fault(source).is_some() => true,
            other => !client_kind_is_passing(other.kind()),
        }
    }

    const fn sent(&self) -> Sent {
        match self {
            Self::Client { sent, .. } | Self::Plain { sent, .. } => *sent,
            Self::Fell { .. } | Self::Refused { .. } => Sent::Maybe,
            _ => Sent::No,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Client { source, .. } | Self::Refused { source, .. } => client_detail(source),
            Self::Fell { source } => format!("{self}: {}", client_detail(source)),
            Self::Connect { terms, source } => refusal::detail(*terms, source),
            Self::File { what, .. } => format!("the {what} cannot be used"),
            other => other.to_string(),
        }
    }

    fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        match self {
            Self::Client { source, .. }
            | Self::Fell { source }
            | Self::Refused { source, .. }
            | Self::Connect { source, .. } => Some(source.into()),
            Self::File { source, .. } => Some(source.into()),
            Self::Tls(source) => Some(source.into()),
            Self::Given { .. } | Self::Plain { .. } => None,
        }
    }
}

/// The request was answered with an error, or never left: nothing was published by it.
impl From<lapin::Error> for Cause {
    fn from(source: lapin::Error) -> Self {
        Self::Client { sent: Sent::No, source }
    }
}

impl AmqpError {
    /// Names what it was about: a subject, a queue, or an address without secrets.
    pub(crate) fn on(mut self, subject: impl Into<Box<str>>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

impl From<AmqpError> for Error {
    fn from(err: AmqpError) -> Self {
        let AmqpError { operation, subject, cause } = err;
        let mut core =
            Self::new(cause.kind(), operation).with_sent(cause.sent()).with_detail(cause.detail());
        if cause.is_lasting() {
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

const fn client_kind_is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unreachable
            | ErrorKind::Disconnected
            | ErrorKind::Timeout
            | ErrorKind::Overloaded
            | ErrorKind::Revoked
            | ErrorKind::NoResponders
    )
}

/// The broker's reply codes, as AMQP 0-9-1 and RabbitMQ use them.
pub(crate) fn client_kind(err: &lapin::Error) -> ErrorKind {
    match err.kind() {
        ClientKind::ProtocolError(said) => match said.kind() {
            AMQPErrorKind::Soft(soft) => match soft {
                AMQPSoftError::ACCESSREFUSED => ErrorKind::Denied,
                AMQPSoftError::NOTFOUND => ErrorKind::NotFound,
                AMQPSoftError::RESOURCELOCKED | AMQPSoftError::PRECONDITIONFAILED => {
                    ErrorKind::Conflict
                }
                AMQPSoftError::CONTENTTOOLARGE => ErrorKind::TooLarge,
                AMQPSoftError::NOROUTE => ErrorKind::Unroutable,
                AMQPSoftError::NOCONSUMERS => ErrorKind::NoResponders,
            },
            AMQPErrorKind::Hard(hard) => match hard {
                AMQPHardError::CONNECTIONFORCED => ErrorKind::Disconnected,
                AMQPHardError::INVALIDPATH => ErrorKind::NotFound,
                // RabbitMQ's answer to a virtual host that it lacks, or that the user may not enter.
                AMQPHardError::NOTALLOWED => ErrorKind::Denied,
                AMQPHardError::RESOURCEERROR => ErrorKind::Overloaded,
                AMQPHardError::INTERNALERROR => ErrorKind::Internal,
                _ => ErrorKind::Protocol,
            },
        },
        ClientKind::InvalidProtocolVersion(_) | ClientKind::ParsingError(_) => ErrorKind::Protocol,
        ClientKind::SerialisationError(_) => ErrorKind::InvalidHeader,
        ClientKind::AuthProviderError(_) => ErrorKind::Denied,
        ClientKind::ChannelsLimitReached => ErrorKind::Overloaded,
        _ => ErrorKind::Disconnected,
    }
}

fn client_detail(err: &lapin::Error) -> String {
    match err.kind() {
        ClientKind::ProtocolError(said) => {
            format!("the broker says {}: {}", said.get_id(), said.get_message())
        }
        ClientKind::ChannelsLimitReached => {
            "every channel that the broker allows a connection is in use".into()
        }
        ClientKind::SerialisationError(_) => "the client cannot put it into a frame".into(),
        ClientKind::IOError(_) | ClientKind::MissingHeartbeatError => "the link broke".into(),
        ClientKind::InvalidProtocolVersion(_) | ClientKind::ParsingError(_) => {
            "what answered is no AMQP 0-9-1 broker".into()
        }
        _ => "the link is gone; it reconnects by itself".into(),
    }
}

fn is_in_use(err: &lapin::Error) -> bool {
    match err.kind() {
        ClientKind::ProtocolError(said) => {
            said.kind() == &AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
                && said.get_message().as_str().contains("exclusive")
        }
        _ => false,
    }
}
