//! Which of the instances of a process speaks: what a heart may add to its beats, as headers.
use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    process,
    str::FromStr,
    sync::Arc,
};

use sinew_core::{Error, ErrorKind, Headers, Message, Result};

/// Which instance of a process beats: a pod's name, a host and a process id.
///
/// 1 to 128 characters of visible ASCII. Cloning it shares the text.
///
/// ```
/// use sinew_beat::Instance;
///
/// let instance = Instance::parse("billing-7f9c4-x2v8q")?;
/// assert_eq!(instance.as_str(), "billing-7f9c4-x2v8q");
/// assert!(Instance::parse("two words").is_err());
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instance(Arc<str>);

impl Instance {
    /// How long one may be, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when `text` is empty, longer than [`Instance::MAX_LEN`], or holds anything but visible
    /// ASCII.
    pub fn parse(text: &str) -> Result<Self> {
        if is_instance(text) {
            return Ok(Self(Arc::from(text)));
        }
        Err(Error::new(ErrorKind::InvalidName, "parse instance")
            .with_subject(text)
            .with_detail("name an instance by 1 to 128 characters of visible ASCII"))
    }

    /// One that no other has, by chance: 16 hexadecimal digits.
    #[must_use]
    pub fn unique() -> Self {
        Self(format!("{:016x}", RandomState::new().hash_one(process::id())).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Two instances that beat under one name.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct InstancePair {
    /// One of them.
    pub one: Instance,
    /// The other.
    pub other: Instance,
}

impl FromStr for Instance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

fn is_instance(text: &str) -> bool {
    (1..=Instance::MAX_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Who sent a message, and as which of its messages: the headers `beat-instance` and `beat-sequence`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin<'a> {
    /// Fit for an [`Instance`].
    instance: &'a str,
    /// Its messages count from 1; 0 where it does not say.
    pub(crate) sequence: u64,
}

const INSTANCE: &str = "beat-instance";
const SEQUENCE: &str = "beat-sequence";

impl<'a> Origin<'a> {
    /// Reads the headers of a message; none without an instance, or with what is none.
    pub(crate) fn of(headers: &'a Headers) -> Option<Self> {
        let instance = headers.text(INSTANCE).filter(|text| is_instance(text))?;
        let sequence = headers.integer(SEQUENCE).and_then(|number| u64::try_from(number).ok());
        Some(Self { instance, sequence: sequence.unwrap_or_default() })
    }

    pub(crate) fn as_str(&self) -> &'a str {
        self.instance
    }

    pub(crate) fn instance(&self) -> Instance {
        Instance(Arc::from(self.instance))
    }

    /// Adds the headers to a message.
    pub(crate) fn sign(message: Message, instance: &Instance, sequence: u64) -> Result<Message> {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        message.with_header(INSTANCE, instance.as_str())?.with_header(SEQUENCE, sequence)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_core::{Subject, Value};

    use super::*;

    fn message() -> Message {
        Message::new(Subject::parse("heartbeat.a").unwrap(), "beat/5")
    }

    #[test]
    fn what_is_signed_is_read_also_once_it_was_text() {
        let instance = Instance::parse("host-7:4711").unwrap();
        let signed = Origin::sign(message(), &instance, 9).unwrap();
        let origin = Origin::of(&signed.headers).unwrap();
        assert_eq!((origin.instance(), origin.sequence), (instance, 9));
        let text =
            message().with_header(INSTANCE, "i").unwrap().with_header(SEQUENCE, "9").unwrap();
        assert_eq!(Origin::of(&text.headers).unwrap().sequence, 9);
    }

    #[test]
    fn an_instance_that_is_long_or_unfit_for_a_terminal_is_none() {
        for text in ["", "a b", "a\u{1b}[2J", "\u{e9}", &"x".repeat(129)] {
            assert_eq!(Instance::parse(text).unwrap_err().kind(), ErrorKind::InvalidName);
            let sent = message().with_header(INSTANCE, text).unwrap();
            assert_eq!(Origin::of(&sent.headers), None);
        }
        for value in [Value::Null, Value::Integer(7), Value::List(Vec::new())] {
            let sent = message().with_header(INSTANCE, value).unwrap();
            assert_eq!(Origin::of(&sent.headers), None);
        }
        assert!(Instance::parse(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn no_two_are_the_same_by_chance() {
        assert_ne!(Instance::unique(), Instance::unique());
        assert_eq!(Instance::parse(Instance::unique().as_str()).unwrap().as_str().len(), 16);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(instance in ".{0,140}", sequence in any::<i64>()) {
            let sent = message().with_header(INSTANCE, instance).unwrap().with_header(SEQUENCE, sequence).unwrap();
            let _ = Origin::of(&sent.headers);
        }
    }
}
