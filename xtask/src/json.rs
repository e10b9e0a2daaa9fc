//! JSON objects by key: what is not there, or is something else, is nothing.

use serde_json::Value;

pub(crate) fn text<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get(key)?.as_str()
}

pub(crate) fn number(object: &Value, key: &str) -> Option<u64> {
    object.get(key)?.as_u64()
}

/// The elements of an array.
pub(crate) fn list<'v>(object: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The texts in an array.
pub(crate) fn texts<'v>(object: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    list(object, key).filter_map(Value::as_str)
}
