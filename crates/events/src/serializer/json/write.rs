//! The writer: serde's data model in Python's JSON.
//!
//! serde_json's own would do but for three things, of which it tells nobody: it writes `null` for what is not finite,
//! numbers as Python does not, and an object that kombu takes for something else.
use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{Dialect, key::Key, text};
use crate::{error::PayloadError, python::Marker};

/// What is wrong with a value, on its way through serde.
#[derive(Debug)]
pub(super) struct Flaw(PayloadError);

impl Flaw {
    pub(super) const fn not_finite() -> Self {
        Self(PayloadError::NotFinite)
    }

    pub(super) fn key() -> Self {
        Self(PayloadError::malformed("a key of an object is no text, number or bool"))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Flaw {}

/// Its own text is left out: it may quote the value.
impl Error for Flaw {
    fn custom<T: fmt::Display>(_text: T) -> Self {
        Self(PayloadError::malformed("its type has no JSON form: its own Serialize failed"))
    }
}

pub(super) fn to_vec<T: Serialize + ?Sized>(
    dialect: Dialect,
    value: &T,
) -> Result<Vec<u8>, PayloadError> {
    let mut writer = Writer { out: Vec::with_capacity(256), dialect };
    value.serialize(&mut writer).map_err(|flaw| flaw.0)?;
    Ok(writer.out)
}

/// What is written, so far.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    dialect: Dialect,
}

/// An array or an object that is open.
#[derive(Debug)]
pub(super) struct Open<'w> {
    writer: &'w mut Writer,
    is_empty: bool,
    /// What ends it.
    end: &'static str,
    /// Whether `__type__` is among its keys, and `__value__`.
    has: (bool, bool),
}

/// What serde_json calls a number that it keeps as text, where it is told to: a struct with one field.
const NUMBER_TEXT: &str = "$serde_json::private::Number";
const RAW_VALUE: &str = "$serde_json::private::RawValue";

impl Writer {
    fn word(&mut self, word: &str) {
        self.out.extend_from_slice(word.as_bytes());
    }

