//! The one error type that crosses crates: opaque, one pointer wide, honest about what was sent.
use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt::{self, Write as _},
};

/// What every fallible function of Sinew returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed; match on [`Error::kind`].
///
/// It is one pointer wide, so that a `Result` of it costs next to nothing on the good path. What a broker's
/// client reported is its [`source`](StdError::source): reachable by downcast, outside of this crate's promises.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    sent: Sent,
    transient: bool,
    operation: Cow<'static, str>,
    subject: Option<Box<str>>,
    detail: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong, in terms a caller can act on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is no [`Subject`](crate::Subject).
    InvalidSubject,
    /// The text is no [`Pattern`](crate::Pattern).
    InvalidPattern,
    /// The text is no [`Queue`](crate::Queue) or [`Scope`](crate::Scope) name.
    InvalidName,
    /// A header's name or value cannot be carried.
    InvalidHeader,
    /// A payload could not be encoded or decoded.
    InvalidPayload,
    /// An option, an address or a combination of them makes no sense.
    InvalidOptions,
    /// The backend cannot do what was asked; the detail names the capability and a substitute.
    Unsupported,
    /// The broker could not be reached.
    Unreachable,
    /// The link broke, or is broken now.
    Disconnected,
    /// The broker refused the credentials or the permission.
    Denied,
    /// The stream, queue, exchange or consumer does not exist.
    NotFound,
    /// It exists, but not as asked for: another type, other options, or taken by someone else.
    Conflict,
    /// The message is larger than the backend takes.
    TooLarge,
    /// A must-route message found no queue.
    Unroutable,
    /// A request found nobody to answer it.
    NoResponders,
    /// A bounded buffer is full, or the broker asks for less.
    Overloaded,
    /// Time ran out.
    Timeout,
    /// The broker took the delivery back before it was settled.
    Revoked,
    /// A log's expected position was not its end.
    WrongPosition,
    /// The handle, its link or its intake was closed.
    Closed,
    /// A blocking call was made on an async runtime's thread, which it would stall.
    InsideRuntime,
    /// The peer broke its protocol.
    Protocol,
    /// A fault of ours; please report it.
    Internal,
}

impl ErrorKind {
    /// Says what the kind means, in lower case, to stand inside a sentence.
    const fn describe(self) -> &'static str {
        match self {
            Self::InvalidSubject => "not a valid subject",
            Self::InvalidPattern => "not a valid pattern",
            Self::InvalidName => "not a valid name",
            Self::InvalidHeader => "not a valid header",
            Self::InvalidPayload => "not a valid payload",
            Self::InvalidOptions => "invalid options",
            Self::Unsupported => "not supported",
            Self::Unreachable => "cannot be reached",
            Self::Disconnected => "disconnected",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Conflict => "exists with other properties",
            Self::TooLarge => "too large",
            Self::Unroutable => "no queue takes this message",
            Self::NoResponders => "no responders",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timed out",
            Self::Revoked => "delivery was taken back by the broker",
            Self::WrongPosition => "the log has moved on from the expected position",
            Self::Closed => "closed",
            Self::InsideRuntime => "blocking call inside an async runtime",
            Self::Protocol => "the peer broke its protocol",
            Self::Internal => "internal fault",
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Disconnected
                | Self::NoResponders
                | Self::Overloaded
                | Self::Timeout
                | Self::Revoked
        )
    }
}

/// Whether a failed message can have reached the broker: what de-duplication and outboxes need to know.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Sent {
    /// It did not leave this process: sending it again makes no duplicate.
    #[default]
    No,
    /// It may have arrived: sending it again may make a duplicate.
    Maybe,
    /// It arrived, and failed after that.
    Yes,
}

