//! The payload grammar of beatit 2022.3.1: what a heart says, as text.
//!
//! | payload | meaning |
//! |---|---|
//! | `start/<warmup>` | it starts; a beat is due within so many seconds |
//! | `beat/<period>` | it is well; the next beat is due within so many seconds |
//! | `degraded/<period>` | it works, but not well; the next beat is due within so many seconds |
//! | `stop` | it ends on purpose; no more beats are due |
use std::{error, fmt, time::Duration};

use bytes::Bytes;
use sinew_core::{Error, ErrorKind, FromPayload, IntoPayload, Result};

/// The longest promise that is taken or made: 10^9 seconds, some 31 years.
pub const MAX_PROMISE: Duration = Duration::from_secs(1_000_000_000);

/// Python's longest float has 24 characters; an integer within [`MAX_PROMISE`] has fewer.
const MAX_NUMBER_LEN: usize = 32;

/// One thing that a heart says.
///
/// ```
/// use std::time::Duration;
/// use sinew_beat::{Beat, Malformed};
///
/// let beat = Beat::parse(b"beat/0.5")?;
/// assert_eq!(beat, Beat::Beat { period: Duration::from_millis(500) });
/// assert_eq!(beat.to_string(), "beat/0.5");
/// assert_eq!(Beat::parse(b"beat/soon"), Err(Malformed::NotANumber));
/// # Ok::<(), Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Beat {
    /// It starts.
    Start {
        /// A beat is due within it.
        warmup: Duration,
    },
    /// It is well.
    Beat {
        /// The next beat is due within it.
        period: Duration,
    },
    /// It works, but not well.
    Degraded {
        /// The next beat is due within it.
        period: Duration,
    },
    /// It ends on purpose.
    Stop,
}

/// Why bytes are no beat. They are counted and shown, never taken for one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// It starts with none of the four verbs.
    UnknownVerb,
    /// The verb lacks its number of seconds.
    MissingNumber,
    /// A `stop` carries something.
    UnexpectedNumber,
    /// What should be a number of seconds is none: text, `nan`, `inf`, a second slash.
    NotANumber,
    /// The number of seconds is below zero.
    Negative,
    /// The number of seconds is above [`MAX_PROMISE`].
    TooLarge,
    /// The subject names no process: see [`Process`](crate::Process).
    Process,
}

impl Malformed {
    /// The reason as a phrase, the same in tables, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownVerb => "unknown verb",
            Self::MissingNumber => "missing number",
            Self::UnexpectedNumber => "unexpected number",
            Self::NotANumber => "not a number",
            Self::Negative => "negative number",
            Self::TooLarge => "number too large",
            Self::Process => "no process name",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl error::Error for Malformed {}

impl Beat {
    /// Reads a payload.
    ///
    /// Seconds are read as Python prints them: `5`, `0.5`, `5.0`, `1e-05`, `1e+16`. What is finer than a nanosecond
    /// is cut off.
    ///
    /// # Errors
    ///
    /// [`Malformed`] says what is wrong. beatit itself sends whatever formats (`start/x/y`, `beat/nan`, `beat/-1`);
    /// what promises nothing is refused here.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let slash = payload.iter().position(|&byte| byte == b'/');
        let (verb, number) = match slash.and_then(|at| payload.split_at_checked(at)) {
            Some((verb, rest)) => (verb, rest.get(1..)),
            None => (payload, None),
        };
        let promise = || seconds(number.ok_or(Malformed::MissingNumber)?);
        match verb {
            b"start" => Ok(Self::Start { warmup: promise()? }),
            b"beat" => Ok(Self::Beat { period: promise()? }),
            b"degraded" => Ok(Self::Degraded { period: promise()? }),
            b"stop" if number.is_none() => Ok(Self::Stop),
            b"stop" => Err(Malformed::UnexpectedNumber),
            _ => Err(Malformed::UnknownVerb),
        }
    }

    /// The first word of it: `start`, `beat`, `degraded` or `stop`.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Beat { .. } => "beat",
            Self::Degraded { .. } => "degraded",
            Self::Stop => "stop",
        }
    }

    /// Within what time the next beat is due; none after a stop.
    #[must_use]
    pub const fn promise(self) -> Option<Duration> {
        match self {
            Self::Start { warmup: promise }
            | Self::Beat { period: promise }
            | Self::Degraded { period: promise } => Some(promise),
            Self::Stop => None,
        }
    }
}

