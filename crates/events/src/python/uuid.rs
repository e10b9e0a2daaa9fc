//! `uuid.UUID`.
use std::fmt;

use super::envelope::{self, Marker, Typed};
use crate::{PayloadError, id::Id};

/// 128 bits: Python's `uuid.UUID`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid(u128);

impl Uuid {
    /// A random one, of version 4.
    #[must_use]
    pub fn random() -> Self {
        Self(Id::fresh().0)
    }

    /// The one of these bits, the first byte in the highest.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits, the first byte in the highest.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Parses 32 hexadecimal digits, with hyphens after the 8th, 12th, 16th and 20th or without any.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Self::from_text(text).ok_or_else(|| PayloadError::malformed("not a UUID"))
    }
}

impl Typed for Uuid {
    const WHAT: &'static str = "a UUID";

    fn from_text(text: &str) -> Option<Self> {
        let hyphens = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
        if text.len() == 36 && !hyphens.eq([8, 13, 18, 23]) {
            return None;
        }
        let digits = if text.len() == 36 { text.replace('-', "") } else { text.to_owned() };
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(&digits, 16).ok().map(Self))?
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        (marker == Marker::Uuid.as_str()).then(|| Self::from_text(text))?
    }
}

/// With hyphens.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Id(self.0).fmt(f)
    }
}

envelope::as_text!(Uuid, Marker::Uuid);
