//! Both dialects are read as one value, and a value is shown as Python shows it.
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{from_value, json};

use super::*;

/// What is read from the text of kombu until 5.2, and from the object of 5.3 and later.
fn both<T: DeserializeOwned>(text: &str, marker: &str, value: serde_json::Value) -> [T; 2] {
    let object = json!({"__type__": marker, "__value__": value});
    [from_value(json!(text)).unwrap(), from_value(object).unwrap()]
}

#[test]
fn both_dialects_are_one_value() {
    let date = Date::new(2026, 1, 2).unwrap();
    let time = Time::new(3, 4, 5, 600_000).unwrap();
    let at = DateTime::new(date, time.with_utc_offset(0).unwrap());
    let old_at = "2026-01-02T03:04:05.600000Z";
    let new_at = json!("2026-01-02T03:04:05.600000+00:00");
    assert_eq!(both::<DateTime>(old_at, "datetime", new_at), [at; 2]);
    assert_eq!(both::<Date>("2026-01-02T00:00:00", "date", json!("2026-01-02")), [date; 2]);
    assert_eq!(both::<Time>("03:04:05.600000", "time", json!("03:04:05.600000")), [time; 2]);
    let total = Decimal::parse("-12.50").unwrap();
    assert_eq!(both::<Decimal>("-12.50", "decimal", json!("-12.50")), [total.clone(), total]);
    let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let (old, hex) = ("01234567-89ab-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef");
    assert_eq!(both::<Uuid>(old, "uuid", json!({"hex": hex})), [id; 2]);
    assert_eq!(both::<Uuid>(old, "uuid", json!({"version": 4, "hex": hex})), [id; 2]);
}

#[test]
fn bytes_are_text_or_base64_in_their_object() {
    let read = |marker: &str, value: &str| {
        from_value::<Bytes>(json!({"__value__": value, "__type__": marker})).unwrap().0
    };
    assert_eq!(read("bytes", "héllo"), "héllo".as_bytes());
    assert_eq!(read("base64", "//4A"), &[0xff, 0xfe, 0][..]);
}

#[test]
fn what_is_not_the_type_is_refused_without_being_quoted() {
    for object in [
        json!("s3cret"),
        json!({"__type__": "decimal", "__value__": "1"}),
        json!({"__type__": "datetime"}),
        json!({"__type__": "datetime", "__value__": "s3cret"}),
        json!({"__type__": "datetime", "__value__": "2026-01-02T03:04:05", "s3cret": 1}),
        json!({"__type__": "datetime", "__value__": {"version": 4}}),
        json!({}),
    ] {
        let err = from_value::<DateTime>(object.clone()).unwrap_err().to_string();
        assert!(!err.contains("s3cret"), "{object}: {err}");
    }
    assert!(from_value::<DateTime>(json!(7)).is_err());
}

#[test]
fn days_and_times_that_are_none_are_refused() {
    for text in [
        "2026-02-29",
        "1900-02-29",
        "2026-13-01",
        "2026-00-01",
        "0000-01-01",
        "2026-1-2",
        "+026-01-02",
        "",
    ] {
        assert!(Date::parse(text).is_err(), "{text}");
    }
    assert!(Date::parse("2024-02-29").is_ok() && Date::parse("2000-02-29").is_ok());
    for text in [
        "24:00:00",
        "00:60:00",
        "00:00:60",
        "00:00",
        "0:00:00",
        "00:00:00.",
        "00:00:00.1234567",
        "00:00:00.+1",
        "00:00:00Zx",
        "00:00:00+24:00",
        "00:00:00+1",
        "00:00:00+01:00:00.5",
        "é",
    ] {
        assert!(Time::parse(text).is_err(), "{text}");
    }
    assert_eq!(Time::parse("01:02:03.5").unwrap().microsecond(), 500_000);
    assert_eq!(Time::parse("01:02:03-05:30").unwrap().utc_offset(), Some(-19_800));
}

#[test]
fn decimals_are_those_that_python_reads() {
    for text in ["0", "-12.50", "+.5", "5.", "1E+3", "1e-3", "NaN", "-sNaN12", "Infinity", "-inf"] {
        assert_eq!(Decimal::parse(text).unwrap().as_str(), text);
    }
    for text in ["", ".", "e5", "1e", "1e+", "--1", "1_000", "0x1", "nane", "1 ", &"1".repeat(4097)]
    {
        assert!(Decimal::parse(text).is_err(), "{text}");
    }
}

#[test]
fn uuids_have_their_hyphens_in_their_places_or_none() {
    for text in [
        "",
        "0123",
        "0123456789abcdef0123456789abcdeg",
        "0123-456789abcdef0123456789abcdef",
        "012345678-9ab-cdef-0123-456789abcdef",
        "+123456789abcdef0123456789abcdef",
    ] {
        assert!(Uuid::parse(text).is_err(), "{text}");
    }
}

#[test]
fn an_instant_is_the_one_that_its_zone_says() {
    let at = |text: &str| DateTime::parse(text).unwrap().to_system_time();
    let epoch = SystemTime::UNIX_EPOCH;
    assert_eq!(at("1970-01-01T00:00:00Z"), Some(epoch));
    assert_eq!(at("2026-11-22T01:02:03+01:00"), Some(epoch + Duration::from_secs(1_795_305_723)));
    assert_eq!(at("1969-12-31 23:59:59.5Z"), Some(epoch - Duration::from_millis(500)));
    assert_eq!(at("2026-11-22T01:02:03"), None);
}

proptest! {
    #[test]
    fn an_instant_comes_back(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
        let length = Duration::from_micros(micros.unsigned_abs());
        let instant = match micros {
            0.. => SystemTime::UNIX_EPOCH + length,
            _ => SystemTime::UNIX_EPOCH - length,
        };
        let at = DateTime::from_system_time(instant).unwrap();
        prop_assert_eq!(at.to_system_time(), Some(instant));
        prop_assert_eq!(DateTime::parse(&at.to_string()).unwrap(), at);
    }

    #[test]
    fn a_time_comes_back_from_its_text(
        seconds in 0..86_400_u32, micros in 0..1_000_000_u32, offset in prop::option::of(-86_399..86_400),
    ) {
        let time = Time::from_seconds(seconds, micros).unwrap();
        let time = offset.map_or(Some(time), |offset| time.with_utc_offset(offset)).unwrap();
        prop_assert_eq!(Time::parse(&time.to_string()).unwrap(), time);
    }

    #[test]
    fn a_uuid_comes_back_from_its_text(bits: u128) {
        let id = Uuid::from_u128(bits);
        prop_assert_eq!(Uuid::parse(&id.to_string()).unwrap(), id);
        prop_assert_eq!(Uuid::parse(&id.to_string().replace('-', "")).unwrap(), id);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = (DateTime::parse(&text), Date::parse(&text), Time::parse(&text));
        let _ = (Decimal::parse(&text), Uuid::parse(&text));
    }
}
