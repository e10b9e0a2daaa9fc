//! What Python and kombu wrote of the values that events carry is read, and written, byte for byte; `golden/make.py`
//! had them write it.
use std::{error::Error, fmt::Display, str::FromStr};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sinew_events::{
    AnySerializer, PayloadError,
    python::{self, Date, DateTime, Decimal, Time, Uuid},
};

const JSON: &str = include_str!("golden/json.txt");
/// The last kombu that wrote Python's values as text.
const OLD: &str = include_str!("golden/kombu-5.2.4.txt");
/// One that writes them as objects.
const NEW: &str = include_str!("golden/kombu-5.7.0.txt");

fn read<T: DeserializeOwned>(document: &str) -> Result<T, PayloadError> {
    AnySerializer::json().decode(&Bytes::copy_from_slice(document.as_bytes()))
}

#[test]
fn documents_are_written_as_python_writes_them() -> Result<(), PayloadError> {
    assert!(JSON.lines().count() > 500);
    for document in JSON.lines() {
        let value: Value = read(document)?;
        assert_eq!(AnySerializer::json().encode(&value)?, document);
    }
    Ok(())
}

#[test]
fn values_are_read_from_either_kombu_and_written_as_it_writes_them() -> Result<(), Box<dyn Error>> {
    for (golden, serializer) in [(OLD, AnySerializer::json()), (NEW, AnySerializer::typed_json())] {
        assert!(golden.lines().count() > 150);
        for line in golden.lines() {
            let mut fields = line.splitn(3, '\t');
            let mut field = || fields.next().ok_or(line);
            let (kind, text, document) = (field()?, field()?, field()?);
            match kind {
                "datetime" => is::<DateTime>(&serializer, text, document)?,
                "date" => is::<Date>(&serializer, text, document)?,
                "time" => is::<Time>(&serializer, text, document)?,
                "decimal" => is::<Decimal>(&serializer, text, document)?,
                "uuid" => is::<Uuid>(&serializer, text, document)?,
                "bytes" => are_bytes(&serializer, text, document)?,
                _ => return Err(line.into()),
            }
        }
    }
    Ok(())
}

/// The document is the value of that text.
fn is<T>(serializer: &AnySerializer, text: &str, document: &str) -> Result<(), PayloadError>
where
    T: FromStr<Err = PayloadError> + DeserializeOwned + Display + PartialEq + Serialize,
{
    let value: T = read(document)?;
    assert_eq!(value.to_string(), text, "{document}");
    assert!(value == text.parse()?, "{document}");
    assert_eq!(serializer.encode(&value)?, document);
    Ok(())
}

/// The document is those bytes, in hexadecimal digits; where there is none, kombu refused them, and so does Sinew.
fn are_bytes(serializer: &AnySerializer, hex: &str, document: &str) -> Result<(), Box<dyn Error>> {
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    let bytes: Result<Bytes, Box<dyn Error>> = hex.as_bytes().chunks(2).map(byte).collect();
    let value = python::Bytes(bytes?);
    match serializer.encode(&value) {
        Ok(written) => {
            assert_eq!(written, document);
            assert_eq!(read::<python::Bytes>(document)?, value);
        }
        Err(err) => assert!(document.is_empty(), "{err}"),
    }
    Ok(())
}
