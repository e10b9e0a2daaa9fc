//! Payloads without a serializer: text, or bytes.
use bytes::Bytes;
use serde::{
    de::DeserializeOwned,
    de::value::{BytesDeserializer, Error, StrDeserializer},
};

use super::mismatch;
use crate::error::PayloadError;

/// Reads `body` as kombu does where no serializer knows it: as bytes where the encoding says so, else as text.
pub(crate) fn decode<T: DeserializeOwned>(
    body: &Bytes,
    content_encoding: Option<&str>,
) -> Result<T, PayloadError> {
    let encoding = content_encoding.filter(|it| !it.is_empty()).unwrap_or("utf-8");
    let is = |known: &[&str]| known.iter().any(|name| name.eq_ignore_ascii_case(encoding));
    let read = if is(&["binary", "ascii-8bit"]) {
        T::deserialize(BytesDeserializer::<Error>::new(body))
    } else if is(&["utf-8", "utf8", "us-ascii", "ascii"]) {
        let text = std::str::from_utf8(body)
            .map_err(|_| PayloadError::malformed("its text is not UTF-8"))?;
        T::deserialize(StrDeserializer::<Error>::new(text))
    } else {
        return Err(PayloadError::malformed("its text is in a charset that is not known here"));
    };
    read.map_err(|_| mismatch())
}
