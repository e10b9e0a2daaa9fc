//! Headers: ordered names with typed values.
use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

/// A header's value.
///
/// The types are those that brokers carry between them; a backend that carries fewer says so in its
/// [`HeaderCarriage`](crate::HeaderCarriage), and refuses what it would have to drop.
///
/// Building one nested too deep is not refused, putting it into [`Headers`] is: whoever builds one from a peer's bytes
/// stops at [`Headers::MAX_DEPTH`] while reading.
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
/// Holding none allocates nothing; cloning shares them. What they hold is bounded, whoever sent it: at most
/// [`Headers::MAX_LEN`] names, and values nested no deeper than [`Headers::MAX_DEPTH`].
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
pub struct Headers(Option<Arc<Vec<Entry>>>);

type Entry = (Box<str>, Value);

impl Headers {
    /// How many names there can be.
    pub const MAX_LEN: usize = 1024;

    /// How deep a value can nest: a list of lists of numbers is 3 deep, a number 1.
    ///
    /// Comparing, showing and dropping a value takes stack in proportion.
    pub const MAX_DEPTH: usize = 32;

    /// For adapters: keeps what a peer sent, the last of a repeated name, and counts what [`Headers::insert`] refuses.
    #[must_use = "what was left out is to be logged once, with its number"]
    pub fn from_wire<N: AsRef<str>>(sent: impl IntoIterator<Item = (N, Value)>) -> (Self, usize) {
        let mut headers = Self::default();
        let mut left_out = 0;
        for (name, value) in sent {
            // Once it is full nothing is looked up any more: a flood of names costs no more than reading it.
            if headers.len() >= Self::MAX_LEN {
                value.dismantle();
                left_out += 1;
            } else if headers.insert(name.as_ref(), value).is_err() {
                left_out += 1;
            }
        }
        (headers, left_out)
    }

    /// Sets `name` to `value`; if it was there, it keeps its place, and the former value is returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] when `name` is empty or holds anything but visible ASCII without `:`, when
    /// `value` nests deeper than [`Headers::MAX_DEPTH`], or when there are [`Headers::MAX_LEN`] names already.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) -> Result<Option<Value>> {
        let refuse = |reason| {
            Err(Error::new(ErrorKind::InvalidHeader, "set header")
                .with_subject(name)
                .with_detail(reason))
        };
        let value = value.into();
        if !value.nests_within(Self::MAX_DEPTH) {
            value.dismantle();
            return refuse("a value nests 32 deep at most");
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return refuse("a name is visible ASCII without `:`");
        }
        let index = self.index(name);
        if index.is_none() && self.len() >= Self::MAX_LEN {
            return refuse("there are 1,024 names at most");
        }
        let entries = Arc::make_mut(self.0.get_or_insert_default());
        match index.and_then(|index| entries.get_mut(index)) {
            Some((_, old)) => Ok(Some(std::mem::replace(old, value))),
            None => {
                entries.push((name.into(), value));
                Ok(None)
            }
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let index = self.index(name)?;
        let entries = Arc::make_mut(self.0.as_mut()?);
        let (_, value) = entries.remove(index);
        if entries.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    fn entries(&self) -> &[Entry] {
        self.0.as_ref().map_or(&[], |entries| entries.as_slice())
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.entries().iter().position(|(known, _)| **known == *name)
    }

    /// The value of `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.entries().iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
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
        self.entries().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Names and values, in order.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries().iter().map(|(name, value)| (&**name, value))
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

    /// Whether it has a text form, where headers are text: scalars but null and bytes, and lists of text.
    pub(crate) fn has_text(&self) -> bool {
        match self {
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) | Self::Text(_) | Self::Time(_) => {
                true
            }
            // A header repeated no times is none at all.
            Self::List(list) => {
                !list.is_empty() && list.iter().all(|value| matches!(value, Self::Text(_)))
            }
            Self::Null | Self::Bytes(_) | Self::Map(_) => false,
        }
    }

    /// Looks no deeper than `levels`, so its own recursion is bounded, too.
    fn nests_within(&self, levels: usize) -> bool {
        let Some(below) = levels.checked_sub(1) else { return false };
        match self {
            Self::List(list) => list.iter().all(|value| value.nests_within(below)),
            Self::Map(map) => map.iter().all(|(_, value)| value.nests_within(below)),
            _ => true,
        }
    }

    /// Drops it without recursion, however deep it is.
    fn dismantle(self) {
        let mut rest = vec![self];
        while let Some(value) = rest.pop() {
            match value {
                Self::List(list) => rest.extend(list),
                Self::Map(map) => rest.extend(map.into_iter().map(|(_, value)| value)),
                _ => {}
            }
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
    Bytes => Bytes, SystemTime => Time, Vec<Value> => List, Vec<(String, Value)> => Map,
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
    fn a_value_nests_to_a_depth_and_no_deeper() {
        let nested = |depth: usize| {
            (1..depth).fold(Value::Null, |inner, level| match level % 2 {
                0 => Value::List(vec![inner]),
                _ => Value::Map(vec![("k".to_owned(), inner)]),
            })
        };
        let mut headers = Headers::default();
        assert!(headers.insert("a", nested(Headers::MAX_DEPTH)).is_ok());
        for depth in [Headers::MAX_DEPTH + 1, 1_000_000] {
            let err = headers.insert("b", nested(depth)).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidHeader);
        }
    }

    #[test]
    fn names_are_bounded_in_number() {
        let mut headers = Headers::default();
        for index in 0..Headers::MAX_LEN {
            headers.insert(&format!("h{index}"), Value::Null).unwrap();
        }
        assert_eq!(headers.insert("more", true).unwrap_err().kind(), ErrorKind::InvalidHeader);
        assert_eq!(headers.insert("h7", true).unwrap(), Some(Value::Null));
    }

    #[test]
    fn changing_a_clone_leaves_the_original() {
        let mut headers = Headers::default();
        headers.insert("a", 1).unwrap();
        let mut clone = headers.clone();
        clone.remove("a").unwrap();
        assert_eq!(clone, Headers::default());
        assert_eq!(headers.integer("a"), Some(1));
    }

    #[test]
    fn what_comes_in_is_kept_within_bounds_and_the_rest_counted() {
        let sent = (0..2000).map(|index| (format!("h{index}"), Value::Null));
        let (headers, left_out) = Headers::from_wire(sent);
        assert_eq!((headers.len(), left_out), (Headers::MAX_LEN, 2000 - Headers::MAX_LEN));
        let (headers, left_out) = Headers::from_wire([("a b", Value::Null), ("c", Value::Null)]);
        assert_eq!((headers.len(), left_out), (1, 1));
    }

    #[test]
    fn debug_shows_no_value() {
        let mut headers = Headers::default();
        headers.insert("authorization", "s3cret").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"authorization": "text"}"#);
    }
}
