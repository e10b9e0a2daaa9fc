//! Headers and properties, as text, and back.
use std::{
    borrow::Cow,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use sinew_core::{Error, ErrorKind, Headers, Message, Properties, Result, Value};

pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Sequence";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const TTL: &str = "Nats-TTL";
const CONTENT_TYPE: &str = "Content-Type";
const CONTENT_ENCODING: &str = "Content-Encoding";
const CORRELATION_ID: &str = "Correlation-Id";

/// Headers that stand for properties, and so cannot be set as headers.
const PROPERTIES: [&str; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CORRELATION_ID];
/// The server gives these a meaning.
const SERVERS_OWN: &str = "Nats-";

/// What goes out: `None` where there is nothing, which costs nothing.
pub(crate) fn outbound(message: &Message) -> Result<Option<HeaderMap>> {
    let properties = message.properties();
    if message.headers.is_empty() && properties.is_none() {
        return Ok(None);
    }
    let mut map = HeaderMap::new();
    for (name, value) in message.headers.iter() {
        put_header(&mut map, name, value)?;
    }
    if let Some(properties) = properties {
        put_properties(&mut map, properties)?;
    }
    Ok((!map.is_empty()).then_some(map))
}

fn put_header(map: &mut HeaderMap, name: &str, value: &Value) -> Result<()> {
    if name.starts_with(SERVERS_OWN) {
        return Err(refuse(name, "`Nats-` names are the server's; use the property"));
    }
    if PROPERTIES.contains(&name) {
        return Err(refuse(name, "the name stands for a property; set that"));
    }
    match value {
        Value::List(values) if !values.is_empty() => {
            values.iter().try_for_each(|value| match value {
                Value::Text(text) => {
                    let (name, value) = entry(name, text)?;
                    map.append(name, value);
                    Ok(())
                }
                other => Err(no_text(name, other)),
            })
        }
        single => put(map, name, &text(name, single)?),
    }
}

/// The canonical text of a value that has one.
fn text<'v>(name: &str, value: &'v Value) -> Result<Cow<'v, str>> {
    Ok(match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bool(yes) => yes.to_string().into(),
        Value::Integer(number) => number.to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Time(time) => rfc3339(*time)
            .ok_or_else(|| refuse(name, "a time outside of the years 0 to 9999 has no text"))?
            .into(),
        other => return Err(no_text(name, other)),
    })
}

fn no_text(name: &str, value: &Value) -> Error {
    Error::new(ErrorKind::Unsupported, "nats header").with_subject(name).with_detail(format!(
        "{} has no text here; encode it, or put it into the payload",
        value.type_name()
    ))
}

fn put_properties(map: &mut HeaderMap, properties: &Properties) -> Result<()> {
    let texts = [
        (MESSAGE_ID, &properties.id),
        (CORRELATION_ID, &properties.correlation_id),
        (CONTENT_TYPE, &properties.content_type),
        (CONTENT_ENCODING, &properties.content_encoding),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            put(map, name, value)?;
        }
    }
    if let Some(ttl) = properties.ttl {
        put(map, TTL, &whole_seconds(ttl)?)?;
    }
    if let Some(expected) = &properties.expected_position {
        put(map, EXPECTED_SEQUENCE, &expected.offset.to_string())?;
        put(map, EXPECTED_STREAM, &expected.log)?;
    }
    Ok(())
}

/// The server counts in whole seconds, at least one; a fraction is refused, not rounded.
fn whole_seconds(ttl: Duration) -> Result<String> {
    if ttl.subsec_nanos() != 0 || ttl.is_zero() {
        return Err(Error::new(ErrorKind::Unsupported, "nats header")
            .with_subject(TTL)
            .with_detail("JetStream keeps a time to live in whole seconds, at least 1"));
    }
    Ok(format!("{}s", ttl.as_secs()))
}

/// Sets a name that is not there yet.
fn put(map: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let (name, value) = entry(name, value)?;
    map.insert(name, value);
    Ok(())
}

fn entry(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    // The client cuts white space off both ends when it reads, so it would not arrive.
    if value.trim() != value {
        return Err(refuse(name, "white space at either end would be lost"));
    }
    let value = HeaderValue::from_str(value)
        .map_err(|_| refuse(name, "a line break would end the header"))?;
    let name = HeaderName::from_str(name).map_err(|_| refuse(name, "not a header name of NATS"))?;
    Ok((name, value))
}

fn refuse(name: &str, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidHeader, "nats header").with_subject(name).with_detail(detail)
}

/// What came in. Names are sorted: the client keeps no order between them, only within a repeated one.
pub(crate) fn inbound(map: &HeaderMap, message: &mut Message) {
    if map.is_empty() {
        return;
    }
    let mut entries: Vec<(&str, &[HeaderValue])> =
        map.iter().map(|(name, values)| (name.as_ref(), values.as_slice())).collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries.retain(|(name, values)| match values.first() {
        Some(first) => !take_property(name, first.as_str(), message),
        None => false,
    });
    let (headers, left_out) =
        Headers::from_wire(entries.into_iter().map(|(name, values)| match values {
            [one] => (name, Value::from(one.as_str())),
            many => (name, many.iter().map(HeaderValue::as_str).collect()),
        }));
    message.headers = headers;
    if left_out > 0 {
        tracing::warn!(left_out, "a message came in with more headers than are kept");
    }
}

