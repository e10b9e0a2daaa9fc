//! Strings and numbers as Python writes them.
use std::io::Write as _;

/// Writes a string in ASCII: `json.dumps` with `ensure_ascii`.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    // By bytes, of which the first one of any other character is not plain either. All of them are looked at, one as
    // the other: that is faster than to stop at the first that is not plain, where there is none.
    if text.as_bytes().iter().fold(true, |all, byte| all & is_plain(*byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escaped(out, text);
    }
    out.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\')
}

fn escaped(out: &mut Vec<u8>, mut text: &str) {
    while let Some(at) = text.bytes().position(|byte| !is_plain(byte)) {
        let (plain, from) = text.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = from.chars();
        if let Some(c) = chars.next() {
            escape(out, c);
        }
        text = chars.as_str();
    }
    out.extend_from_slice(text.as_bytes());
}

fn escape(out: &mut Vec<u8>, c: char) {
    let short = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to memory does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

pub(super) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Writes a finite float as `repr` does. Rust chooses the same digits, and an exponent at the same sizes; Python gives
/// the exponent a sign and two digits.
pub(super) fn float(out: &mut Vec<u8>, float: impl std::fmt::Debug) {
    let start = out.len();
    let _ = write!(out, "{float:?}");
    let Some(at) = out.iter().skip(start).position(|byte| *byte == b'e') else { return };
    let exponent = out.split_off(start + at + 1);
    let (sign, digits) = match exponent.split_first() {
        Some((b'-', digits)) => (b'-', digits),
        _ => (b'+', &*exponent),
    };
    out.push(sign);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}
