//! Why a behaviour is not as promised.
use std::{
    error::Error as StdError,
    fmt::{self, Debug, Display},
};

use sinew_core::Error;

/// What a behaviour returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a behaviour is not as promised: one text, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    message: String,
    missing_broker: bool,
}

impl Failure {
    /// Says what was seen, and what was promised.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), missing_broker: false }
    }

    /// Says that nothing could be tried, because the machine lacks the broker.
    pub(crate) fn missing(err: &Error) -> Self {
        Self { message: err.to_string(), missing_broker: true }
    }

    pub(crate) fn is_missing_broker(&self) -> bool {
        self.missing_broker
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        let mut message = format!("{err} ({:?}, sent: {:?})", err.kind(), err.sent());
        let mut source = err.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(message)
    }
}

/// Says what was being done when something failed.
pub(crate) trait During<T> {
    fn during(self, doing: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, doing: impl Display) -> Outcome<T> {
        self.map_err(|err| {
            let mut failure: Failure = err.into();
            failure.message = format!("{doing}: {}", failure.message);
            failure
        })
    }
}

/// Fails with `told` unless `held`.
pub(crate) fn ensure(held: bool, told: impl FnOnce() -> String) -> Outcome {
    if held { Ok(()) } else { Err(Failure::new(told())) }
}

/// Fails unless `seen` is what was `promised`.
pub(crate) fn ensure_eq<T, U>(what: impl Display, seen: T, promised: U) -> Outcome
where
    T: Debug + PartialEq<U>,
    U: Debug,
{
    ensure(seen == promised, || format!("{what}: {promised:?} was promised, {seen:?} was seen"))
}