/// The payload, byte for byte as beatit prints it for the same number of seconds: a whole one as Python prints an
/// `int`, any other as it prints a `float`; to the nanosecond, where a `float` of some hundred days and more is coarser.
impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        match self.promise() {
            Some(promise) => write!(f, "/{}", Seconds(promise)),
            None => Ok(()),
        }
    }
}

impl IntoPayload for Beat {
    fn into_payload(self) -> Result<Bytes> {
        match self.promise() {
            Some(promise) if promise > MAX_PROMISE => {
                Err(Error::new(ErrorKind::InvalidPayload, "encode beat")
                    .with_detail("promise at most 1000000000 s")
                    .with_source(Malformed::TooLarge))
            }
            _ => Ok(Bytes::from(self.to_string())),
        }
    }
}

impl FromPayload for Beat {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        Self::parse(payload).map_err(|reason| {
            Error::new(ErrorKind::InvalidPayload, "decode beat").with_source(reason)
        })
    }
}

/// A number of seconds as Python prints it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if nanos == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{nanos:09}");
        let digits = digits.trim_end_matches('0');
        if whole > 0 || nanos >= 100_000 {
            return write!(f, "{whole}.{digits}");
        }
        // Python turns to an exponent of two digits below 0.0001.
        let significant = digits.trim_start_matches('0');
        let exponent = digits.len() - significant.len() + 1;
        match significant.split_at_checked(1) {
            Some((first, "")) => write!(f, "{first}e-{exponent:02}"),
            Some((first, rest)) => write!(f, "{first}.{rest}e-{exponent:02}"),
            None => f.write_str("0"),
        }
    }
}

/// Reads what Python prints for a non-negative, finite `int` or `float`.
fn seconds(text: &[u8]) -> Result<Duration, Malformed> {
    if let Some(seconds) = few_digits(text) {
        return Ok(Duration::from_secs(seconds));
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed::NotANumber)?;
    match text.strip_prefix('-') {
        Some(text) => magnitude(text).and(Err(Malformed::Negative)),
        None => magnitude(text),
    }
}

