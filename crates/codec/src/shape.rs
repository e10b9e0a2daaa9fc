//! Whether bytes are one MessagePack value, whole and not too deep, found without recursion or allocation.
//!
//! The format is <https://github.com/msgpack/msgpack/blob/master/spec.md>.

/// How deep arrays and maps may nest: as deep as serde_json lets JSON.
const MAX_DEPTH: usize = 128;

/// Why bytes are no such value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    CutShort,
    Trailing,
    TooDeep,
    Reserved,
}

impl Flaw {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::CutShort => "it is cut short, or claims to be longer than it is",
            Self::Trailing => "bytes follow the value",
            Self::TooDeep => "it is nested deeper than 128 levels",
            Self::Reserved => "it is no MessagePack",
        }
    }
}

/// What a value has after its marker.
enum Rest {
    /// So many bytes.
    Bytes(usize),
    /// So many values.
    Values(usize),
}

/// Accepts exactly one value that fills `bytes`.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Flaw> {
    let mut rest = bytes;
    // How many values each open array and map still misses; the first stands for the payload itself.
    let mut missing = [0_usize; MAX_DEPTH + 1];
    let mut depth = 0;
    missing[0] = 1;
    loop {
        let Some(count) = missing.get_mut(depth) else { return Err(Flaw::TooDeep) };
        match count.checked_sub(1) {
            Some(fewer) => *count = fewer,
            None if depth > 0 => {
                depth -= 1;
                continue;
            }
            None => return if rest.is_empty() { Ok(()) } else { Err(Flaw::Trailing) },
        }
        match value(&mut rest)? {
            Rest::Bytes(len) => rest = rest.get(len..).ok_or(Flaw::CutShort)?,
            Rest::Values(0) => {}
            // Each value takes a byte at least.
            Rest::Values(len) if len > rest.len() => return Err(Flaw::CutShort),
            Rest::Values(len) => {
                depth += 1;
                *missing.get_mut(depth).ok_or(Flaw::TooDeep)? = len;
            }
        }
    }
}

/// Reads one marker, and the length that goes with it.
fn value(rest: &mut &[u8]) -> Result<Rest, Flaw> {
    let marker = number(rest, 1)?;
    Ok(match marker {
        // Small numbers, nil, booleans.
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Rest::Bytes(0),
        0x80..=0x8f => Rest::Values(2 * (marker & 0x0f)),
        0x90..=0x9f => Rest::Values(marker & 0x0f),
        0xa0..=0xbf => Rest::Bytes(marker & 0x1f),
        // Binary, then text; their lengths in 1, 2 or 4 bytes.
        0xc4 | 0xd9 => Rest::Bytes(number(rest, 1)?),
        0xc5 | 0xda => Rest::Bytes(number(rest, 2)?),
        0xc6 | 0xdb => Rest::Bytes(number(rest, 4)?),
        // Extensions: their type is one byte more.
        0xc7 => Rest::Bytes(number(rest, 1)? + 1),
        0xc8 => Rest::Bytes(number(rest, 2)? + 1),
        0xc9 => Rest::Bytes(number(rest, 4)?.saturating_add(1)),
        0xd4..=0xd8 => Rest::Bytes(1 + (1 << (marker - 0xd4))),
        // Numbers of 1, 2, 4 and 8 bytes.
        0xcc | 0xd0 => Rest::Bytes(1),
        0xcd | 0xd1 => Rest::Bytes(2),
        0xca | 0xce | 0xd2 => Rest::Bytes(4),
        0xcb | 0xcf | 0xd3 => Rest::Bytes(8),
        0xdc => Rest::Values(number(rest, 2)?),
        0xdd => Rest::Values(number(rest, 4)?),
        0xde => Rest::Values(2 * number(rest, 2)?),
        0xdf => Rest::Values(number(rest, 4)?.saturating_mul(2)),
        _ => return Err(Flaw::Reserved),
    })
}

/// Reads a big-endian number of `len` bytes, at most 4.
fn number(rest: &mut &[u8], len: usize) -> Result<usize, Flaw> {
    let (head, tail) = rest.split_at_checked(len).ok_or(Flaw::CutShort)?;
    *rest = tail;
    Ok(head.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_marker_is_measured() {
        let whole: [&[u8]; 20] = [
            b"\x00",
            b"\x7f",
            b"\xff",
            b"\xc0",
            b"\xc3",
            b"\x80",
            b"\x81\xa1a\x01",
            b"\x92\x01\x02",
            b"\xa3abc",
            b"\xc4\x01x",
            b"\xc7\x02\x01xx",
            b"\xca\0\0\0\0",
            b"\xcf\0\0\0\0\0\0\0\0",
            b"\xd4\x01x",
            b"\xd8\x010123456789abcdef",
            b"\xd9\x03abc",
            b"\xda\x00\x01a",
            b"\xdb\0\0\0\x01a",
            b"\xdc\x00\x02\xc0\xc0",
            b"\xdf\0\0\0\x01\xa1k\x90",
        ];
        for bytes in whole {
            assert_eq!(check(bytes), Ok(()), "{}", bytes.escape_ascii());
            assert_eq!(check(&[bytes, b"\xc0"].concat()), Err(Flaw::Trailing));
            assert_eq!(check(&bytes[..bytes.len() - 1]), Err(Flaw::CutShort));
        }
    }

    #[test]
    fn a_length_beyond_the_payload_is_refused() {
        for bytes in [
            &b"\xdd\xff\xff\xff\xff"[..],
            b"\xdf\xff\xff\xff\xff\x00",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(check(bytes), Err(Flaw::CutShort));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels| [vec![0x91; levels], vec![0xc0]].concat();
        assert_eq!(check(&nested(128)), Ok(()));
        assert_eq!(check(&nested(129)), Err(Flaw::TooDeep));
        assert_eq!(check(&nested(1_000_000)), Err(Flaw::TooDeep));
    }

    #[test]
    fn nothing_and_the_reserved_marker_are_refused() {
        assert_eq!(check(b""), Err(Flaw::CutShort));
        assert_eq!(check(b"\xc1"), Err(Flaw::Reserved));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
