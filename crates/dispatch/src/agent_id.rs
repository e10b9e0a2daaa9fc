//! Names of agents.
use std::{fmt, str::FromStr, sync::Arc};

use sinew_core::{Error, ErrorKind, Result};

/// An agent's name, unique under its topic: `visual-7`.
///
/// One token of a subject, of at most 128 bytes: no dot, no whitespace, no wildcard, so that it has a place in the
/// subjects and headers of every backend. Cloning it shares the text.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Parses `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when it is empty, too long, not visible ASCII, or holds a dot or a wildcard.
    pub fn parse(name: &str) -> Result<Self> {
        let flaw = if name.len() > Self::MAX_LEN {
            "longer than 128 bytes"
        } else if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            "not visible ASCII"
        } else if name.is_empty() || name.contains(['.', '*', '>', '#']) {
            "no token of a subject: empty, or with a dot or a wildcard in it"
        } else {
            return Ok(Self(Arc::from(name)));
        };
        Err(Error::new(ErrorKind::InvalidName, "parse agent id")
            .with_subject(name)
            .with_detail(flaw))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_token() {
        assert_eq!(AgentId::parse("visual-7").unwrap().as_str(), "visual-7");
        for name in ["", "a.b", "a b", "*", "a>", "#", "é", "a\n", &"x".repeat(129)] {
            assert_eq!(AgentId::parse(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name}");
        }
        assert!(AgentId::parse(&"x".repeat(128)).is_ok());
    }
}
