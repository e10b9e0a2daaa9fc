//! The two forms of a value of Python's: text, and an object that says its type.
use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// What kombu calls a type in `__type__`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Marker {
    DateTime,
    Date,
    Time,
    Decimal,
    Uuid,
    Bytes,
    Base64,
}

impl Marker {
    const ALL: [Self; 7] = [
        Self::DateTime,
        Self::Date,
        Self::Time,
        Self::Decimal,
        Self::Uuid,
        Self::Bytes,
        Self::Base64,
    ];

    /// As it stands in `__type__`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DateTime => "datetime",
            Self::Date => "date",
            Self::Time => "time",
            Self::Decimal => "decimal",
            Self::Uuid => "uuid",
            Self::Bytes => "bytes",
            Self::Base64 => "base64",
        }
    }

    /// How a value tells a serializer of its type: as the name of a newtype, which other serializers pass over.
    pub(crate) const fn newtype(self) -> &'static str {
        match self {
            Self::DateTime => "$sinew::datetime",
            Self::Date => "$sinew::date",
            Self::Time => "$sinew::time",
            Self::Decimal => "$sinew::decimal",
            Self::Uuid => "$sinew::uuid",
            Self::Bytes => "$sinew::bytes",
            Self::Base64 => "$sinew::base64",
        }
    }

    /// The type that a newtype of this name tells of.
    pub(crate) fn of_newtype(name: &str) -> Option<Self> {
        let word = name.strip_prefix("$sinew::")?;
        Self::ALL.into_iter().find(|marker| marker.as_str() == word)
    }
}

/// What is read from either form.
pub(crate) trait Typed: Sized {
    /// For errors: `a datetime`.
    const WHAT: &'static str;

    /// From the text of kombu until 5.2, and from any serializer's.
    fn from_text(text: &str) -> Option<Self>;

    /// From the text in an object that says `marker`.
    fn from_marked(marker: &str, text: &str) -> Option<Self>;

    /// From bytes, where a serializer has those.
    fn from_bytes(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// Reads either form.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Typed>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Either(PhantomData))
}

struct Either<T>(PhantomData<T>);

impl<T: Typed> Either<T> {
    /// The text is left out: it may be a secret.
    fn found<E: Error>(value: Option<T>) -> Result<T, E> {
        value.ok_or_else(|| E::custom(format_args!("not {}", T::WHAT)))
    }
}

impl<'de, T: Typed> Visitor<'de> for Either<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Self::found(T::from_text(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        Self::found(T::from_bytes(bytes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let (mut marker, mut value) = (None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "__type__" => marker = Some(map.next_value::<Cow<'de, str>>()?),
                "__value__" => value = Some(map.next_value::<Inner>()?.0),
                _ => return Err(A::Error::custom("a key beside `__type__` and `__value__`")),
            }
        }
        Self::found(marker.zip(value).and_then(|(marker, text)| T::from_marked(&marker, &text)))
    }
}

/// What stands in `__value__`: text, or for a UUID an object with the text in `hex`.
struct Inner(String);

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Inner;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or an object with text in `hex`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Inner, E> {
                Ok(Inner(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inner, A::Error> {
                let mut hex = None;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "hex" {
                        hex = Some(map.next_value::<String>()?);
                    } else {
                        // kombu 5.3.0 says the version, too.
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                hex.map(Inner).ok_or_else(|| A::Error::missing_field("hex"))
            }
        }

        from.deserialize_any(Text)
    }
}

/// Implements serde's traits for a [`Typed`] that is shown as its text.
macro_rules! as_text {
    ($name:ident, $marker:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_newtype_struct($marker.newtype(), &self.to_string())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::python::envelope::deserialize(from)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::PayloadError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}
pub(crate) use as_text;

/// Digits alone: `str::parse` takes a sign as well.
pub(crate) fn number(digits: &str) -> Option<u32> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if are_digits { digits.parse().ok() } else { None }
}
