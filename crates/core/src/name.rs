//! Names of queues and scopes, and their injective encoding into a smaller alphabet.
use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    Error, ErrorKind, Result,
    subject::{MAX_NAME_LEN, TOO_LONG},
};

/// The name of a queue (AMQP), a durable consumer (JetStream), a group (NATS, Liftbridge).
///
/// 1 to 255 bytes without control characters. Dots, spaces and dashes are fine: an adapter whose alphabet is
/// smaller encodes them with [`encode_name`], so that two queues never meet in one, and refuses what is then too long.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Queue(Arc<str>);

/// The space that a subject lives in: an AMQP exchange; a prefix elsewhere.
///
/// Same alphabet as [`Queue`]. The same subject in two scopes is two subjects, and a subject without a scope is
/// a third.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope(Arc<str>);

fn parse(text: &str, what: &'static str) -> Result<Arc<str>> {
    let reason = if text.is_empty() {
        "empty"
    } else if text.len() > MAX_NAME_LEN {
        TOO_LONG
    } else if text.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(Arc::from(text));
    };
    Err(Error::new(ErrorKind::InvalidName, what).with_subject(text).with_detail(reason))
}

macro_rules! name {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Parses `text`.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidName`] when `text` is empty, longer than 255 bytes, or holds a control character.
            pub fn parse(text: &str) -> Result<Self> {
                parse(text, $what).map(Self)
            }

            /// The whole text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }
    };
}
name!(Queue, "parse queue name");
name!(Scope, "parse scope");

/// Encodes `text` into `[A-Za-z0-9_-]` and `%`, so that no two texts share a code: every other byte becomes `%`
/// and two upper-case hexadecimal digits.
///
/// `svc.orders` becomes `svc%2Eorders`, which a JetStream consumer may be called. [`decode_name`] undoes it.
#[must_use]
pub fn encode_name(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut code = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if is_plain(byte) {
            code.push(char::from(byte));
        } else {
            code.push('%');
            for digit in [byte >> 4, byte & 15] {
                code.extend(char::from_digit(digit.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    Cow::Owned(code)
}

/// Undoes [`encode_name`]; `None` for a text that it never makes.
#[must_use]
pub fn decode_name(code: &str) -> Option<String> {
    let mut text = Vec::with_capacity(code.len());
    let mut bytes = code.bytes();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'%' => {
                let byte = hex(bytes.next()?)? << 4 | hex(bytes.next()?)?;
                if is_plain(byte) {
                    return None;
                }
                byte
            }
            plain if is_plain(plain) => plain,
            _ => return None,
        });
    }
    String::from_utf8(text).ok()
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_dots_and_spaces() {
        assert_eq!(
            Queue::parse("evt-a.b--svc.on hello").unwrap().as_str(),
            "evt-a.b--svc.on hello"
        );
        for text in ["", "a\n", "\u{7f}"] {
            assert_eq!(Scope::parse(text).unwrap_err().kind(), ErrorKind::InvalidName);
        }
    }

    #[test]
    fn encoding_keeps_names_apart() {
        assert_eq!(encode_name("a.b-c"), "a%2Eb-c");
        assert_eq!(encode_name("a%2Eb-c"), "a%252Eb-c");
        assert_eq!(decode_name("a%2Eb-c").unwrap(), "a.b-c");
    }

    #[test]
    fn a_code_that_was_never_made_is_not_decoded() {
        for code in ["a.b", "%", "%2", "%2e", "%41", "%FF"] {
            assert_eq!(decode_name(code), None, "{code}");
        }
    }
}
