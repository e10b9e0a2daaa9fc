//! JSON as Python writes it, and what is refused because Python would read something else.
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::python::{self, Date, DateTime, Decimal, Time, Uuid};

fn plain<T: Serialize + ?Sized>(value: &T) -> Result<String, PayloadError> {
    let bytes = AnySerializer::json().encode(value)?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn typed<T: Serialize + ?Sized>(value: &T) -> String {
    let bytes = AnySerializer::typed_json().encode(value).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, PayloadError> {
    AnySerializer::json().decode(&Bytes::copy_from_slice(body.as_bytes()))
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Line {
    Free,
    Priced(f64),
    Pair(u8, char),
    Named { name: String },
}

#[test]
fn separators_escapes_and_numbers_are_pythons() {
    let order = Order {
        id: 7,
        lines: vec![
            Line::Free,
            Line::Priced(1e16),
            Line::Pair(1, 'é'),
            Line::Named { name: String::new() },
        ],
        note: None,
    };
    let body = r#"{"id": 7, "lines": ["Free", {"Priced": 1e+16}, {"Pair": [1, "\u00e9"]}, {"Named": {"name": ""}}], "note": null}"#;
    assert_eq!(plain(&order).unwrap(), body);
    assert_eq!(read::<Order>(body).unwrap(), order);
    assert_eq!(
        plain("a\"\\\u{8}\u{c}\n\r\t\0\u{7f}/é€😀").unwrap(),
        r#""a\"\\\b\f\n\r\t\u0000\u007f/\u00e9\u20ac\ud83d\ude00""#
    );
    for (float, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.5e22, "1.5e+22"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1.25e-7, "1.25e-07"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (123_456_789.125, "123456789.125"),
    ] {
        assert_eq!(plain(&float).unwrap(), text);
    }
    assert_eq!(
        plain(&(u64::MAX, i64::MIN, i128::MAX, 0.1_f32)).unwrap(),
        "[18446744073709551615, -9223372036854775808, 170141183460469231731687303715884105727, 0.1]"
    );
    assert_eq!(plain(&json!([{}, [], null, true])).unwrap(), "[{}, [], null, true]");
}

#[test]
fn keys_become_text_as_they_do_in_python() {
    let numbers = BTreeMap::from([(1, "a"), (-2, "b")]);
    assert_eq!(plain(&numbers).unwrap(), r#"{"-2": "b", "1": "a"}"#);
    assert_eq!(plain(&BTreeMap::from([(true, 1)])).unwrap(), r#"{"true": 1}"#);
    assert_eq!(plain(&BTreeMap::from([(None::<u8>, 1)])).unwrap(), r#"{"null": 1}"#);
    assert_eq!(plain(&BTreeMap::from([('é', 1)])).unwrap(), r#"{"\u00e9": 1}"#);
    let err = plain(&BTreeMap::from([([1], 1)])).unwrap_err();
    assert!(matches!(err, PayloadError::Malformed { .. }));
}

#[test]
fn what_is_not_finite_is_refused_and_never_becomes_null() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(plain(&json_like(value)), Err(PayloadError::NotFinite));
    }
    for value in [f32::NAN, f32::INFINITY] {
        assert_eq!(plain(&value), Err(PayloadError::NotFinite));
    }
    for body in [
        "NaN",
        "[1, NaN]",
        r#"{"a": -Infinity}"#,
        "Infinity",
        "{\n \"a\": [\n1, Infinity]}",
        "[\"é\", NaN]",
    ] {
        assert_eq!(read::<Value>(body), Err(PayloadError::NotFinite), "{body}");
    }
}

fn json_like(value: f64) -> BTreeMap<&'static str, Vec<f64>> {
    BTreeMap::from([("a", vec![value])])
}

#[test]
fn an_object_that_kombu_would_take_for_something_else_is_refused() {
    for value in [
        json!({"__type__": "datetime", "__value__": 1}),
        json!([{"__value__": 1, "other": 2, "__type__": "x"}]),
    ] {
        assert_eq!(plain(&value), Err(PayloadError::Reserved));
        assert_eq!(AnySerializer::typed_json().encode(&value), Err(PayloadError::Reserved));
    }
    for value in [json!({"__type__": 1}), json!({"__value__": {"__type__": 1}})] {
        assert!(plain(&value).is_ok());
    }
}

#[test]
fn pythons_values_are_written_in_the_dialect_that_is_asked_for() {
    let date = Date::new(2026, 1, 2).unwrap();
    let time = Time::new(3, 4, 5, 6).unwrap();
    let utc = DateTime::new(date, time.with_utc_offset(0).unwrap());
    assert_eq!(plain(&utc).unwrap(), r#""2026-01-02T03:04:05.000006Z""#);
    assert_eq!(
        typed(&utc),
        r#"{"__type__": "datetime", "__value__": "2026-01-02T03:04:05.000006+00:00"}"#
    );
    assert_eq!(plain(&date).unwrap(), r#""2026-01-02T00:00:00""#);
    assert_eq!(typed(&[date]), r#"[{"__type__": "date", "__value__": "2026-01-02"}]"#);
    assert_eq!(plain(&time).unwrap(), r#""03:04:05.000006""#);
    assert_eq!(typed(&time), r#"{"__type__": "time", "__value__": "03:04:05.000006"}"#);
    let total = Decimal::parse("9.50").unwrap();
    assert_eq!(plain(&total).unwrap(), r#""9.50""#);
    assert_eq!(typed(&total), r#"{"__type__": "decimal", "__value__": "9.50"}"#);
    let id = Uuid::from_u128(1);
    assert_eq!(plain(&id).unwrap(), r#""00000000-0000-0000-0000-000000000001""#);
    assert_eq!(
        typed(&id),
        r#"{"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000001"}}"#
    );
    let text = python::Bytes("hé".into());
    let bytes = python::Bytes((&[0xff, 0xfe, 0][..]).into());
    assert_eq!(typed(&text), r#"{"__type__": "bytes", "__value__": "h\u00e9"}"#);
    assert_eq!(typed(&bytes), r#"{"__type__": "base64", "__value__": "//4A"}"#);
    assert!(matches!(plain(&bytes), Err(PayloadError::Malformed { .. })));
}

#[test]
fn pythons_values_are_text_and_bytes_in_messagepack() {
    let pack = AnySerializer::message_pack();
    let body = pack.encode(&(Decimal::parse("9.50").unwrap(), python::Bytes("a".into()))).unwrap();
    assert_eq!(body, &b"\x92\xa49.50\xc4\x01a"[..]);
    let (total, bytes): (Decimal, python::Bytes) = pack.decode(&body).unwrap();
    assert_eq!((total.as_str(), &*bytes.0), ("9.50", &b"a"[..]));
}

#[test]
fn what_is_read_is_defined_where_json_leaves_it_open() {
    assert_eq!(read::<String>("").unwrap(), "");
    assert_eq!(read::<i128>("1180591620717411303424").unwrap(), 1 << 70);
    assert!(matches!(read::<u64>("1180591620717411303424"), Err(PayloadError::Malformed { .. })));
    assert_eq!(read::<Value>(r#"{"a": 1, "a": 2}"#).unwrap(), json!({"a": 2}));
    assert_eq!(
        read::<Value>(r#"{"__type__": "unknown", "__value__": 1}"#).unwrap()["__value__"],
        1
    );
    for body in ["\u{feff}1", "1 2", "\"\\ud800\"", "[1", "{a: 1}", &"[".repeat(200)] {
        assert!(matches!(read::<Value>(body), Err(PayloadError::Malformed { .. })), "{body}");
    }
    let err = AnySerializer::json().decode::<Value>(&Bytes::from_static(b"\"\xff\"")).unwrap_err();
    assert_eq!(err, PayloadError::malformed("it is not UTF-8"));
}

#[test]
fn a_refusal_says_where_and_quotes_nothing() {
    let err = read::<BTreeMap<String, u64>>(r#"{"a": 1, "b": "s3cret"}"#).unwrap_err();
    assert_eq!(err.to_string(), "it does not fit the expected type, at line 1 column 22");
}

/// Upper-case text, as in nameko's own documentation.
#[derive(Debug)]
struct Upper;

impl Serializer for Upper {
    fn content_type(&self) -> &str {
        "application/x-up"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, PayloadError> {
        let text = serde_json::to_string(value).map_err(|_| PayloadError::malformed("no JSON"))?;
        Ok(text.to_uppercase().into())
    }

    fn decode(&self, body: &Bytes, target: &mut Target<'_>) -> Result<(), PayloadError> {
        let text = String::from_utf8_lossy(body).to_lowercase();
        target.read(&mut serde_json::Deserializer::from_str(&text))
    }
}

#[test]
fn a_serializer_of_ones_own_writes_and_reads() {
    let upper = AnySerializer::new(Upper);
    let body = upper.encode(&BTreeMap::from([("name", "é")])).unwrap();
    assert_eq!(body, r#"{"NAME":"É"}"#);
    assert_eq!(upper.decode::<BTreeMap<String, String>>(&body).unwrap()["name"], "é");
    assert_eq!(upper.decode::<u8>(&body), Err(mismatch()));
    assert_eq!(upper.content_encoding(), "utf-8");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_written_in_ascii_and_comes_back(value in any_json()) {
        let body = plain(&value).unwrap();
        prop_assert!(body.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(read::<Value>(&body).unwrap(), value);
    }

    #[test]
    fn a_float_comes_back_to_its_last_bit(bits: u64) {
        let float = f64::from_bits(bits);
        if float.is_finite() {
            prop_assert_eq!(read::<f64>(&plain(&float).unwrap()).unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>) {
        let body = Bytes::from(body);
        for serializer in [AnySerializer::json(), AnySerializer::message_pack()] {
            let _ = serializer.decode::<Value>(&body);
            let _ = serializer.decode::<DateTime>(&body);
        }
        let _ = decode_raw::<String>(&body, None);
    }
}
