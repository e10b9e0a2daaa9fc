//! `decimal.Decimal`.
use std::fmt;

use super::envelope::{self, Marker, Typed};
use crate::PayloadError;

/// A decimal number as it is written: Python's `decimal.Decimal`, of up to 4,096 characters.
///
/// It is not computed with: give its text to a crate that does. `1.0` and `1.00` are two, as they are shown in Python.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Decimal(Box<str>);

const MAX_LEN: usize = 4096;

impl Decimal {
    /// Parses a number: `-12.50`, `1E+3`, `NaN`, `Infinity`.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Self::from_text(text).ok_or_else(|| PayloadError::malformed("not a decimal"))
    }

    /// The number as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Python's own grammar of them.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let lower = text.to_ascii_lowercase();
    if matches!(&*lower, "inf" | "infinity") {
        return true;
    }
    if let Some(payload) = lower.strip_prefix("snan").or_else(|| lower.strip_prefix("nan")) {
        return are_digits(payload);
    }
    let (number, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_digits = whole.len() + fraction.len() > 0 && !exponent.is_empty();
    has_digits && [whole, fraction, exponent].into_iter().all(are_digits)
}

impl Typed for Decimal {
    const WHAT: &'static str = "a decimal";

    fn from_text(text: &str) -> Option<Self> {
        (text.len() <= MAX_LEN && is_decimal(text)).then(|| Self(text.into()))
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        (marker == Marker::Decimal.as_str()).then(|| Self::from_text(text))?
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

envelope::as_text!(Decimal, Marker::Decimal);
