//! Payloads, as anything and as something.
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinew_codec::{Json, MessagePack};
use sinew_core::{FromPayload, IntoPayload};

/// A type with some of each: recursion, enums, maps, options.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Tree {
    Leaf(Option<i64>),
    Text(String),
    Branch(Vec<Self>),
    Named { fields: BTreeMap<String, Self> },
}

/// What reads as JSON is written as JSON that reads the same.
pub(crate) fn json(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    if let Ok(Json(value)) = Json::<serde_json::Value>::from_payload(&payload) {
        let written = Json(&value).into_payload().ok();
        assert!(written.is_some(), "{value} cannot be written");
        let read = written.and_then(|it| Json::<serde_json::Value>::from_payload(&it).ok());
        assert!(read.is_some(), "{value} cannot be read again");
    }
    if let Ok(Json(tree)) = Json::<Tree>::from_payload(&payload) {
        let again = Json(&tree).into_payload().and_then(|it| Json::<Tree>::from_payload(&it));
        assert_eq!(again.ok().map(|Json(tree)| tree), Some(tree));
    }
}

/// The same for MessagePack.
pub(crate) fn messagepack(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    drop(MessagePack::<serde_json::Value>::from_payload(&payload));
    if let Ok(MessagePack(tree)) = MessagePack::<Tree>::from_payload(&payload) {
        let again =
            MessagePack(&tree).into_payload().and_then(|it| MessagePack::<Tree>::from_payload(&it));
        assert_eq!(again.ok().map(|MessagePack(tree)| tree), Some(tree));
    }
}