/// A whole number of up to nine digits, which nearly every promise is: many times faster than all that could be there.
fn few_digits(text: &[u8]) -> Option<u64> {
    if !(1..=9).contains(&text.len()) {
        return None;
    }
    text.iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

fn magnitude(text: &str) -> Result<Duration, Malformed> {
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_digits = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    if !is_digits(whole) || ![fraction, exponent_digits].into_iter().flatten().all(is_digits) {
        return Err(Malformed::NotANumber);
    }
    if text.len() > MAX_NUMBER_LEN {
        return Err(Malformed::TooLarge);
    }
    let promise = if exponent.is_some() {
        let seconds: f64 = text.parse().map_err(|_| Malformed::NotANumber)?;
        Duration::try_from_secs_f64(seconds).map_err(|_| Malformed::TooLarge)?
    } else {
        // Exact to the nanosecond, which a float is not.
        let whole = whole.parse().map_err(|_| Malformed::TooLarge)?;
        let nanos = fraction.unwrap_or("").bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        Duration::new(whole, nanos)
    };
    if promise > MAX_PROMISE { Err(Malformed::TooLarge) } else { Ok(promise) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beat(seconds: f64) -> Beat {
        Beat::Beat { period: Duration::from_secs_f64(seconds) }
    }

    /// Each line was printed by beatit 2022.3.1 on CPython; `tests/beatit.rs` asks it again.
    #[test]
    fn numbers_are_printed_as_beatit_prints_them() {
        let printed = [
            (0.0, "beat/0"),
            (5.0, "beat/5"),
            (0.5, "beat/0.5"),
            (0.1, "beat/0.1"),
            (1.25, "beat/1.25"),
            (0.0001, "beat/0.0001"),
            (0.00001, "beat/1e-05"),
            (0.000_012_3, "beat/1.23e-05"),
            (1e-9, "beat/1e-09"),
            (86_400.001, "beat/86400.001"),
            (1e9, "beat/1000000000"),
        ];
        for (seconds, text) in printed {
            assert_eq!(beat(seconds).to_string(), text);
            assert_eq!(Beat::parse(text.as_bytes()), Ok(beat(seconds)), "{text}");
        }
    }

    #[test]
    fn what_beatit_prints_for_floats_is_read() {
        let read = [
            ("beat/5.0", 5.0),
            ("beat/1e-05", 0.00001),
            ("beat/1e+03", 1000.0),
            ("beat/1e3", 1000.0),
            ("beat/1.5e+02", 150.0),
            ("beat/0.30000000000000004", 0.3),
            ("beat/0.3333333333333333", 0.333_333_333),
            ("beat/5e-324", 0.0),
        ];
        for (text, seconds) in read {
            assert_eq!(Beat::parse(text.as_bytes()), Ok(beat(seconds)), "{text}");
        }
    }

    #[test]
    fn every_flaw_has_its_reason() {
        let flawed: [(&[u8], Malformed); 30] = [
            (b"", Malformed::UnknownVerb),
            (b"/", Malformed::UnknownVerb),
            (b"/5", Malformed::UnknownVerb),
            (b"BEAT/5", Malformed::UnknownVerb),
            (b" beat/5", Malformed::UnknownVerb),
            (b"beating/5", Malformed::UnknownVerb),
            (b"\xff\x00", Malformed::UnknownVerb),
            (b"beat", Malformed::MissingNumber),
            (b"start", Malformed::MissingNumber),
            (b"stop/", Malformed::UnexpectedNumber),
            (b"stop/5", Malformed::UnexpectedNumber),
            (b"beat/", Malformed::NotANumber),
            (b"start/x/y", Malformed::NotANumber),
            (b"beat/5/5", Malformed::NotANumber),
            (b"beat/nan", Malformed::NotANumber),
            (b"beat/inf", Malformed::NotANumber),
            (b"beat/-inf", Malformed::NotANumber),
            (b"beat/True", Malformed::NotANumber),
            (b"beat/+5", Malformed::NotANumber),
            (b"beat/ 5", Malformed::NotANumber),
            (b"beat/5\n", Malformed::NotANumber),
            (b"beat/.5", Malformed::NotANumber),
            (b"beat/5.", Malformed::NotANumber),
            (b"beat/5e", Malformed::NotANumber),
            (b"beat/0x5", Malformed::NotANumber),
            (b"beat/\xd9\xa5", Malformed::NotANumber),
            (b"beat/-1", Malformed::Negative),
            (b"beat/1000000000.1", Malformed::TooLarge),
            (b"beat/1e+16", Malformed::TooLarge),
            (b"beat/1000000000000000000000000000000", Malformed::TooLarge),
        ];
        for (payload, reason) in flawed {
            assert_eq!(Beat::parse(payload), Err(reason), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn a_promise_beyond_the_bound_is_not_sent() {
        let period = MAX_PROMISE + Duration::from_nanos(1);
        assert!(Beat::Beat { period }.into_payload().is_err());
        assert!(Beat::Beat { period: MAX_PROMISE }.into_payload().is_ok());
    }

    fn any_beat() -> impl Strategy<Value = Beat> {
        let promise = prop_oneof![
            (0..1_000_000_000_u64, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
            (0..200_000_u64).prop_map(Duration::from_nanos),
            (0..1_000_000_u64).prop_map(Duration::from_millis),
        ];
        prop_oneof![
            promise.clone().prop_map(|warmup| Beat::Start { warmup }),
            promise.clone().prop_map(|period| Beat::Beat { period }),
            promise.prop_map(|period| Beat::Degraded { period }),
            Just(Beat::Stop),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(beat in any_beat()) {
            prop_assert_eq!(Beat::parse(beat.to_string().as_bytes()), Ok(beat));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Beat::parse(&bytes);
        }

        #[test]
        fn random_numbers_never_panic(number in "[-+0-9.eE_/naif]{0,40}") {
            if let Ok(beat) = Beat::parse(format!("beat/{number}").as_bytes()) {
                prop_assert!(beat.promise().is_some_and(|promise| promise <= MAX_PROMISE));
            }
        }

        #[test]
        fn every_short_float_of_python_is_read(value in 0.0..1e9_f64) {
            // Rust and Python print the same shortest digits between 0.0001 and 1e16.
            let payload = format!("beat/{value:?}");
            prop_assert!(Beat::parse(payload.as_bytes()).is_ok());
        }
    }
}
