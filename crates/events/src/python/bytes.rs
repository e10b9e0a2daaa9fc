//! `bytes`.
use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::envelope::{self, Marker, Typed};

/// Bytes: Python's `bytes`, which JSON carries in kombu's objects only, and MessagePack as they are.
///
/// It is a wrapper, to be built and taken apart.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper to build and to take apart by pattern")]
pub struct Bytes(pub bytes::Bytes);

impl Typed for Bytes {
    const WHAT: &'static str = "bytes";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        match marker {
            marker if marker == Marker::Bytes.as_str() => Self::from_text(text),
            marker if marker == Marker::Base64.as_str() => {
                STANDARD.decode(text).ok().map(|bytes| Self(bytes.into()))
            }
            _ => None,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes::Bytes::copy_from_slice(bytes)))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        envelope::deserialize(from)
    }
}

/// Shows how many there are: they may be a secret.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}
