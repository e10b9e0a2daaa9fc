//! MessagePack payloads.
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sinew_core::{Error, ErrorKind, FromPayload, IntoPayload, Result};

use crate::shape;

/// A payload of `application/msgpack`: structs as maps with named fields, enums by the names of their variants.
///
/// Wrap a reference to encode without giving the value away: `MessagePack(&order)`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper to build and to take apart by pattern")]
pub struct MessagePack<T>(pub T);

impl<T: Serialize> IntoPayload for MessagePack<T> {
    const CONTENT_TYPE: Option<&'static str> = Some("application/msgpack");

    fn into_payload(self) -> Result<Bytes> {
        rmp_serde::to_vec_named(&self.0).map(Bytes::from).map_err(|_| {
            Error::new(ErrorKind::InvalidPayload, "encode messagepack").with_detail(
                "its type has no MessagePack form: a sequence of unknown length, or a failing Serialize",
            )
        })
    }
}

impl<T: DeserializeOwned> FromPayload for MessagePack<T> {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        let refuse =
            |flaw| Error::new(ErrorKind::InvalidPayload, "decode messagepack").with_detail(flaw);
        shape::check(payload).map_err(|flaw| refuse(flaw.describe()))?;
        // rmp-serde's own text may quote the payload, so it is left out.
        rmp_serde::from_slice(payload)
            .map(Self)
            .map_err(|_| refuse("it does not fit the expected type"))
    }
}
