//! How payloads become bytes, and are read from them.

mod json;
mod raw;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sinew_codec::MessagePack;
use sinew_core::{FromPayload as _, IntoPayload as _};

use crate::error::PayloadError;
use json::Dialect;
pub(crate) use raw::decode as decode_raw;

/// A way to write payloads, for those who bring their own: nameko's `SERIALIZERS`. [`AnySerializer::new`] takes it.
///
/// Whoever reads a payload chooses the serializer by its content type, which is compared as it is.
pub trait Serializer: fmt::Debug + Send + Sync {
    /// The media type of what it writes: `application/x-up`, without parameters.
    fn content_type(&self) -> &str;

    /// The charset of what it writes, or `binary`. Default: `utf-8`.
    fn content_encoding(&self) -> &str {
        "utf-8"
    }

    /// Writes `value`.
    ///
    /// # Errors
    ///
    /// Why it has no form.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, PayloadError>;

    /// Reads `body` into `target`, by [`Target::read`].
    ///
    /// # Errors
    ///
    /// Why it is none of these payloads, or not of the type that is wanted.
    fn decode(&self, body: &Bytes, target: &mut Target<'_>) -> Result<(), PayloadError>;
}

/// The type that is wanted of a payload, for authors of a [`Serializer`].
pub struct Target<'t>(
    &'t mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>,
);

impl Target<'_> {
    /// Reads the value from `deserializer`.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`] when it does not fit. The deserializer's own text is left out: it may quote the
    /// payload.
    pub fn read<'de>(
        &mut self,
        deserializer: impl serde::Deserializer<'de>,
    ) -> Result<(), PayloadError> {
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(deserializer);
        (self.0)(&mut erased).map_err(|_| mismatch())
    }
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

/// One way to write and to read payloads. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct AnySerializer(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Json(Dialect),
    MessagePack,
    Custom(Arc<dyn Serializer>),
}

impl AnySerializer {
    /// JSON, byte for byte as Python writes it, and [Python's values](crate::python) as kombu wrote them until 5.2: as
    /// text, and bytes not at all. The default.
    ///
    /// NaN and the infinities are refused, and so is an object with both `__type__` and `__value__`, which kombu from 5.3
    /// on would take for something else, or lose.
    #[must_use]
    pub const fn json() -> Self {
        Self(Kind::Json(Dialect::Plain))
    }

    /// The same, with [Python's values](crate::python) as kombu writes them from 5.3 on: as objects of `__type__` and
    /// `__value__`. Whoever has an older one is given those objects.
    #[must_use]
    pub const fn typed_json() -> Self {
        Self(Kind::Json(Dialect::Typed))
    }

    /// MessagePack, as kombu has it: structs as maps.
    #[must_use]
    pub const fn message_pack() -> Self {
        Self(Kind::MessagePack)
    }

    /// The one that kombu has under this name, or for this content type: `json`, `msgpack`. None for any other: what a
    /// service registers itself is code of its own, and pickle and YAML are none of ours.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "json" | "application/json" => Some(Self::json()),
            "msgpack" | "application/x-msgpack" => Some(Self::message_pack()),
            _ => None,
        }
    }

    /// Somebody's own.
    #[must_use]
    pub fn new(serializer: impl Serializer + 'static) -> Self {
        Self(Kind::Custom(Arc::new(serializer)))
    }

    /// The media type of what it writes, and of what it reads.
    #[must_use]
    pub fn content_type(&self) -> &str {
        match &self.0 {
            Kind::Json(_) => "application/json",
            Kind::MessagePack => "application/x-msgpack",
            Kind::Custom(custom) => custom.content_type(),
        }
    }

    /// The charset of what it writes, or `binary`.
    #[must_use]
    pub fn content_encoding(&self) -> &str {
        match &self.0 {
            Kind::Json(_) => "utf-8",
            Kind::MessagePack => "binary",
            Kind::Custom(custom) => custom.content_encoding(),
        }
    }

    /// Writes `value`.
    ///
    /// # Errors
    ///
    /// Why it has no form.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, PayloadError> {
        match &self.0 {
            Kind::Json(dialect) => json::encode(*dialect, value),
            Kind::MessagePack => MessagePack(value).into_payload().map_err(|err| of_codec(&err)),
            Kind::Custom(custom) => custom.encode(&value),
        }
    }

    /// Reads `body`.
    ///
    /// # Errors
    ///
    /// Why it is none of these payloads, or not of the type that is wanted.
    pub fn decode<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, PayloadError> {
        match &self.0 {
            Kind::Json(_) => json::decode(body),
            Kind::MessagePack => {
                MessagePack::from_payload(body).map(|it| it.0).map_err(|err| of_codec(&err))
            }
            Kind::Custom(custom) => {
                let mut read = None;
                custom.decode(
                    body,
                    &mut Target(&mut |from| {
                        read = Some(erased_serde::deserialize(from)?);
                        Ok(())
                    }),
                )?;
                read.ok_or_else(|| PayloadError::malformed("its serializer read nothing"))
            }
        }
    }
}

impl Default for AnySerializer {
    fn default() -> Self {
        Self::json()
    }
}

fn of_codec(err: &sinew_core::Error) -> PayloadError {
    PayloadError::malformed(err.detail().unwrap_or_default().to_owned())
}

fn mismatch() -> PayloadError {
    PayloadError::malformed("it does not fit the expected type")
}

#[cfg(test)]
mod tests;
