//! Times: how they are written on the command line, and how they are shown.
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, tz::TimeZone};

/// Nanoseconds in each unit, largest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// No clock counts much further, and an end that far away is none.
const LONGEST: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// Reads a span of time: numbers with units, largest unit first: `250ms`, `5s`, `1.5s`, `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write numbers with units, as in 250ms, 5s or 1h30m";
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("a number alone has no unit: write {text}s or {text}ms"));
    }
    let mut rest = text;
    let mut largest = u64::MAX;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, tail) = split(tail, |c| c.is_ascii_alphabetic());
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        let scale = scale.filter(|_| !number.is_empty()).ok_or(FORM)?;
        if scale >= largest {
            return Err(format!("the largest unit stands first, and each once: {FORM}"));
        }
        largest = scale;
        let part = scaled(number, scale).ok_or(FORM)?;
        sum = sum.checked_add(part).ok_or("too long")?;
        rest = tail;
    }
    match sum {
        _ if text.is_empty() => Err(FORM.to_owned()),
        sum if sum > LONGEST => Err("it is longer than a thousand years".to_owned()),
        sum => Ok(sum),
    }
}

/// The same, and more than nothing.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be more than nothing".to_owned()),
        span => Ok(span),
    }
}

fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `number` times `scale` nanoseconds, exactly; what is finer than a nanosecond is cut off.
fn scaled(number: &str, scale: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 15 {
        return None;
    }
    let scale = u128::from(scale);
    let whole = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    let unit = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let nanos = whole.checked_add(fraction.parse::<u128>().ok()? * scale / unit)?;
    Some(Duration::new(
        u64::try_from(nanos / 1_000_000_000).ok()?,
        u32::try_from(nanos % 1_000_000_000).ok()?,
    ))
}

/// A point in time as JSON has it: RFC 3339, microseconds, UTC.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "out of range".to_owned(), |it| format!("{it:.6}"))
}

/// Reads a point in time: RFC 3339, as `2026-03-01T12:00:00Z`.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// The time of day where the user is, to the millisecond.
pub(crate) fn clock(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "--:--:--.---".to_owned(),
        |it| it.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
    )
}

/// The second where the user is, with its day: brokers keep no more of it.
pub(crate) fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "----------".to_owned(),
        |it| it.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// A span of time for people: `0.4 s`, `12.3 s`, `5m 10s`, `3h 20m`, `2d 4h`.
pub(crate) fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..100 => format!("{:.1} s", span.as_secs_f64()),
        100..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A span of time as it was asked for: `10s`, `250ms`, `1h30m`.
pub(crate) fn written(span: Duration) -> String {
    let mut rest = span.as_nanos();
    let mut text = String::new();
    for (unit, scale) in UNITS {
        let count = rest / u128::from(scale);
        rest %= u128::from(scale);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("5s", 5_000_000_000),
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            ("0.000001ms", 1),
            ("2m", 120_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1d", 86_400_000_000_000),
            ("1m0.5s", 60_500_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn a_number_alone_is_told_to_take_a_unit() {
        let err = parse_duration("5").unwrap_err();
        assert!(err.contains("5s") && err.contains("no unit"), "{err}");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        let long = format!("{}d", "9".repeat(40));
        for text in
            ["", "s", "5 s", "-5s", "5x", "1m1h", "5s5s", "1..5s", ".5s", "5.s", "٥s", &long]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("365000d").is_ok());
        assert!(parse_duration("365000d1ns").unwrap_err().contains("thousand years"));
        assert!(parse_positive("0ms").is_err());
    }

    #[test]
    fn points_in_time_have_six_digits_and_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(rfc3339(time), "1970-01-01T00:00:01.500000Z");
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Some(time));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn spans_are_spoken_in_two_units_at_most() {
        let spoken = |s| spoken(Duration::from_secs(s));
        assert_eq!(spoken(12), "12.0 s");
        assert_eq!(spoken(310), "5m 10s");
        assert_eq!(spoken(12_000), "3h 20m");
        assert_eq!(spoken(200_000), "2d 07h");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<u64>()) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&written(span)), Ok(span));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn any_number_and_unit_is_read_or_refused(text in "[0-9.]{0,30}(d|h|m|s|ms|us|ns)[0-9.]{0,5}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn decimals_are_exact(millis in 0..10_000_000_u64) {
            let text = format!("{}.{:03}s", millis / 1000, millis % 1000);
            prop_assert_eq!(parse_duration(&text), Ok(Duration::from_millis(millis)));
        }
    }
}
