//! What a call knows of its caller, and what of it goes on with the events that it emits.
use std::{fmt, sync::Arc};

use sinew_core::{Error, ErrorKind, Headers, Result, Value};

use crate::call_id::{self, CallId};

/// What stands before a key of the context in the name of its header: `nameko` in `nameko.language`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct HeaderPrefix(Arc<str>);

impl HeaderPrefix {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] when it is empty, longer than 64 bytes, or holds anything but visible ASCII without
    /// `:`.
    pub fn parse(text: &str) -> Result<Self> {
        let is_name = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if is_name && (1..=64).contains(&text.len()) {
            return Ok(Self(text.into()));
        }
        Err(Error::new(ErrorKind::InvalidHeader, "parse header prefix")
            .with_subject(text)
            .with_detail("a prefix is 1 to 64 bytes of visible ASCII without `:`"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key, where `name` is this prefix, a dot, and a key.
    fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.as_str())?.strip_prefix('.')
    }
}

/// `nameko`.
impl Default for HeaderPrefix {
    fn default() -> Self {
        Self("nameko".into())
    }
}

impl fmt::Display for HeaderPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for HeaderPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The context of a call: keys with values, as nameko's worker context has them. Cloning it shares what was received.
///
/// A key is read from the header `{prefix}.{key}`; where there is none, from the header `{key}`, as in nameko. What goes
/// on with the events that the handler emits is a list of what may, where nameko sends on whatever came:
///
/// | header that came | goes on as |
/// |---|---|
/// | `{prefix}.{key}` | itself |
/// | `traceparent`, `tracestate`, `baggage` | `{prefix}.{key}` |
/// | `call_id_stack` | itself and the id of this call, at most 11 in all by default |
/// | a key called `x-…`, `content…`, `compression…` or `sinew-…`, with a prefix or without | nothing: it told of the message that came |
/// | any other | nothing, unless it is [inserted](ContextData::insert) |
#[derive(Clone, Default, PartialEq)]
pub struct ContextData {
    prefix: HeaderPrefix,
    received: Headers,
    inserted: Headers,
}

pub(crate) const CALL_ID_STACK: &str = "call_id_stack";
/// Headers that are context though they have no prefix: those of W3C.
const CARRIED: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// What tells of a message and not of its cause, and so is never sent on.
const NEVER_CARRIED: [&str; 4] = ["x-", "content", "compression", "sinew-"];

impl ContextData {
    /// What `headers` say, whose context keys stand behind `prefix`.
    #[must_use]
    pub fn received(headers: &Headers, prefix: &HeaderPrefix) -> Self {
        Self { prefix: prefix.clone(), received: headers.clone(), inserted: Headers::default() }
    }

