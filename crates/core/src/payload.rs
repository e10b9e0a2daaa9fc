//! Payloads: what becomes bytes, and comes back from them.
use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

/// What can be sent as a payload.
pub trait IntoPayload {
    /// The media type of the bytes it makes: `application/json`; `None` for bytes that are just bytes.
    const CONTENT_TYPE: Option<&'static str> = None;

    /// Becomes bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPayload`] when it has no encoding.
    fn into_payload(self) -> Result<Bytes>;
}

/// What a payload can be read as.
pub trait FromPayload: Sized {
    /// Reads it from bytes; clone `payload` to keep it, which copies nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPayload`] when the bytes are no encoding of it.
    fn from_payload(payload: &Bytes) -> Result<Self>;
}

macro_rules! into_payload {
    ($($ty:ty),+) => {
        $(impl IntoPayload for $ty {
            fn into_payload(self) -> Result<Bytes> {
                Ok(Bytes::from(self))
            }
        })+
    };
}
into_payload!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl FromPayload for Bytes {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        Ok(payload.clone())
    }
}

impl FromPayload for Vec<u8> {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        Ok(payload.to_vec())
    }
}

impl FromPayload for String {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        Self::from_utf8(payload.to_vec()).map_err(|err| {
            Error::new(ErrorKind::InvalidPayload, "decode text")
                .with_detail("not UTF-8")
                .with_source(err.utf8_error())
        })
    }
}
