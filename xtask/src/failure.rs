//! Why a chore failed: a sentence for a person, and the exit status that goes with it.

use std::fmt;

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// A failed chore. The message says what failed, on what, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// The chore ran, and the answer is no: exit status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 1 }
    }

    /// The command line made no sense: exit status 64, as the `sinew` command has it.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 64 }
    }

    /// The answer is no, and what there was to say has been said.
    pub(crate) fn told() -> Self {
        Self::new(String::new())
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Failure::new(format!("{doing}: {cause}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Failure::new(doing.to_string()))
    }
}
