//! JSON payloads.
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use sinew_core::{Error, ErrorKind, FromPayload, IntoPayload, Result};

/// A payload of `application/json`.
///
/// Wrap a reference to encode without giving the value away: `Json(&order)`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper to build and to take apart by pattern")]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoPayload for Json<T> {
    const CONTENT_TYPE: Option<&'static str> = Some("application/json");

    fn into_payload(self) -> Result<Bytes> {
        serde_json::to_vec(&self.0).map(Bytes::from).map_err(|_| {
            Error::new(ErrorKind::InvalidPayload, "encode json").with_detail(
                "its type has no JSON form: a map with keys that are no text, or a failing Serialize",
            )
        })
    }
}

impl<T: DeserializeOwned> FromPayload for Json<T> {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        // serde_json bounds the depth at 128 itself, and refuses what follows the value.
        serde_json::from_slice(payload).map(Self).map_err(|err| refusal(&err))
    }
}

/// Says what is wrong and where, without serde_json's own text, which quotes the payload.
fn refusal(err: &serde_json::Error) -> Error {
    let flaw = match err.classify() {
        Category::Eof => "it is cut short",
        Category::Data => "it does not fit the expected type",
        Category::Syntax | Category::Io => "it is no JSON, or nested too deeply",
    };
    Error::new(ErrorKind::InvalidPayload, "decode json").with_detail(format!(
        "{flaw}, at line {} column {}",
        err.line(),
        err.column()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: String) -> f64 {
        Json::<f64>::from_payload(&text.into()).unwrap().0
    }

    #[test]
    fn a_float_is_read_as_the_one_next_to_what_is_written() {
        for text in ["31.245270191439438", "1.00000000000000005e300", "9007199254740993"] {
            assert_eq!(read(text.to_owned()).to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
    }

    proptest! {
        #[test]
        fn a_float_comes_back_as_it_was(float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            let written = Json(float).into_payload().unwrap();
            prop_assert_eq!(Json::<f64>::from_payload(&written).unwrap().0.to_bits(), float.to_bits());
        }
    }
}
