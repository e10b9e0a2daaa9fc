//! Values that Python has and JSON has not: dates, times, decimals, UUIDs, bytes.
//!
//! kombu writes them into JSON in one of two dialects: until 5.2 as text (bytes not at all), from 5.3 on as objects of
//! `__type__` and `__value__`. The types here read both, from any serializer; which one they are written in is the
//! choice of the JSON serializer: [`AnySerializer::json`](crate::AnySerializer::json) or
//! [`AnySerializer::typed_json`](crate::AnySerializer::typed_json). Other serializers write them as text and as bytes.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use sinew_events::python::{DateTime, Decimal};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Billed {
//!     at: DateTime,
//!     total: Decimal,
//! }
//!
//! let old = r#"{"at": "2026-01-02T03:04:05Z", "total": "9.50"}"#;
//! let new = r#"{"at": {"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"},
//!               "total": {"__type__": "decimal", "__value__": "9.50"}}"#;
//! let (old, new): (Billed, Billed) = (serde_json::from_str(old)?, serde_json::from_str(new)?);
//! assert_eq!((old.at, old.total), (new.at, new.total));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod bytes;
mod date;
mod date_time;
mod decimal;
mod envelope;
mod time;
mod uuid;

pub use bytes::Bytes;
pub use date::Date;
pub use date_time::DateTime;
pub use decimal::Decimal;
pub(crate) use envelope::Marker;
pub use time::Time;
pub use uuid::Uuid;

#[cfg(test)]
mod tests;
