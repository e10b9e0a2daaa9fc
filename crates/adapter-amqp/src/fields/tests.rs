//! Tables are held against the client's own encoding, which is what travels.
use lapin::types::{generation::gen_field_table, parsing::parse_field_table};
use proptest::prelude::*;

use super::*;

fn encode(table: &FieldTable) -> Vec<u8> {
    gen_field_table(table)(Vec::new().into()).unwrap().into_inner().0
}

fn travel(table: &FieldTable) -> FieldTable {
    let bytes = encode(table);
    let (rest, seen) = parse_field_table(&*bytes).unwrap();
    assert_eq!(rest, b"");
    seen
}

fn headers(value: Value) -> Headers {
    let mut headers = Headers::default();
    headers.insert("x", value).unwrap();
    headers
}

fn sent(value: Value) -> Result<Option<Value>, ErrorKind> {
    let table = outbound(&headers(value), || MAX_BYTES).map_err(|cause| cause.kind())?.unwrap();
    let (mut seen, left_out) = inbound(&travel(&table));
    assert_eq!(left_out, 0);
    Ok(seen.remove("x"))
}

fn received(value: AMQPValue) -> Option<Value> {
    let mut table = FieldTable::default();
    table.insert("x".into(), value);
    let (mut seen, left_out) = inbound(&table);
    assert_eq!(left_out, usize::from(seen.is_empty()));
    seen.remove("x")
}

#[test]
fn no_headers_are_no_table() {
    assert!(outbound(&Headers::default(), || 0).unwrap().is_none());
}

#[test]
fn every_type_goes_as_one_that_rabbitmq_knows() {
    for (value, bytes) in [
        (Value::Null, &b"V"[..]),
        (Value::Bool(true), b"t\x01"),
        (Value::Integer(1), b"l\0\0\0\0\0\0\0\x01"),
        (Value::Integer(i64::MIN), b"l\x80\0\0\0\0\0\0\0"),
        (Value::Float(-0.0), b"d\x80\0\0\0\0\0\0\0"),
        (Value::from("a"), b"S\0\0\0\x01a"),
        (Value::Bytes(Bytes::from_static(b"\xff")), b"x\0\0\0\x01\xff"),
        (Value::Time(UNIX_EPOCH + Duration::from_millis(1999)), b"T\0\0\0\0\0\0\0\x01"),
        (Value::from_iter(["a"]), b"A\0\0\0\x06S\0\0\0\x01a"),
        (Value::Map(vec![("k".to_owned(), Value::Null)]), b"F\0\0\0\x03\x01kV"),
    ] {
        let table = outbound(&headers(value), || MAX_BYTES).unwrap().unwrap();
        let entry = [b"\x01x", bytes].concat();
        let length = u32::try_from(entry.len()).unwrap().to_be_bytes();
        assert_eq!(encode(&table), [&length, &*entry].concat());
    }
}

#[test]
fn every_type_of_a_peer_is_taken_without_loss() {
    let decimal = |scale, value: i32| {
        AMQPValue::DecimalValue(DecimalValue { scale, value: value.cast_unsigned() })
    };
    for (sent, value) in [
        (AMQPValue::ShortShortInt(-1), Value::Integer(-1)),
        (AMQPValue::ShortShortUInt(u8::MAX), Value::Integer(255)),
        (AMQPValue::ShortInt(-1), Value::Integer(-1)),
        (AMQPValue::ShortUInt(u16::MAX), Value::Integer(65_535)),
        (AMQPValue::LongInt(-1), Value::Integer(-1)),
        (AMQPValue::LongUInt(u32::MAX), Value::Integer(4_294_967_295)),
        (AMQPValue::Float(0.5), Value::Float(0.5)),
        (AMQPValue::LongString(vec![0xff].into()), Value::Bytes(Bytes::from_static(b"\xff"))),
        (AMQPValue::Timestamp(u64::MAX), Value::from("18446744073709551615")),
        (AMQPValue::Timestamp(253_402_300_800), Value::from("253402300800")),
        (decimal(2, 1234), Value::from("12.34")),
        (decimal(2, -5), Value::from("-0.05")),
        (decimal(0, 7), Value::from("7")),
        (decimal(3, 0), Value::from("0.000")),
        (decimal(0, i32::MIN), Value::from("-2147483648")),
    ] {
        assert_eq!(received(sent), Some(value));
    }
    let finest = received(decimal(255, 1)).unwrap();
    assert_eq!(finest, Value::Text(format!("0.{}1", "0".repeat(254))));
}

