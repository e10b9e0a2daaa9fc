//! Names of processes, and the subjects that they beat under.
use std::{borrow::Borrow, fmt, hash, str::FromStr, sync::Arc};

use sinew_core::{Address, Error, ErrorKind, MAX_NAME_LEN, Result, Subject};

/// What stands before a process's name in its subject.
pub(crate) const PREFIX: &str = "heartbeat.";

/// A process's name: `billing`, `eu.billing.7`.
///
/// 1 to 245 bytes of text without control characters. beatit appends whatever it is given to `heartbeat.`, so names
/// with spaces or wildcards in them exist, and a monitor hears them where the broker carries them; a
/// [`Heart`](crate::Heart) takes only a name that makes a [`Subject`]. Cloning it shares the text.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct Process(Arc<str>);

impl Process {
    /// With what a name begins that a monitor hears and does not list: `_monitor.`. A watch's
    /// [own heart](crate::WatchOptions::with_heart) under such a name proves that the link lives, and is nobody in
    /// anyone's table, unless it is [declared](crate::Monitor::declare) there.
    pub const UNLISTED: &str = "_monitor.";

    /// Parses `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when `name` is empty, longer than 245 bytes, or holds a control character.
    pub fn parse(name: &str) -> Result<Self> {
        match flaw(name) {
            None => Ok(Self(Arc::from(name))),
            Some(reason) => Err(Error::new(ErrorKind::InvalidName, "parse process")
                .with_subject(name)
                .with_detail(reason)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it beats under: `heartbeat.` and its name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] when the name has an empty token, whitespace or a wildcard.
    pub fn subject(&self) -> Result<Subject> {
        Subject::parse(&format!("{PREFIX}{}", self.0))
    }

    /// The text between `heartbeat.` and the end of an address; whether it names a process, [`Process::is_name`] tells.
    pub(crate) fn text_in(address: &Address) -> Option<&str> {
        let whole = match address {
            Address::Subject(_, subject) => subject.as_str(),
            Address::Foreign(_, name) => std::str::from_utf8(name).ok()?,
            _ => return None,
        };
        whole.strip_prefix(PREFIX)
    }

    /// Whether [`Process::parse`] takes it.
    pub(crate) fn is_name(text: &str) -> bool {
        flaw(text).is_none()
    }
}

fn flaw(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("empty")
    } else if name.len() > MAX_NAME_LEN - PREFIX.len() {
        Some("longer than 245 bytes")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

impl Borrow<str> for Process {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl hash::Hash for Process {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        // As `str` does, which `Borrow` asks for.
        self.as_str().hash(state);
    }
}

impl FromStr for Process {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: &Address) -> Option<&str> {
        Process::text_in(address).filter(|text| Process::is_name(text))
    }

    #[test]
    fn a_name_may_have_dots() {
        let process = Process::parse("eu.billing.7").unwrap();
        assert_eq!(process.subject().unwrap().as_str(), "heartbeat.eu.billing.7");
    }

    #[test]
    fn a_name_that_makes_no_subject_is_heard_but_not_sent() {
        for name in ["my worker", "a..b", "a.*", ".a", "a."] {
            let process = Process::parse(name).unwrap();
            assert_eq!(process.subject().unwrap_err().kind(), ErrorKind::InvalidSubject);
            let address = Address::from_wire(None, format!("heartbeat.{name}"));
            assert_eq!(named(&address), Some(name));
        }
    }

    #[test]
    fn an_empty_a_long_and_a_control_name_are_refused() {
        for name in ["", "a\nb", "a\u{1b}[2J", &"x".repeat(246)] {
            assert_eq!(Process::parse(name).unwrap_err().kind(), ErrorKind::InvalidName);
            let address = Address::from_wire(None, format!("heartbeat.{name}"));
            assert_eq!(named(&address), None);
        }
        assert!(Process::parse(&"x".repeat(245)).unwrap().subject().is_ok());
    }

    #[test]
    fn a_subject_outside_of_the_convention_names_no_process() {
        for name in ["heartbeat", "heartbeats.a", "a.heartbeat.b", ""] {
            assert_eq!(named(&Address::from_wire(None, name)), None);
        }
    }
}