impl Error {
    /// Makes an error of `kind` in `operation`, which is named as `nats publish` is: backend, then verb.
    ///
    /// It starts as [`Sent::No`], and transient where its kind is.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            sent: Sent::No,
            transient: kind.is_transient(),
            operation: operation.into(),
            subject: None,
            detail: None,
            source: None,
        }))
    }

    /// Says what to do about it, or which part was wrong. Never a secret, never the source's text.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names what the operation was on: a subject, a queue, an address without its password. Of what is longer than
    /// 512 bytes the rest is cut off.
    #[must_use]
    pub fn with_subject(mut self, subject: impl AsRef<str>) -> Self {
        let subject = subject.as_ref();
        self.0.subject = Some(match subject.len() {
            0..=MAX_SUBJECT_LEN => subject.into(),
            _ => {
                let cut = (0..=MAX_SUBJECT_LEN).rev().find_map(|end| subject.get(..end));
                format!("{}…", cut.unwrap_or_default()).into()
            }
        });
        self
    }

    /// Says whether the message can have reached the broker.
    #[must_use]
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.0.sent = sent;
        self
    }

    /// Overrides what [`Error::kind`] implies about trying again.
    #[must_use]
    pub fn with_transient(mut self, transient: bool) -> Self {
        self.0.transient = transient;
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the message can have reached the broker.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// What was being done: backend, then verb.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was being done to.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// What to do about it, or which part was wrong.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
}

/// One line, which never repeats the source.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, operation, subject, detail, .. } = &*self.0;
        f.write_str(operation)?;
        if let Some(subject) = subject {
            f.write_str(" `")?;
            write_printable(f, subject)?;
            f.write_char('`')?;
        }
        write!(f, ": {}", kind.describe())?;
        if let Some(detail) = detail {
            f.write_str(": ")?;
            write_printable(f, detail)?;
        }
        Ok(())
    }
}

/// Escapes what does not print: a peer's text forges no second line of a log.
fn write_printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\'' | '"' | '\\' => f.write_char(c),
        c => write!(f, "{}", c.escape_debug()),
    })
}

const MAX_SUBJECT_LEN: usize = 512;

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("sent", &self.0.sent)
            .field("transient", &self.0.transient)
            .field("operation", &self.0.operation)
            .field("subject", &self.0.subject)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

const _: () = assert!(size_of::<Error>() == size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_kind_is_true_of_a_webhook_and_of_a_file() {
        let said = |kind, operation| Error::new(kind, operation).to_string();
        assert_eq!(said(ErrorKind::Unreachable, "webhook"), "webhook: cannot be reached");
        assert_eq!(said(ErrorKind::Denied, "webhook"), "webhook: denied");
        assert_eq!(said(ErrorKind::Unsupported, "read snapshot"), "read snapshot: not supported");
    }

    #[test]
    fn display_never_repeats_its_source() {
        let err = Error::new(ErrorKind::Unreachable, "nats connect")
            .with_subject("nats://h:4222")
            .with_detail("is nats-server running?")
            .with_source("connection refused");
        assert_eq!(
            err.to_string(),
            "nats connect `nats://h:4222`: cannot be reached: is nats-server running?"
        );
        assert_eq!(err.source().unwrap().to_string(), "connection refused");
    }

    #[test]
    fn a_hostile_text_cannot_forge_a_log_line() {
        let err = Error::new(ErrorKind::Denied, "nats publish")
            .with_subject("a\nERROR b")
            .with_detail("it's \r\u{202e} no");
        assert_eq!(err.to_string(), "nats publish `a\\nERROR b`: denied: it's \\r\\u{202e} no");
    }

    #[test]
    fn a_long_subject_is_cut_between_characters() {
        let err = Error::new(ErrorKind::InvalidSubject, "parse").with_subject("é".repeat(1000));
        assert_eq!(err.subject(), Some(format!("{}…", "é".repeat(256)).as_str()));
    }

    #[test]
    fn transience_follows_the_kind_unless_overridden() {
        assert!(Error::new(ErrorKind::Timeout, "x").is_transient());
        assert!(!Error::new(ErrorKind::Denied, "x").is_transient());
        assert!(!Error::new(ErrorKind::Timeout, "x").with_transient(false).is_transient());
    }
}