#[test]
fn what_a_table_cannot_hold_is_refused() {
    let twice = Value::Map(vec![("a".to_owned(), Value::Null), ("a".to_owned(), Value::Null)]);
    let before = Value::Time(UNIX_EPOCH - Duration::from_secs(1));
    let after = Value::Time(UNIX_EPOCH + Duration::from_secs(253_402_300_800));
    let long = Value::Map(vec![("a".repeat(256), Value::Null)]);
    for value in [twice, before, after, long] {
        assert_eq!(sent(value), Err(ErrorKind::InvalidHeader));
    }
    let mut named = Headers::default();
    named.insert(&"a".repeat(256), true).unwrap();
    assert_eq!(outbound(&named, || MAX_BYTES).unwrap_err().kind(), ErrorKind::InvalidHeader);
}

#[test]
fn headers_take_no_more_than_their_share_of_a_frame() {
    // Of the table and of the text each a length; a name and its length; a type.
    let fits = MAX_BYTES - 4 - 2 - 1 - 4;
    let table = outbound(&headers(Value::from("a".repeat(fits))), || MAX_BYTES).unwrap().unwrap();
    assert_eq!(encode(&table).len(), MAX_BYTES);
    assert_eq!(sent(Value::from("a".repeat(fits + 1))), Err(ErrorKind::TooLarge));
    let many = (0..MAX_BYTES).map(|_| Value::Null).collect();
    assert_eq!(sent(Value::List(many)), Err(ErrorKind::TooLarge));
}

#[test]
fn a_header_that_nests_too_deep_or_has_no_name_is_left_out_and_counted() {
    let nested = |depth: usize| {
        (1..depth).fold(AMQPValue::Void, |inner, level| match level % 2 {
            0 => AMQPValue::FieldArray(vec![inner].into()),
            _ => AMQPValue::FieldTable(FieldTable::from(BTreeMap::from([("k".into(), inner)]))),
        })
    };
    assert!(received(nested(Headers::MAX_DEPTH)).is_some());
    for depth in [Headers::MAX_DEPTH + 1, 1000] {
        assert_eq!(received(nested(depth)), None);
    }
    let mut table = FieldTable::default();
    for name in ["", "a b", "a:b", "é", "fine"] {
        table.insert(name.into(), AMQPValue::Void);
    }
    let (seen, left_out) = inbound(&table);
    assert_eq!((seen.len(), left_out), (1, 4));
}

#[test]
fn an_argument_nests_no_deeper_than_a_header() {
    let nested = |depth| (1..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    assert!(table(&[("x".into(), nested(Headers::MAX_DEPTH))]).is_ok());
    let refused = table(&[("x".into(), nested(Headers::MAX_DEPTH + 1))]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidHeader);
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
        (0..253_402_300_800_u64).prop_map(|at| Value::Time(UNIX_EPOCH + Duration::from_secs(at))),
    ];
    scalar.prop_recursive(6, 64, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map(".{0,20}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

fn wire_value() -> impl Strategy<Value = AMQPValue> {
    let scalar = prop_oneof![
        Just(AMQPValue::Void),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        prop::collection::vec(any::<u8>(), 0..20)
            .prop_map(|bytes| AMQPValue::LongString(bytes.into())),
    ];
    scalar.prop_recursive(40, 64, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|list| AMQPValue::FieldArray(list.into())),
            prop::collection::btree_map(".{0,9}".prop_map(ShortString::from), inner, 0..3)
                .prop_map(|map| AMQPValue::FieldTable(map.into())),
        ]
    })
}

