//! Strings and numbers as Python writes them.
use std::io::Write as _;

/// Writes a string in ASCII: `json.dumps` with `ensure_ascii`.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    // By bytes, of which the first one of any other character is not plain either.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    while let Some(at) = rest.as_bytes().iter().position(|byte| !is_plain(byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = from.chars();
        if let Some(c) = chars.next() {
            escape(out, c);
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
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
                number(out, format_args!("\\u{unit:04x}"));
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes what is ASCII already.
pub(super) fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "{number}");
}

/// Writes a finite float as `repr` does. Rust chooses the same digits, and an exponent at the same sizes; Python gives
/// the exponent a sign and two digits.
pub(super) fn float(out: &mut Vec<u8>, float: impl std::fmt::Debug) {
    let start = out.len();
    number(out, format_args!("{float:?}"));
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
