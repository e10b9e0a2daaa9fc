//! What can go wrong with an event: in its handler, and in its payload.
use std::{borrow::Cow, error::Error as StdError, fmt};

use sinew_core::{Error, ErrorKind};

/// Why a handler failed: any error, made by `?`, and whether trying again can help.
///
/// Its text is shown in logs and kept with the event in the error queue, so it should hold no secret.
pub struct HandlerError {
    cause: Box<dyn StdError + Send + Sync>,
    is_permanent: bool,
}

impl HandlerError {
    /// The longest text of it, in bytes; a longer one is cut.
    pub const MAX_TEXT: usize = 4096;

    /// A failure that may pass: the event is tried again, as the service's policy has it.
    #[must_use]
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: cause.into(), is_permanent: false }
    }

    /// A failure that trying again does not mend: the event is not tried again.
    #[must_use]
    pub fn permanent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: cause.into(), is_permanent: true }
    }

    /// Whether trying again does not mend it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    /// The error that the handler returned.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.cause
    }

    /// The error that the handler returned, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.cause.downcast_ref()
    }
}

/// The error and its causes, joined by colons.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.cause.to_string();
        let mut source = self.cause.source();
        while let Some(cause) = source.filter(|_| text.len() <= Self::MAX_TEXT) {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        f.write_str(cut(&text, Self::MAX_TEXT))
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("cause", &format_args!("{self}"))
            .field("is_permanent", &self.is_permanent)
            .finish()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self::new(cause)
    }
}

/// Why a payload cannot be written, or read. It never quotes the payload.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PayloadError {
    /// Its content type is not among those that are accepted.
    NotAccepted {
        /// As it was sent, escaped, and cut at 128 bytes.
        content_type: Box<str>,
    },
    /// It is compressed in a way that is not known here.
    UnknownCompression {
        /// As it was sent, escaped, and cut at 128 bytes.
        compression: Box<str>,
    },
    /// It is larger than this, once it is no longer compressed.
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// NaN or an infinity, which JSON has not. Python writes and reads them all the same.
    NotFinite,
    /// An object with both `__type__` and `__value__`, which kombu takes for a value of Python's.
    Reserved,
    /// It is no payload of its content type, or not of the type that is wanted.
    Malformed {
        /// What is wrong, and where.
        reason: Cow<'static, str>,
    },
}

impl PayloadError {
    /// It is no payload of its content type, or not of the type that is wanted. `reason` must not quote it.
    #[must_use]
    pub fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed { reason: reason.into() }
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted { content_type } => {
                write!(f, "content type `{content_type}` is not accepted")
            }
            Self::UnknownCompression { compression } => {
                write!(f, "compression `{compression}` is not known")
            }
            Self::TooLarge { limit } => write!(f, "larger than {limit} bytes when inflated"),
            Self::NotFinite => f.write_str("a number is NaN or infinite, which JSON has not"),
            Self::Reserved => f.write_str(
                "an object has both `__type__` and `__value__`, which Python would take for a value of its own",
            ),
            Self::Malformed { reason } => f.write_str(reason),
        }
    }
}

impl StdError for PayloadError {}

impl From<PayloadError> for Error {
    fn from(err: PayloadError) -> Self {
        let kind = match err {
            PayloadError::TooLarge { .. } => ErrorKind::TooLarge,
            _ => ErrorKind::InvalidPayload,
        };
        Self::new(kind, "event payload").with_detail(err.to_string())
    }
}

/// A peer's word for an error: escaped, and cut at 128 bytes.
pub(crate) fn quoted(text: &str) -> Box<str> {
    cut(&cut(text, 128).escape_debug().to_string(), 128).into()
}

/// Cut at a character's border.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    match text.len() {
        len if len <= max => text,
        _ => (0..=max).rev().find_map(|end| text.get(..end)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn fails() -> Result<(), HandlerError> {
        Err(Error::new(ErrorKind::Timeout, "ask bank").with_source(io::Error::other("no route")))?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_a_handlers_with_its_causes_in_the_text() {
        let err = fails().unwrap_err();
        assert!(!err.is_permanent());
        assert_eq!(err.to_string(), "ask bank: timed out: no route");
        assert_eq!(err.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Timeout);
        assert!(HandlerError::permanent("no such order").is_permanent());
    }

    #[test]
    fn a_long_text_is_cut_at_a_border() {
        let err = HandlerError::new(format!("x{}", "é".repeat(4096)));
        assert_eq!(err.to_string().len(), HandlerError::MAX_TEXT - 1);
    }

    #[test]
    fn a_payload_too_large_is_another_kind_than_one_that_makes_no_sense() {
        let kind = |err: PayloadError| Error::from(err).kind();
        assert_eq!(kind(PayloadError::TooLarge { limit: 1 }), ErrorKind::TooLarge);
        assert_eq!(kind(PayloadError::NotFinite), ErrorKind::InvalidPayload);
    }
}