fn take_property(name: &str, value: &str, message: &mut Message) -> bool {
    let slot = match name {
        MESSAGE_ID => &mut message.properties_mut().id,
        CORRELATION_ID => &mut message.properties_mut().correlation_id,
        CONTENT_TYPE => &mut message.properties_mut().content_type,
        CONTENT_ENCODING => &mut message.properties_mut().content_encoding,
        TTL => {
            message.properties_mut().ttl = parse_ttl(value);
            return true;
        }
        // A question that the publish was about, answered long ago.
        EXPECTED_SEQUENCE | EXPECTED_STREAM => return true,
        _ => return false,
    };
    *slot = Some(value.to_owned());
    true
}

/// `5s`, or bare seconds.
fn parse_ttl(value: &str) -> Option<Duration> {
    value.trim_end_matches('s').parse().ok().map(Duration::from_secs)
}

/// RFC 3339 in UTC, with as many digits of a second as it has.
fn rfc3339(time: SystemTime) -> Option<String> {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok()?, after.subsec_nanos()),
        Err(err) => {
            let before = err.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds - 1, 1_000_000_000 - nanos),
            }
        }
    };
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    Some(text)
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year; an era is 400 of them.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use sinew_core::Subject;

    use super::*;

    fn message() -> Message {
        Message::new(Subject::parse("a").unwrap(), "")
    }

    fn there_and_back(message: &Message) -> Message {
        let mut back = Message::to(message.address.clone(), message.payload.clone());
        if let Some(map) = outbound(message).unwrap() {
            inbound(&map, &mut back);
        }
        back
    }

    #[test]
    fn no_headers_are_no_header_block() {
        assert!(outbound(&message()).unwrap().is_none());
    }

    #[test]
    fn values_travel_as_the_text_of_them() {
        let time = UNIX_EPOCH + Duration::new(951_782_400, 50_000_000);
        let sent = [
            ("bool", Value::Bool(true), Value::from("true")),
            ("float", Value::Float(1.5), Value::from("1.5")),
            ("integer", Value::Integer(-3), Value::from("-3")),
            ("list", Value::from_iter(["a", "b", "a"]), Value::from_iter(["a", "b", "a"])),
            ("empty", Value::from(""), Value::from("")),
            ("time", Value::Time(time), Value::from("2000-02-29T00:00:00.05Z")),
            ("unicode", Value::from("grün ✓"), Value::from("grün ✓")),
        ];
        let mut message = message();
        for (name, value, _) in &sent {
            message.headers.insert(name, value.clone()).unwrap();
        }
        let back = there_and_back(&message);
        for (name, _, arrives) in &sent {
            assert_eq!(back.headers.value(name), Some(arrives), "{name}");
        }
        assert_eq!(back.headers.len(), sent.len());
    }

    #[test]
    fn what_has_no_text_is_refused() {
        for (value, kind) in [
            (Value::Null, ErrorKind::Unsupported),
            (Value::Bytes(Bytes::new()), ErrorKind::Unsupported),
            (Value::Map(Vec::new()), ErrorKind::Unsupported),
            (Value::List(Vec::new()), ErrorKind::Unsupported),
            (Value::List(vec![Value::Integer(1)]), ErrorKind::Unsupported),
            (Value::from("a\nb"), ErrorKind::InvalidHeader),
            (Value::from("a\rb"), ErrorKind::InvalidHeader),
            (Value::from(" a"), ErrorKind::InvalidHeader),
            (Value::from("a\u{2003}"), ErrorKind::InvalidHeader),
        ] {
            let message = message().with_header("x", value.clone()).unwrap();
            assert_eq!(outbound(&message).unwrap_err().kind(), kind, "{value:?}");
        }
    }

    #[test]
    fn names_with_a_meaning_are_refused() {
        for name in ["Nats-Msg-Id", "Nats-Rollup", "Content-Type", "Correlation-Id"] {
            let message = message().with_header(name, "x").unwrap();
            assert_eq!(outbound(&message).unwrap_err().kind(), ErrorKind::InvalidHeader, "{name}");
        }
        // Names differ by letter case, for the server too.
        for name in ["Natsy", "nats-rollup", "content-type"] {
            assert!(outbound(&message().with_header(name, "x").unwrap()).is_ok(), "{name}");
        }
    }

    #[test]
    fn properties_travel_as_headers_and_come_back_as_properties() {
        let sent = message()
            .with_id("7")
            .with_correlation_id("c")
            .with_content_type("text/plain")
            .with_content_encoding("gzip")
            .with_ttl(Duration::from_secs(90));
        assert_eq!(there_and_back(&sent), sent);
    }

    #[test]
    fn a_fraction_of_a_second_is_no_time_to_live() {
        for ttl in [Duration::ZERO, Duration::from_millis(1500)] {
            assert!(outbound(&message().with_ttl(ttl)).is_err());
        }
    }

    #[test]
    fn times_have_rfc_3339_texts() {
        for (seconds, nanos, text) in [
            (0, 0, Some("1970-01-01T00:00:00Z")),
            (-1, 0, Some("1969-12-31T23:59:59Z")),
            (1_709_251_199, 999_999_999, Some("2024-02-29T23:59:59.999999999Z")),
            (253_402_300_799, 0, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, 0, None),
        ] {
            let at = Duration::from_secs(i64::unsigned_abs(seconds));
            let time = if seconds < 0 { UNIX_EPOCH - at } else { UNIX_EPOCH + at };
            assert_eq!(rfc3339(time + Duration::from_nanos(nanos)).as_deref(), text);
        }
    }

    proptest! {
        #[test]
        fn text_that_is_accepted_arrives_as_it_was(value in any::<String>(), more in any::<String>()) {
            let sent = message().with_header("x", Value::from_iter([value, more])).unwrap();
            if let Ok(Some(map)) = outbound(&sent) {
                let mut back = message();
                inbound(&map, &mut back);
                prop_assert_eq!(&back.headers, &sent.headers);
            }
        }
    }
}