proptest! {
    #[test]
    fn headers_arrive_as_they_were_in_the_order_of_their_names(
        sent in prop::collection::btree_map("[!-9;-~]{1,40}", value(), 0..6),
    ) {
        let (headers, left_out) = Headers::from_wire(sent);
        prop_assert_eq!(left_out, 0);
        let seen = match outbound(&headers, || MAX_BYTES).unwrap() {
            Some(table) => inbound(&travel(&table)),
            None => (Headers::default(), 0),
        };
        prop_assert_eq!(seen, (headers, 0));
    }

    #[test]
    fn the_size_of_a_value_is_what_it_takes(value in value()) {
        let mut room = MAX_BYTES;
        prop_assume!(write(&value, Headers::MAX_DEPTH, &mut room).is_ok());
        prop_assert_eq!(size(&value), MAX_BYTES - room);
    }

    #[test]
    fn what_is_kept_of_a_peers_headers_can_be_published_again(
        sent in prop::collection::btree_map("[ -~]{0,9}".prop_map(ShortString::from), wire_value(), 0..6),
    ) {
        let count = sent.len();
        let (headers, left_out) = inbound(&sent.into());
        prop_assert_eq!(headers.len() + left_out, count);
        if let Some(table) = outbound(&headers, || MAX_BYTES).unwrap() {
            prop_assert_eq!(inbound(&travel(&table)), (headers, 0));
        }
    }
}

#[test]
fn what_is_kept_of_headers_leaves_room_for_those_of_an_error_queue() {
    // A number of a byte goes out as one of eight.
    let numbers = AMQPValue::FieldArray(vec![AMQPValue::ShortShortInt(1); 20 << 10].into());
    let text = |len| AMQPValue::LongString("a".repeat(len).into());
    let many = [("a", text(50 << 10)), ("b", numbers), ("c", text(60 << 10)), ("d", text(7 << 10))];
    let sent: BTreeMap<_, _> =
        many.into_iter().map(|(name, value)| (ShortString::from(name), value)).collect();
    let (headers, left_out) = inbound(&sent.into());
    let kept: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!((kept, left_out), (vec!["a".to_owned(), "c".to_owned()], 2));
    assert!(outbound(&headers, || KEPT).is_ok());
}

#[test]
fn a_number_that_erlang_lacks_is_refused() {
    for number in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let refused = table(&[("x".into(), Value::from_iter([number]))]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidHeader, "{number}");
    }
}

#[test]
fn the_longest_properties_and_the_headers_of_a_delayed_copy_fit_beside_the_headers() {
    // Of the frame, of its content header, and of its flags.
    let overhead = 8 + 12 + 2;
    let (texts, expiration, mode, priority, timestamp) = (8 * 256, 11, 1, 1, 8);
    let header = |name: &str| 1 + name.len() + TAG + LENGTH + 255;
    let copy = header("x-sinew-exchange") + header("x-sinew-routing-key");
    assert!(overhead + texts + expiration + mode + priority + timestamp + copy <= BESIDE);
    assert_eq!(room(8192), 8192 - BESIDE);
    assert_eq!((room(0), room(u32::MAX)), (0, MAX_BYTES));
}

#[test]
fn headers_take_no_more_than_the_frames_of_the_connection_leave_them() {
    let sent = |bytes: usize, frame_max| {
        // Of the table and of the text each a length; a name and its length; a type.
        let text = "a".repeat(bytes - 4 - 2 - 1 - 4);
        outbound(&headers(Value::from(text)), || room(frame_max)).map_err(|cause| cause.kind())
    };
    for frame_max in [SMALLEST, 8192] {
        assert!(sent(room(frame_max), frame_max).is_ok());
        assert_eq!(sent(room(frame_max) + 1, frame_max), Err(ErrorKind::TooLarge));
    }
}
