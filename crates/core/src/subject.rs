//! Subjects: the dotted names that messages are published under.
use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use crate::{Error, ErrorKind, Result};

/// The longest subject, pattern, queue or scope name, in bytes: what AMQP's short string holds.
pub const MAX_NAME_LEN: usize = 255;

pub(crate) const TOO_LONG: &str = "longer than 255 bytes";

/// A subject such as `orders.created`; holding one proves that it parsed.
///
/// One or more tokens joined by `.`. A token is not empty and holds no whitespace, no control character and no
/// wildcard (`*`, `>`, `#`). At most [`MAX_NAME_LEN`] bytes. Cloning it shares the text.
///
/// ```
/// use sinew_core::Subject;
///
/// let subject = Subject::parse("heartbeat.billing")?;
/// assert_eq!(subject.tokens().collect::<Vec<_>>(), ["heartbeat", "billing"]);
/// assert!(Subject::parse("heartbeat..billing").is_err());
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] when `text` is too long, or a token is empty or holds whitespace, a control
    /// character or a wildcard.
    pub fn parse(text: &str) -> Result<Self> {
        match flaw(text) {
            None => Ok(Self(Arc::from(text))),
            Some(reason) => Err(Error::new(ErrorKind::InvalidSubject, "parse subject")
                .with_subject(text)
                .with_detail(reason)),
        }
    }

    /// The same for a peer's bytes, of which a refusal makes no error: that would copy them.
    pub(crate) fn from_wire(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        flaw(text).is_none().then(|| Self(Arc::from(text)))
    }

    /// Joins tokens, each of which must hold no dot.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] as [`Subject::parse`] has it, or when a token holds a dot.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut text = String::new();
        for (index, token) in tokens.into_iter().enumerate() {
            if token.contains('.') {
                return Err(Error::new(ErrorKind::InvalidSubject, "join subject")
                    .with_subject(token)
                    .with_detail("a token holds a dot; escape it or split it"));
            }
            if index > 0 {
                text.push('.');
            }
            text.push_str(token);
        }
        Self::parse(&text)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots; at least one, none of them empty.
    #[must_use = "iterators are lazy"]
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }
}

/// What keeps a text from being a subject, if anything.
pub(crate) fn flaw(text: &str) -> Option<&'static str> {
    if text.len() > MAX_NAME_LEN {
        return Some(TOO_LONG);
    }
    if is_plain(text) {
        return None;
    }
    text.split('.').find_map(token_flaw)
}

/// Whether it is a subject of plain characters, as nearly all are: one look at each byte shows that.
fn is_plain(text: &str) -> bool {
    let mut last = b'.';
    let is_plain = text.bytes().all(|byte| {
        let is_token = byte != b'.' || last != b'.';
        last = byte;
        is_token && byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>' | b'#')
    });
    is_plain && last != b'.'
}

/// What keeps a text from being a token, if anything.
pub(crate) fn token_flaw(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        return Some("a token is empty");
    }
    token.chars().find_map(|c| match c {
        '*' | '>' | '#' => {
            Some("a token holds `*`, `>` or `#`, which stand alone, and in a pattern only")
        }
        c if c.is_whitespace() => Some("a token holds whitespace"),
        c if c.is_control() => Some("a token holds a control character"),
        _ => None,
    })
}

/// Anything that names a subject: a [`Subject`], or text that parses as one.
///
/// Implement it for your own types (an enum of event kinds, say) to publish under them directly.
pub trait ToSubject {
    /// The subject that this names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] when it names none.
    fn to_subject(&self) -> Result<Subject>;
}

impl ToSubject for Subject {
    fn to_subject(&self) -> Result<Subject> {
        Ok(self.clone())
    }
}

impl ToSubject for str {
    fn to_subject(&self) -> Result<Subject> {
        Subject::parse(self)
    }
}

impl ToSubject for String {
    fn to_subject(&self) -> Result<Subject> {
        Subject::parse(self)
    }
}

impl<S: ToSubject + ?Sized> ToSubject for &S {
    fn to_subject(&self) -> Result<Subject> {
        (**self).to_subject()
    }
}

impl Deref for Subject {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Subject {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(Subject::parse(text).unwrap_err().kind(), ErrorKind::InvalidSubject);
        }
    }

    #[test]
    fn whitespace_control_characters_and_wildcards_are_refused() {
        for text in ["a b", "a\tb", "a\0", "a.\u{85}", "a.*", "a.>", "#", "a*b", "a.b\n"] {
            assert!(Subject::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_short_way_takes_nothing_that_the_long_one_refuses_and_all_that_is_plain() {
        let flaw = |text: &str| text.split('.').find_map(token_flaw);
        // Every character of ASCII and some beyond, in every place of a short name.
        let chars = (0..=0x85).chain([0xa0, 0xe9, 0x2003]).filter_map(char::from_u32);
        for c in chars {
            for text in [
                format!("{c}"),
                format!("{c}a"),
                format!("a{c}"),
                format!("a.{c}"),
                format!("{c}.a"),
            ] {
                let expected = text.is_ascii() && flaw(&text).is_none();
                assert_eq!(is_plain(&text), expected, "{text:?}");
            }
        }
        assert!(!is_plain("") && !is_plain("a..b") && is_plain("a.b.c"));
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert!(Subject::parse(&"a".repeat(255)).is_ok());
        assert!(Subject::parse(&"a".repeat(256)).is_err());
        assert!(Subject::parse(&"é".repeat(128)).is_err());
    }

    #[test]
    fn a_token_with_a_dot_cannot_be_joined() {
        assert!(Subject::from_tokens(["heartbeat", "a.b"]).is_err());
        assert_eq!(Subject::from_tokens(["heartbeat", "a"]).unwrap().as_str(), "heartbeat.a");
    }
}
