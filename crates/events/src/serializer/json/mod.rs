//! JSON, byte for byte as Python's `json.dumps` writes it.

mod key;
mod text;
mod write;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;

use crate::error::PayloadError;

/// How values that JSON has not are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// As text: kombu until 5.2.
    Plain,
    /// As objects of `__type__` and `__value__`: kombu from 5.3 on.
    Typed,
}

pub(crate) fn encode<T: Serialize + ?Sized>(
    dialect: Dialect,
    value: &T,
) -> Result<Bytes, PayloadError> {
    write::to_vec(dialect, value).map(Bytes::from)
}

/// An empty body is an empty string, as in kombu.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, PayloadError> {
    let text = match std::str::from_utf8(body) {
        Ok("") => r#""""#,
        Ok(text) => text,
        Err(_) => return Err(PayloadError::malformed("it is not UTF-8")),
    };
    // serde_json bounds the depth at 128 itself, and refuses what follows the value.
    serde_json::from_str(text).map_err(|err| refusal(text, &err))
}

/// Says what is wrong and where, without serde_json's own text, which quotes the payload.
fn refusal(text: &str, err: &serde_json::Error) -> PayloadError {
    let flaw = match err.classify() {
        Category::Eof => "it is cut short",
        Category::Data => "it does not fit the expected type",
        Category::Syntax | Category::Io if is_not_finite(text, err) => {
            return PayloadError::NotFinite;
        }
        Category::Syntax | Category::Io => "it is no JSON, or nested too deeply",
    };
    PayloadError::malformed(format!("{flaw}, at line {} column {}", err.line(), err.column()))
}

/// Whether the parser stopped at one of the bare words that Python writes for what JSON has not.
fn is_not_finite(text: &str, err: &serde_json::Error) -> bool {
    let line = text.split('\n').nth(err.line().saturating_sub(1)).unwrap_or_default().as_bytes();
    // The column is that of the first byte that did not fit, or of the one before it.
    let starts = (0..3).filter_map(|back| line.get(err.column().checked_sub(back)?..));
    starts.into_iter().any(|rest| rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"))
}
