//! Headers: ordered names with typed values.
use std::{fmt, time::SystemTime};

use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

/// A header's value.
///
/// The types are those that brokers carry between them; a backend that carries fewer says so in its
/// [`HeaderCarriage`](crate::HeaderCarriage), and refuses what it would have to drop.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number; may be NaN or infinite.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes that are no text.
    Bytes(Bytes),
    /// A point in time; AMQP keeps whole seconds of it.
    Time(SystemTime),
    /// Values in order; a list of text is a repeated header where headers are text.
    List(Vec<Self>),
    /// Named values in order.
    Map(Vec<(String, Self)>),
}

/// A message's headers, in order, each name once. Names are compared as they are, letter case included.
///
/// Holding none allocates nothing.
///
/// ```
/// use sinew_core::{Headers, Value};
///
/// let mut headers = Headers::default();
/// headers.insert("attempts", 3)?;
/// headers.insert("call-stack", Value::from_iter(["a.1", "b.2"]))?;
/// assert_eq!(headers.integer("attempts"), Some(3));
/// assert_eq!(headers.texts("call-stack").collect::<Vec<_>>(), ["a.1", "b.2"]);
/// assert!(headers.insert("no:colon", "x").is_err());
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Headers(Vec<(Box<str>, Value)>);

impl Headers {
    /// Sets `name` to `value`; its place and former value are kept and returned if it was there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] when `name` is empty or holds anything but visible ASCII without `:`.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) -> Result<Option<Value>> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(Error::new(ErrorKind::InvalidHeader, "set header")
                .with_subject(name)
                .with_detail("a name is visible ASCII without `:`"));
        }
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, old)) => Ok(Some(std::mem::replace(old, value))),
            None => {
                self.0.push((name.into(), value));
                Ok(None)
            }
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(known, _)| **known == *name)?;
        Some(self.0.remove(index).1)
    }

    /// The value of `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    /// The text of `name`, where it is text or a list of one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            Value::List(list) => match list.as_slice() {
                [Value::Text(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The texts of `name`: of a list, or of one text. What is no text in the list is passed over.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = match self.value(name) {
            Some(Value::List(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The whole number of `name`, be it a number or, as text carriers deliver it, the text of one.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in order.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

/// Shows names, and the type of each value: a value may be a secret.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value.type_name()))).finish()
    }
}

impl Value {
    /// The name of its type, in lower case.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "time",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}
value_from! {
    bool => Bool, i64 => Integer, i32 => Integer, u32 => Integer, f64 => Float, &str => Text, String => Text,
    Bytes => Bytes, SystemTime => Time, Vec<Value> => List,
}

impl<V: Into<Self>> FromIterator<V> for Value {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserting_again_replaces_in_place() {
        let mut headers = Headers::default();
        headers.insert("a", 1).unwrap();
        headers.insert("b", 2).unwrap();
        assert_eq!(headers.insert("a", "x").unwrap(), Some(Value::Integer(1)));
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers.remove("a"), Some(Value::from("x")));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn names_are_visible_ascii_without_colon() {
        for name in ["", "a b", "a:b", "é", "a\n", "\u{7f}"] {
            let err = Headers::default().insert(name, true).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidHeader);
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let mut headers = Headers::default();
        headers.insert("authorization", "s3cret").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"authorization": "text"}"#);
    }
}
