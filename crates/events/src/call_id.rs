//! Call ids: which call of which handler led here.
use std::{fmt, sync::Arc};

use sinew_core::{Headers, Value};

use crate::{id::Id, names::HandlerName};

/// The id of one run of a handler: `{service}.{method}.{uuid}`, unlike any other's.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CallId(Arc<str>);

impl CallId {
    /// One that nobody has had.
    #[must_use]
    pub fn fresh(handler: &HandlerName) -> Self {
        Self(format!("{handler}.{}", Id::fresh()).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The ids in a header, oldest first, whatever its shape: nameko sends a list of text, text carriers deliver a list of
/// one as text, and what is neither, or could not be sent on, holds none.
pub(crate) fn received<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = &'a str> {
    headers.texts(name).filter(|id| is_id(id))
}

/// The stack that `own` sends: its `parents`, no more than `tracked` of them, the oldest dropped first; then itself.
pub(crate) fn stack<'a>(
    parents: impl Iterator<Item = &'a str>,
    own: &CallId,
    tracked: usize,
) -> Value {
    let parents: Vec<_> = parents.collect();
    let kept = parents.len().saturating_sub(tracked);
    parents.into_iter().skip(kept).chain([own.as_str()]).collect()
}

/// Whether a peer's id is kept: every carriage takes it, and it is no longer than one of ours can be.
fn is_id(id: &str) -> bool {
    (1..=MAX_LEN).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// The name of a handler, a dot, a UUID, and what others append to it: `.backoff`.
const MAX_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn own() -> CallId {
        CallId::fresh(&HandlerName::new("billing", "on_created").unwrap())
    }

    fn ids(value: impl Into<Value>) -> Vec<String> {
        let mut headers = Headers::default();
        headers.insert("stack", value).unwrap();
        received(&headers, "stack").map(str::to_owned).collect()
    }

    #[test]
    fn a_call_id_is_the_handler_and_a_random_uuid() {
        let id = own();
        let uuid = id.as_str().strip_prefix("billing.on_created.").unwrap();
        let parts: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        let (version, variant) = (uuid.as_bytes()[14], uuid.as_bytes()[19]);
        assert!(version == b'4' && b"89ab".contains(&variant), "{uuid}");
        let many: HashSet<_> = (0..1000).map(|_| Id::fresh().to_string()).collect();
        assert_eq!(many.len(), 1000);
    }

    #[test]
    fn a_stack_holds_so_many_parents_and_itself_and_the_oldest_goes_first() {
        let own = own();
        let parents = ["a", "b", "c"];
        let sent = |tracked| stack(parents.into_iter(), &own, tracked);
        assert_eq!(sent(10), Value::from_iter(["a", "b", "c", own.as_str()]));
        assert_eq!(sent(2), Value::from_iter(["b", "c", own.as_str()]));
        assert_eq!(sent(0), Value::from_iter([own.as_str()]));
    }

    #[test]
    fn a_stack_of_any_shape_is_read_as_the_ids_in_it() {
        assert_eq!(ids(Value::from_iter(["a", "b"])), ["a", "b"]);
        assert_eq!(ids("a"), ["a"]);
        assert_eq!(ids(Value::List(vec!["a".into(), 7.into(), Value::Null])), ["a"]);
        assert_eq!(ids(Value::from_iter(["", "a\r\nb", "a\0", &"x".repeat(513)])), [""; 0]);
        for value in [Value::Null, Value::Map(Vec::new()), 7.into(), Value::List(Vec::new())] {
            assert_eq!(ids(value), [""; 0]);
        }
    }
}
