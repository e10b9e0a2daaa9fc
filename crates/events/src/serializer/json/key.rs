//! Keys of JSON's objects: text, and what Python makes text of.
use serde::ser::{Impossible, Serialize, Serializer};

use super::{
    text,
    write::{Flaw, Writer},
};

/// Writes one key.
pub(super) struct Key<'w>(pub(super) &'w mut Writer);

impl Key<'_> {
    /// Numbers and words, which are in ASCII.
    fn quoted(self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Flaw> {
        self.0.out.push(b'"');
        write(&mut self.0.out);
        self.0.out.push(b'"');
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $ty:ty),+ $(,)?) => {
        $(fn $method(self, value: $ty) -> Result<(), Flaw> {
            self.quoted(|out| text::integer(out, value))
        })+
    };
}

macro_rules! refused {
    ($($method:ident($($arg:ty),*) -> $ok:ty;)+) => {
        $(fn $method(self, $(_: $arg),*) -> Result<$ok, Flaw> {
            Err(Flaw::key())
        })+
    };
}

impl Serializer for Key<'_> {
    type Ok = ();
    type Error = Flaw;
    type SerializeSeq = Impossible<(), Flaw>;
    type SerializeTuple = Impossible<(), Flaw>;
    type SerializeTupleStruct = Impossible<(), Flaw>;
    type SerializeTupleVariant = Impossible<(), Flaw>;
    type SerializeMap = Impossible<(), Flaw>;
    type SerializeStruct = Impossible<(), Flaw>;
    type SerializeStructVariant = Impossible<(), Flaw>;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Flaw> {
        self.quoted(|out| text::bool(out, value))
    }

    fn serialize_f32(self, value: f32) -> Result<(), Flaw> {
        if !value.is_finite() {
            return Err(Flaw::not_finite());
        }
        self.quoted(|out| text::float(out, value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Flaw> {
        if !value.is_finite() {
            return Err(Flaw::not_finite());
        }
        self.quoted(|out| text::float(out, value))
    }

    fn serialize_char(self, value: char) -> Result<(), Flaw> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Flaw> {
        text::string(&mut self.0.out, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Flaw> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Flaw> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Flaw> {
        self.serialize_str("null")
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
        _name: &'static str,
        value: &T,
    ) -> Result<(), Flaw> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Flaw> {
        Err(Flaw::key())
    }

    refused! {
        serialize_bytes(&[u8]) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
