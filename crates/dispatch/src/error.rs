//! What an agent answers when it cannot answer.
use std::{borrow::Cow, error::Error as StdError, fmt};

use sinew_core::Error;

/// An agent's failure: a code to match on, a sentence to read, and whether asking again may help.
///
/// It crosses processes, so it is text and no cause. The codes that this crate itself gives are the constants here;
/// an agent's own are whatever it agrees on with who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentError(Box<Inner>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Inner {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    retryable: bool,
}

impl AgentError {
    /// The handler panicked. Over a broker with no word of why: that is in the log of the agent's process.
    pub const PANIC: &'static str = "panic";
    /// The agent runs as much as it may; ask again, or another one. Retryable.
    pub const BUSY: &'static str = "busy";
    /// The agent could not decode the request.
    pub const BAD_REQUEST: &'static str = "bad-request";
    /// The agent's reply could not be encoded by it, or decoded by who asked.
    pub const BAD_REPLY: &'static str = "bad-reply";
    /// The reply is larger than the ask may still take, or than the backend carries.
    pub const TOO_LARGE: &'static str = "too-large";
    /// The handler gave up by itself because the ask was over.
    pub const CANCELLED: &'static str = "cancelled";
    /// The handler failed with a [`sinew_core::Error`].
    pub const FAILED: &'static str = "failed";

    /// The longest code, in bytes; a longer one is cut.
    pub const MAX_CODE: usize = 64;
    /// The longest message, in bytes; a longer one is cut.
    pub const MAX_MESSAGE: usize = 1024;

    /// A failure that asking again does not mend. The code is a word of visible ASCII, so that it is the same behind a
    /// broker; any other is [`AgentError::FAILED`].
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let (mut code, message) =
            (cut(code.into(), Self::MAX_CODE), cut(message.into(), Self::MAX_MESSAGE));
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
            code = Self::FAILED.into();
        }
        Self(Box::new(Inner { code, message, retryable: false }))
    }

    /// Whether asking again may help. Default: no.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// What to match on.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What to read.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether asking again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

/// Cut at a character's border.
fn cut(text: Cow<'static, str>, max: usize) -> Cow<'static, str> {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let mut text = text.into_owned();
    text.truncate(end);
    Cow::Owned(text)
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl StdError for AgentError {}

/// With the code [`AgentError::FAILED`], and retryable where the error is transient: what `?` does in a handler.
impl From<Error> for AgentError {
    fn from(err: Error) -> Self {
        Self::new(Self::FAILED, err.to_string()).with_retryable(err.is_transient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_border() {
        let err = AgentError::new("c", "é".repeat(1000));
        assert_eq!(err.message().len(), 1024);
        let err = AgentError::new("c", format!("x{}", "é".repeat(1000)));
        assert_eq!(err.message().len(), 1023);
        assert_eq!(AgentError::new("x".repeat(65), "").code().len(), 64);
    }

    #[test]
    fn a_code_is_a_word_here_as_it_is_behind_a_broker() {
        for code in ["", "out of order", "caf\u{e9}", "a\nb"] {
            assert_eq!(AgentError::new(code, "").code(), AgentError::FAILED, "{code:?}");
        }
        assert_eq!(AgentError::new("out-of-order", "").code(), "out-of-order");
    }
}