    /// The value of `key`; none where it is null.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let value = self
            .inserted
            .value(key)
            .or_else(|| Some(self.prefixed(key)?.1))
            .or_else(|| self.received.value(key))?;
        (*value != Value::Null).then_some(value)
    }

    /// The text of `key`, where it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Keys and values, those that were inserted last.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let received = self.received.iter().filter_map(|(name, value)| {
            let key = match self.prefix.key(name) {
                Some(key) => key,
                None if self.prefixed(name).is_none() => name,
                None => return None,
            };
            self.inserted.value(key).is_none().then_some((key, value))
        });
        received.chain(self.inserted.iter()).filter(|(_, value)| **value != Value::Null)
    }

    /// Sets `key`, here and in the events that are emitted with it; null takes it away.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] as [`Headers::insert`] has it, and for the keys that are never sent on and for
    /// `call_id_stack`, which is the call's own.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        if !may_go_on(key) {
            return Err(Error::new(ErrorKind::InvalidHeader, "set context")
                .with_subject(key)
                .with_detail("this key tells of one message, and is not sent on"));
        }
        self.inserted.insert(key, value).map(drop)
    }

    /// Which language the caller speaks.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.text("language")
    }

    /// Who the user is that caused this.
    #[must_use]
    pub fn user_id(&self) -> Option<&Value> {
        self.value("user_id")
    }

    /// With which program.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.text("user_agent")
    }

    /// What the caller proves itself with. It is a secret: keep it out of logs.
    #[must_use]
    pub fn auth_token(&self) -> Option<&str> {
        self.text("auth_token")
    }

    /// The caller's trace, as W3C writes it.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.text("traceparent")
    }

    /// The calls that led here, the oldest first.
    #[must_use = "iterators are lazy"]
    pub fn call_id_stack(&self) -> impl Iterator<Item = &str> {
        let name = self.prefixed(CALL_ID_STACK).map_or(CALL_ID_STACK, |(name, _)| name);
        call_id::received(&self.received, name)
    }

    /// Writes what goes on: behind `prefix`, and in place of headers of the same name. `own` is the call that emits, and
    /// `tracked` how many of its parents go on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] where there are too many headers.
    pub fn write(
        &self,
        headers: &mut Headers,
        prefix: &HeaderPrefix,
        own: &CallId,
        tracked: usize,
    ) -> Result<()> {
        self.write_keys(headers, prefix)?;
        let stack = call_id::stack(self.call_id_stack(), own, tracked);
        headers.insert(&format!("{prefix}.{CALL_ID_STACK}"), stack).map(drop)
    }

    /// The same without a stack: what emits is no call.
    pub(crate) fn write_keys(&self, headers: &mut Headers, prefix: &HeaderPrefix) -> Result<()> {
        let received = self.received.iter().filter_map(|(name, value)| {
            let key = match self.prefix.key(name) {
                Some(key) if may_go_on(key) => key,
                None if CARRIED.contains(&name) && self.prefixed(name).is_none() => name,
                _ => return None,
            };
            self.inserted.value(key).is_none().then_some((key, value))
        });
        for (key, value) in received.chain(self.inserted.iter()) {
            if *value != Value::Null {
                headers.insert(&format!("{prefix}.{key}"), value.clone())?;
            }
        }
        Ok(())
    }

    /// The header that has `key` behind the prefix.
    fn prefixed(&self, key: &str) -> Option<(&str, &Value)> {
        self.received.iter().find(|(name, _)| self.prefix.key(name) == Some(key))
    }
}

/// Whether events that are emitted may carry `key`.
fn may_go_on(key: &str) -> bool {
    let starts_with =
        |start: &&str| key.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    !key.is_empty() && key != CALL_ID_STACK && !NEVER_CARRIED.iter().any(starts_with)
}

