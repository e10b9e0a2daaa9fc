//! What hostile payloads come to: a typed refusal that says nothing of their content.
#![cfg(all(feature = "json", feature = "messagepack"))]

use std::{collections::BTreeMap, error::Error as _, fmt::Debug};

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sinew_codec::{Json, MessagePack};
use sinew_core::{Error, ErrorKind, FromPayload, IntoPayload, Message};

/// One of each shape that serde has, itself among them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Tree {
    Leaf,
    Number(i64),
    Text(String),
    Next(Box<Self>),
    Pair(Box<Self>, Option<Box<Self>>),
    Named { name: String, children: Vec<Self> },
    Table(BTreeMap<String, Self>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        any::<i64>().prop_map(Tree::Number),
        any::<String>().prop_map(Tree::Text),
    ];
    leaf.prop_recursive(6, 64, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(Tree::Next),
            (boxed.clone(), proptest::option::of(boxed)).prop_map(|(a, b)| Tree::Pair(a, b)),
            (any::<String>(), proptest::collection::vec(inner.clone(), 0..4))
                .prop_map(|(name, children)| Tree::Named { name, children }),
            proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(Tree::Table),
        ]
    })
}

fn refusal<T: DeserializeOwned + Debug>(payload: &[u8]) -> [Option<Error>; 2] {
    let payload = Bytes::copy_from_slice(payload);
    [Json::<T>::from_payload(&payload).err(), MessagePack::<T>::from_payload(&payload).err()]
}

#[test]
fn the_content_type_is_set() {
    let json = Message::encode("a", Json(1)).unwrap();
    let msgpack = Message::encode("a", MessagePack(1)).unwrap();
    let content_type =
        |message: &Message| message.properties().unwrap().content_type.clone().unwrap();
    assert_eq!(content_type(&json), "application/json");
    assert_eq!(content_type(&msgpack), "application/msgpack");
}

#[test]
fn messagepack_names_its_fields() {
    let named = Tree::Named { name: "n".to_owned(), children: Vec::new() };
    let payload = MessagePack(&named).into_payload().unwrap();
    assert_eq!(&*payload, b"\x81\xa5Named\x82\xa4name\xa1n\xa8children\x90");
}

#[test]
fn nesting_without_end_is_refused_even_through_enums() {
    let million = 1_000_000;
    let json = "{\"Next\":".repeat(million);
    let msgpack = b"\x81\xa4Next".repeat(million);
    for payload in [json.as_bytes(), &msgpack, &b"[".repeat(million), &b"\x91".repeat(million)] {
        for err in refusal::<Tree>(payload) {
            assert_eq!(err.map(|err| err.kind()), Some(ErrorKind::InvalidPayload));
        }
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // Would be 4 Gi elements of 1 KiB each.
    for payload in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ] {
        let payload = Bytes::copy_from_slice(payload);
        assert!(MessagePack::<Vec<[u64; 32]>>::from_payload(&payload).is_err());
        assert!(MessagePack::<String>::from_payload(&payload).is_err());
    }
}

#[test]
fn what_follows_the_value_is_refused() {
    assert!(Json::<u8>::from_payload(&Bytes::from_static(b"1 2")).is_err());
    assert!(MessagePack::<u8>::from_payload(&Bytes::from_static(b"\x01\x02")).is_err());
}

#[test]
fn an_error_never_quotes_the_payload() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Expected {
        #[expect(dead_code, reason = "only its type matters")]
        id: u8,
    }
    let secret = "hunter2";
    let values =
        [Tree::Text(secret.to_owned()), Tree::Table([(secret.to_owned(), Tree::Leaf)].into())];
    for value in values {
        for payload in
            [Json(&value).into_payload().unwrap(), MessagePack(&value).into_payload().unwrap()]
        {
            for err in refusal::<Expected>(&payload).into_iter().chain(refusal::<u8>(&payload)) {
                let err = err.unwrap();
                assert_eq!(err.kind(), ErrorKind::InvalidPayload);
                let shown = format!("{err} {err:?} {:?}", err.source());
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}

#[test]
fn a_type_without_an_encoding_is_refused() {
    let table: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    assert_eq!(Json(table).into_payload().unwrap_err().kind(), ErrorKind::InvalidPayload);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(tree in tree()) {
        let json = Json(&tree).into_payload().unwrap();
        prop_assert_eq!(&Json::<Tree>::from_payload(&json).unwrap().0, &tree);
        let msgpack = MessagePack(&tree).into_payload().unwrap();
        prop_assert_eq!(&MessagePack::<Tree>::from_payload(&msgpack).unwrap().0, &tree);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let payload = Bytes::from(bytes);
        let _ = (Json::<Tree>::from_payload(&payload), MessagePack::<Tree>::from_payload(&payload));
    }

    #[test]
    fn flipped_bits_never_panic(tree in tree(), flips in proptest::collection::vec((any::<u16>(), 0..8_u8), 1..4)) {
        for payload in [Json(&tree).into_payload().unwrap(), MessagePack(&tree).into_payload().unwrap()] {
            let mut bytes = payload.to_vec();
            for (at, bit) in &flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            let payload = Bytes::from(bytes);
            let _ = (Json::<Tree>::from_payload(&payload), MessagePack::<Tree>::from_payload(&payload));
        }
    }
}
