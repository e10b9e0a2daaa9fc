//! What passes the guard is read with the client's own parser.
use lapin::types::{AMQPValue, FieldTable, parsing::parse_field_table};
use proptest::prelude::*;

use super::*;
use crate::fields;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 0, 1][..], &size, payload, b"\xce"].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A content frame with a content type, an encoding and these headers.
fn content(table: &[u8]) -> Vec<u8> {
    let head = b"\0\x3c\0\0\0\0\0\0\0\0\0\x05\xf0\0\x04text\x05utf-8";
    frame(2, &[head, table, b"\x02"].concat())
}

/// So many lists and tables in one another, an empty list the innermost.
fn nested(depth: usize) -> Vec<u8> {
    let (mut heads, mut length) = (Vec::new(), 0);
    for level in 0..depth {
        let (holds, name) = if level % 2 == 0 { (b'A', &b""[..]) } else { (b'F', &b"\0"[..]) };
        let size = u32::try_from(length + name.len()).unwrap().to_be_bytes();
        let head = [&[holds][..], &size, name].concat();
        length += head.len();
        heads.push(head);
    }
    heads.into_iter().rev().flatten().collect()
}

fn table(depth: usize) -> Vec<u8> {
    sized(&[b"\x04deep", &*nested(depth), b"\x05ratio", b"d\0\0\0\0\0\0\0\0"].concat())
}

fn passed(bytes: &[u8], cut: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut guard = Guard::default();
    for part in bytes.chunks_mut(cut.max(1)) {
        guard.pass(part);
    }
    bytes
}

/// The headers in what [`content`] made.
fn headers(frame: &[u8]) -> FieldTable {
    let (rest, table) = parse_field_table(frame.get(7 + 14 + 5 + 6..).unwrap()).unwrap();
    assert_eq!(rest, b"\x02\xce");
    table
}

#[test]
fn what_nests_as_deep_as_a_header_may_passes_as_it_is() {
    let first = content(&table(Headers::MAX_DEPTH));
    let sent = [&*first, &frame(3, b"FAFAF"), &frame(8, b"")].concat();
    for cut in [1, 3, 1000] {
        assert_eq!(passed(&sent, cut), sent);
    }
    let (seen, left_out) = fields::inbound(&headers(&first));
    assert_eq!((seen.len(), left_out), (2, 0));
}

#[test]
fn what_nests_deeper_is_left_out_and_nothing_else_is() {
    for depth in [Headers::MAX_DEPTH + 1, 1000, 20_000] {
        let sent = content(&table(depth));
        let seen = passed(&sent, 4096);
        assert_eq!(seen, passed(&sent, 1));
        assert_eq!(std::iter::zip(&seen, &sent).filter(|(seen, sent)| seen != sent).count(), 1);
        let (headers, left_out) = fields::inbound(&headers(&seen));
        assert_eq!((headers.len(), left_out), (1, 1));
        assert!(headers.value("ratio").is_some());
    }
}

#[test]
fn each_of_several_is_flattened_and_the_next_frame_is_looked_at_anew() {
    let twice = [&b"\x01a"[..], &nested(40), b"\x01b", &nested(40)].concat();
    let sent = [content(&sized(&twice)), content(&table(50))].concat();
    let seen = passed(&sent, 7);
    assert_eq!(std::iter::zip(&seen, &sent).filter(|(seen, sent)| seen != sent).count(), 3);
}

#[test]
fn what_a_broker_says_it_is_nests_no_deeper_either() {
    let start =
        |table: &[u8]| frame(1, &[b"\0\x0a\0\x0a\0\x09", table, b"\0\0\0\x05PLAIN"].concat());
    let sent = start(&table(20_000));
    let seen = passed(&sent, 100);
    let (_, table) = parse_field_table(seen.get(7 + 6..).unwrap()).unwrap();
    assert_eq!(fields::inbound(&table).1, 1);
    // No other method's bytes are a table.
    let other = frame(1, &[b"\0\x3c\0\x3c", &*self::table(40)].concat());
    assert_eq!(passed(&other, 100), other);
}

#[test]
fn every_type_is_passed_over_by_its_size() {
    let mut all = FieldTable::default();
    for (index, value) in [
        AMQPValue::Boolean(true),
        AMQPValue::ShortShortInt(65),
        AMQPValue::ShortShortUInt(65),
        AMQPValue::ShortInt(0x4141),
        AMQPValue::ShortUInt(0x4141),
        AMQPValue::LongInt(0x4141_4141),
        AMQPValue::LongUInt(0x4141_4141),
        AMQPValue::LongLongInt(0x4141_4141_4141_4141),
        AMQPValue::Float(12.078_431),
        AMQPValue::Double(2_261_634.509_803_921_4),
        AMQPValue::DecimalValue(lapin::types::DecimalValue { scale: 65, value: 0x4141_4141 }),
        AMQPValue::Timestamp(0x4141_4141_4141_4141),
        AMQPValue::LongString("AAAA".into()),
        AMQPValue::ByteArray(b"AAAA"[..].into()),
        AMQPValue::Void,
    ]
    .into_iter()
    .enumerate()
    {
        all.insert(format!("k{index:02}").into(), value);
    }
    let bytes = lapin::types::generation::gen_field_table(&all)(Vec::new().into()).unwrap();
    let mut bytes = bytes.into_inner().0.split_off(4);
    bytes.extend([&b"\x04last"[..], &nested(40)].concat());
    let seen = headers(&passed(&content(&sized(&bytes)), 5));
    assert_eq!(seen.inner().len(), 16);
    assert_eq!(fields::inbound(&seen).1, 1);
}

proptest! {
    #[test]
    fn whatever_comes_only_types_change_however_it_is_cut(
        frames in prop::collection::vec(
            (0_u8..9, prop::collection::vec(prop::sample::select(b"\0\x01\x02\x0a\x3cAAFFVSx\xf0".to_vec()), 0..200)),
            0..4,
        ),
        rest in prop::collection::vec(any::<u8>(), 0..40),
        cut in 1_usize..50,
    ) {
        let mut sent: Vec<u8> = frames.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
        sent.extend(rest);
        let seen = passed(&sent, cut);
        prop_assert_eq!(&seen, &passed(&sent, usize::MAX));
        prop_assert_eq!(&seen, &passed(&seen, cut), "what has passed once passes as it is");
        for (seen, sent) in std::iter::zip(seen, sent) {
            prop_assert!(seen == sent || (seen == b'x' && matches!(sent, b'A' | b'F')));
        }
    }
}