/// Shows keys, and the type of each value: a value may be a secret.
impl fmt::Debug for ContextData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value.type_name()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::HandlerName;

    fn headers(sent: &[(&str, Value)]) -> Headers {
        Headers::from_wire(sent.iter().cloned()).0
    }

    fn data(sent: &[(&str, Value)]) -> ContextData {
        ContextData::received(&headers(sent), &HeaderPrefix::default())
    }

    /// What an emit of this context says, and the id that it gave itself.
    fn sent_on(data: &ContextData) -> (Headers, CallId) {
        let own = CallId::fresh(&HandlerName::new("billing", "on_created").unwrap());
        let mut headers = Headers::default();
        data.write(&mut headers, &HeaderPrefix::default(), &own, 10).unwrap();
        (headers, own)
    }

    fn names(headers: &Headers) -> Vec<&str> {
        headers.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_key_is_read_with_its_prefix_and_without_and_with_it_first() {
        for sent in [
            [("nameko.language", Value::from("en")), ("language", "fr".into())],
            [("language", "fr".into()), ("nameko.language", "en".into())],
        ] {
            let data = data(&sent);
            assert_eq!(data.language(), Some("en"));
            assert_eq!(data.iter().count(), 1);
        }
        assert_eq!(data(&[("language", "fr".into())]).language(), Some("fr"));
        assert_eq!(data(&[("nameko.language", Value::Null)]).language(), None);
    }

    #[test]
    fn what_tells_of_the_message_that_came_is_never_sent_on() {
        let sent = [
            ("x-death", Value::from(1)),
            ("nameko.x-death", 1.into()),
            ("nameko.X-Delivery-Count", 1.into()),
            ("compression", "application/x-gzip".into()),
            ("nameko.compression", "application/x-gzip".into()),
            ("nameko.content_type", "a".into()),
            ("sinew-error-kind", "a".into()),
            ("nameko.sinew-error-kind", "a".into()),
            ("other", "a".into()),
            ("acme.language", "a".into()),
            ("nameko.", "a".into()),
        ];
        let (headers, _) = sent_on(&data(&sent));
        assert_eq!(names(&headers), ["nameko.call_id_stack"]);
        assert_eq!(data(&sent).value("x-death"), Some(&Value::from(1)));
    }

    #[test]
    fn context_goes_on_with_its_types_and_with_what_was_inserted() {
        let mut data = data(&[
            ("nameko.user_id", 7.into()),
            ("nameko.tags", Value::from_iter(["a", "b"])),
            ("nameko.auth_token", "s3cret".into()),
            ("nameko.gone", "a".into()),
            ("traceparent", "00-1-2-01".into()),
        ]);
        data.insert("tenant", "acme").unwrap();
        data.insert("auth_token", "other").unwrap();
        data.insert("gone", Value::Null).unwrap();
        let (sent, own) = sent_on(&data);
        assert_eq!(
            sent,
            headers(&[
                ("nameko.user_id", 7.into()),
                ("nameko.tags", Value::from_iter(["a", "b"])),
                ("nameko.traceparent", "00-1-2-01".into()),
                ("nameko.tenant", "acme".into()),
                ("nameko.auth_token", "other".into()),
                ("nameko.call_id_stack", Value::from_iter([own.as_str()])),
            ])
        );
    }

    #[test]
    fn another_prefix_reads_and_writes_its_own() {
        let acme = HeaderPrefix::parse("acme").unwrap();
        let sent = headers(&[("acme.language", "en".into()), ("nameko.language", "fr".into())]);
        let data = ContextData::received(&sent, &acme);
        assert_eq!(data.language(), Some("en"));
        assert_eq!(data.text("nameko.language"), Some("fr"));
        let own = CallId::fresh(&HandlerName::new("a", "b").unwrap());
        let mut headers = Headers::default();
        data.write(&mut headers, &acme, &own, 10).unwrap();
        assert_eq!(names(&headers), ["acme.language", "acme.call_id_stack"]);
        for text in ["", "a b", "a:b", "é"] {
            assert_eq!(HeaderPrefix::parse(text).unwrap_err().kind(), ErrorKind::InvalidHeader);
        }
    }

    #[test]
    fn a_key_that_tells_of_one_message_is_not_inserted() {
        for key in ["x-death", "compression", "sinew-error-kind", "call_id_stack", "", "a b"] {
            let err = ContextData::default().insert(key, 1).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidHeader, "{key}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let data = data(&[("nameko.auth_token", "s3cret".into()), ("nameko.user_id", 7.into())]);
        assert_eq!(format!("{data:?}"), r#"{"auth_token": "text", "user_id": "integer"}"#);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Value::List)
        })
    }

    proptest! {
        /// A stack that holds anything but text, or is none, kills a Python container.
        #[test]
        fn whatever_came_the_stack_that_goes_on_is_a_list_of_text(
            stack in value(), plain in value(), other in value(),
        ) {
            let data = data(&[
                ("nameko.call_id_stack", stack), ("call_id_stack", plain), ("nameko.other", other),
            ]);
            let (headers, own) = sent_on(&data);
            let Some(Value::List(sent)) = headers.value("nameko.call_id_stack") else {
                return Err(TestCaseError::fail("no list"));
            };
            prop_assert!(sent.iter().all(|id| matches!(id, Value::Text(_))));
            prop_assert!(sent.len() <= 11);
            prop_assert_eq!(sent.last(), Some(&Value::from(own.as_str())));
            prop_assert!(headers.iter().all(|(_, value)| *value != Value::Null));
        }
    }
}