    fn open(&mut self, begin: &str, end: &'static str) -> Open<'_> {
        self.word(begin);
        Open { writer: self, is_empty: true, end, has: (false, false) }
    }

    /// Opens a variant, which is an object with its name as the only key.
    fn variant(&mut self, variant: &str) {
        self.word("{");
        text::string(&mut self.out, variant);
        self.word(": ");
    }

    /// Writes a value of Python's as kombu does, of whose text `write` is the JSON string.
    fn typed(
        &mut self,
        marker: Marker,
        write: impl FnOnce(&mut Self) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let is_typed = self.dialect == Dialect::Typed;
        if is_typed {
            self.word(r#"{"__type__": ""#);
            self.word(marker.as_str());
            self.word(r#"", "__value__": "#);
        }
        let start = self.out.len();
        write(self)?;
        match marker {
            // `Z` instead of an offset of nothing.
            Marker::DateTime if !is_typed && self.out.ends_with(br#"+00:00""#) => {
                self.out.truncate(self.out.len() - 7);
                self.word("Z\"");
            }
            // Midnight, since it is made a datetime first.
            Marker::Date if !is_typed => {
                self.out.pop();
                self.word("T00:00:00\"");
            }
            Marker::Uuid if is_typed => {
                let mut hex = self.out.split_off(start);
                hex.retain(|byte| *byte != b'-');
                self.word(r#"{"hex": "#);
                self.out.append(&mut hex);
                self.word("}");
            }
            _ => {}
        }
        if is_typed {
            self.word("}");
        }
        Ok(())
    }
}

impl Open<'_> {
    fn next(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.word(", ");
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Flaw> {
        self.next();
        value.serialize(&mut *self.writer)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Flaw> {
        self.next();
        let start = self.writer.out.len();
        key.serialize(Key(self.writer))?;
        match self.writer.out.get(start..) {
            Some(br#""__type__""#) => self.has.0 = true,
            Some(br#""__value__""#) => self.has.1 = true,
            _ => {}
        }
        self.writer.word(": ");
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Flaw> {
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), Flaw> {
        if self.has == (true, true) {
            return Err(Flaw(PayloadError::Reserved));
        }
        self.writer.word(self.end);
        Ok(())
    }

    /// A number that serde_json keeps as text: what is written is a string with nothing to escape in it.
    fn number<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Flaw> {
        let start = self.writer.out.len();
        self.value(value)?;
        let number = self.writer.out.split_off(start);
        let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        match number.as_slice() {
            [b'"', number @ .., b'"'] if number.iter().all(is_number) => {
                self.writer.out.extend_from_slice(number);
                Ok(())
            }
            _ => Err(Flaw::not_finite()),
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $ty:ty),+ $(,)?) => {
        $(fn $method(self, value: $ty) -> Result<(), Flaw> {
            text::integer(&mut self.out, value);
            Ok(())
        })+
    };
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Flaw;
    type SerializeSeq = Open<'w>;
    type SerializeTuple = Open<'w>;
    type SerializeTupleStruct = Open<'w>;
    type SerializeTupleVariant = Open<'w>;
    type SerializeMap = Open<'w>;
    type SerializeStruct = Open<'w>;
    type SerializeStructVariant = Open<'w>;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Flaw> {
        text::bool(&mut self.out, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Flaw> {
        if !value.is_finite() {
            return Err(Flaw::not_finite());
        }
        text::float(&mut self.out, value);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Flaw> {
        if !value.is_finite() {
            return Err(Flaw::not_finite());
        }
        text::float(&mut self.out, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Flaw> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Flaw> {
        text::string(&mut self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Flaw> {
        if self.dialect == Dialect::Plain {
            return Err(Flaw(PayloadError::malformed("bytes have no form in JSON")));
        }
        match std::str::from_utf8(value) {
            Ok(text) => self.typed(Marker::Bytes, |writer| writer.serialize_str(text)),
            Err(_) => {
                self.typed(Marker::Base64, |writer| writer.serialize_str(&STANDARD.encode(value)))
            }
        }
    }

    fn serialize_none(self) -> Result<(), Flaw> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Flaw> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Flaw> {
        self.word("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Flaw> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Flaw> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Flaw> {
        match Marker::of_newtype(name) {
            Some(marker) => self.typed(marker, |writer| value.serialize(writer)),
            None => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Flaw> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.word("}");
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Open<'w>, Flaw> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Open<'w>, Flaw> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Open<'w>, Flaw> {
        Ok(self.open("[", "]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Open<'w>, Flaw> {
        self.variant(variant);
        Ok(self.open("[", "]}"))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Open<'w>, Flaw> {
        Ok(self.open("{", "}"))
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Open<'w>, Flaw> {
        match name {
            NUMBER_TEXT => Ok(self.open("", "")),
            RAW_VALUE => Err(Flaw(PayloadError::malformed("a raw value is not looked into"))),
            _ => Ok(self.open("{", "}")),
        }
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Open<'w>, Flaw> {
        self.variant(variant);
        Ok(self.open("{", "}}"))
    }
}

macro_rules! sequences {
    ($($as:ident::$method:ident),+ $(,)?) => {
        $(impl $as for Open<'_> {
            type Ok = ();
            type Error = Flaw;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Flaw> {
                self.element(value)
            }

            fn end(self) -> Result<(), Flaw> {
                self.close()
            }
        })+
    };
}
sequences! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field,
}

impl SerializeMap for Open<'_> {
    type Ok = ();
    type Error = Flaw;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Flaw> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Flaw> {
        self.value(value)
    }

    fn end(self) -> Result<(), Flaw> {
        self.close()
    }
}

macro_rules! structs {
    ($($as:ident),+) => {
        $(impl $as for Open<'_> {
            type Ok = ();
            type Error = Flaw;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Flaw> {
                if key == NUMBER_TEXT {
                    return self.number(value);
                }
                self.key(key)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Flaw> {
                self.close()
            }
        })+
    };
}
structs!(SerializeStruct, SerializeStructVariant);
