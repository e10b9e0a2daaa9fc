//! Names: how subjects, scopes and patterns look on the wire, and back.
use std::sync::Arc;

use async_nats::Subject as Wire;
use bytes::Bytes;
use sinew_core::{Address, ErrorKind, Pattern, PatternToken, ReplyTo, Scope, Subject, encode_name};

use crate::error::Cause;

/// The first token of every scoped subject; the second one is the scope's code. One fixed token lets a stream or a
/// permission cover every scope: `@.>`.
const SCOPED: &str = "@";

/// First tokens that the server keeps for itself, and that a subscription to everything would see.
const SERVERS_OWN: [&str; 2] = ["$JS", "$SYS"];

/// The name space of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// With its final dot.
    inbox: Arc<str>,
}

impl Names {
    pub(crate) fn new(inbox_prefix: &str) -> Self {
        Self { inbox: format!("{inbox_prefix}.").into() }
    }

    /// The wire's name of `address`.
    pub(crate) fn outbound(&self, address: &Address) -> Result<Wire, Cause> {
        match address {
            Address::Subject(None, subject) if self.is_reserved(subject) => Err(Cause::plain(
                ErrorKind::InvalidSubject,
                "its first token is kept: `@` for scopes, `$JS`, `$SYS` and the inbox prefix for NATS",
            )),
            Address::Subject(None, subject) => Ok(Wire::from(subject.as_str())),
            Address::Subject(Some(scope), subject) => Ok(Wire::from(scoped(scope, subject))),
            Address::Reply(reply_to) => reply(reply_to),
            _ => {
                Err(Cause::plain(ErrorKind::InvalidSubject, "NATS publishes under subjects alone"))
            }
        }
    }

    fn is_reserved(&self, subject: &str) -> bool {
        // Most names are settled by their first byte, and they come by the million.
        match subject.as_bytes().first() {
            Some(b'@' | b'$') => {
                let first = subject.split('.').next().unwrap_or_default();
                first == SCOPED || SERVERS_OWN.contains(&first)
            }
            first => first == self.inbox.as_bytes().first() && subject.starts_with(&*self.inbox),
        }
    }

    /// What an intake wants, on the wire.
    pub(crate) fn filters(
        &self,
        scope: Option<&Scope>,
        patterns: &[Pattern],
    ) -> Result<Filters, Cause> {
        let kept: Vec<&Pattern> = patterns
            .iter()
            .enumerate()
            .filter(|(index, pattern)| {
                !patterns.iter().enumerate().any(|(other_index, other)| {
                    other_index != *index
                        && other.covers(pattern)
                        && (other_index < *index || !pattern.covers(other))
                })
            })
            .map(|(_, pattern)| pattern)
            .collect();
        let prefix = scope.map_or_else(String::new, |scope| format!("{}.", scope_prefix(scope)));
        let mut filters = Vec::with_capacity(kept.len());
        for pattern in kept {
            for filter in translate(pattern)? {
                filters.push(format!("{prefix}{filter}"));
            }
        }
        filters.dedup();
        // Only such a filter reaches names that belong to others.
        let own = scope.is_none() && filters.iter().any(|it| it.starts_with(['*', '>']));
        Ok(Filters {
            subjects: filters,
            scope: scope.cloned(),
            prefix: prefix.len(),
            hidden: own.then(|| self.clone()),
            grouped: false,
        })
    }
}

/// What an intake wants, on the wire, and how to read what it gets.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    subjects: Vec<String>,
    scope: Option<Scope>,
    /// How many bytes of each name are the scope's.
    prefix: usize,
    /// Set where names must be looked at before they are shown.
    hidden: Option<Names>,
    /// Whether a name that several filters want arrives once all the same.
    grouped: bool,
}

impl Filters {
    /// The subjects to subscribe to.
    pub(crate) fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// Whether what arrived on the filter `index` is to be shown: it belongs to no other space, and no earlier
    /// filter gets a copy of it.
    pub(crate) fn shows(&self, name: &str, index: usize) -> bool {
        !self.hidden.as_ref().is_some_and(|names| names.is_reserved(name))
            && (self.grouped
                || !self.subjects.iter().take(index).any(|earlier| matches(earlier, name)))
    }

    /// The subscription is a member of a group, of which the server picks one for each message.
    pub(crate) const fn set_grouped(&mut self) {
        self.grouped = true;
    }

    /// The subjects in an order of their own, to compare.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut sorted = self.subjects.clone();
        sorted.sort_unstable();
        sorted
    }

    /// Whether any filter wants `name`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.shows(name, 0) && self.subjects.iter().any(|filter| matches(filter, name))
    }

    /// Whether every message that arrives is to be shown, so that [`Filters::shows`] need not be asked.
    pub(crate) fn shows_all(&self) -> bool {
        self.hidden.is_none() && (self.grouped || self.subjects.len() == 1)
    }

    /// Makes sense of a name off the wire.
    pub(crate) fn address(&self, name: &str) -> Address {
        let name = name.get(self.prefix..).unwrap_or_default();
        match Subject::parse(name) {
            Ok(subject) => Address::Subject(self.scope.clone(), subject),
            Err(_) => Address::Foreign(self.scope.clone(), Bytes::copy_from_slice(name.as_bytes())),
        }
    }

    /// The fewest subjects that reach all that is wanted without overlapping: a JetStream consumer takes no
    /// overlapping filters. They may reach more; then [`Filters::wants`] tells.
    pub(crate) fn disjoint(&self) -> Vec<String> {
        let mut merged: Vec<String> = Vec::with_capacity(self.subjects.len());
        for filter in &self.subjects {
            let mut filter = filter.clone();
            while let Some(index) = merged.iter().position(|other| overlaps(other, &filter)) {
                filter = widen(&merged.swap_remove(index), &filter);
            }
            merged.push(filter);
        }
        merged.sort_unstable();
        merged
    }
}

/// The reply address as the wire has it.
pub(crate) fn reply(reply_to: &ReplyTo) -> Result<Wire, Cause> {
    let refused =
        || Cause::plain(ErrorKind::InvalidSubject, "the reply address is not one of NATS");
    let wire = Wire::from_utf8(reply_to.native().clone()).map_err(|_| refused())?;
    if wire.is_valid() { Ok(wire) } else { Err(refused()) }
}

fn scope_prefix(scope: &Scope) -> String {
    format!("{SCOPED}.{}", encode_name(scope.as_str()))
}

fn scoped(scope: &Scope, subject: &str) -> String {
    format!("{}.{subject}", scope_prefix(scope))
}

/// NATS has no `#`: at the end it is the name without it, or with one token or more in its place.
fn translate(pattern: &Pattern) -> Result<Vec<String>, Cause> {
    let mut tokens: Vec<&str> = Vec::new();
    let mut any = false;
    for token in pattern.tokens() {
        if any {
            break;
        }
        match token {
            PatternToken::Literal(text) => tokens.push(text),
            PatternToken::One => tokens.push("*"),
            PatternToken::Tail => tokens.push(">"),
            PatternToken::Any => any = true,
            _ => return Err(unknown_pattern()),
        }
    }
    Ok(match (tokens.join("."), any) {
        (text, true) if text.is_empty() => vec![">".to_owned()],
        (text, true) => vec![format!("{text}.>"), text],
        (text, false) if text.is_empty() => return Err(unknown_pattern()),
        (text, false) => vec![text],
    })
}

const fn unknown_pattern() -> Cause {
    Cause::plain(ErrorKind::Unsupported, "NATS knows subjects with `*`, and `>` or `#` at the end")
}

/// Whether the wire's `filter` reaches the name, which need not be a subject.
fn matches(filter: &str, name: &str) -> bool {
    let mut tokens = name.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (literal, Some(token)) if literal == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether some name is reached by both.
fn overlaps(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// A filter that reaches what either of two overlapping ones does.
fn widen(a: &str, b: &str) -> String {
    let mut wide = Vec::new();
    for (a, b) in a.split('.').zip(b.split('.')) {
        if a == ">" || b == ">" {
            wide.push(">");
            break;
        }
        wide.push(if a == b { a } else { "*" });
    }
    wide.join(".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new("_INBOX")
    }

    fn filters(patterns: &[&str]) -> Filters {
        let patterns: Vec<_> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        names().filters(None, &patterns).unwrap()
    }

    fn subject(text: &str) -> Address {
        Address::Subject(None, Subject::parse(text).unwrap())
    }

    #[test]
    fn a_hash_becomes_two_filters() {
        assert_eq!(filters(&["a.#"]).subjects(), ["a.>", "a"]);
        assert_eq!(filters(&["#"]).subjects(), [">"]);
    }

    #[test]
    fn a_covered_pattern_is_dropped() {
        assert_eq!(filters(&["a.b", "a.*", "a.*", "a.>"]).subjects(), ["a.>"]);
        assert_eq!(filters(&["a.b", "a.b"]).subjects(), ["a.b"]);
    }

    #[test]
    fn names_of_the_server_and_of_scopes_are_kept() {
        for text in ["@.x", "@", "$JS.API.x", "$SYS.x", "_INBOX.x"] {
            let err = names().outbound(&subject(text)).unwrap_err().during("nats publish");
            assert_eq!(sinew_core::Error::from(err).kind(), ErrorKind::InvalidSubject, "{text}");
            assert!(!filters(&[">"]).shows(text, 0), "{text}");
        }
        for text in ["@x", "$KV.a", "_INBOXES"] {
            assert_eq!(names().outbound(&subject(text)).unwrap().as_str(), text);
            assert!(filters(&[">"]).shows(text, 0), "{text}");
        }
    }

    #[test]
    fn a_scope_is_a_prefix_that_comes_off_again() {
        let scope = Scope::parse("a.b c").unwrap();
        let to = Address::Subject(Some(scope.clone()), Subject::parse("x.y").unwrap());
        let wire = names().outbound(&to).unwrap();
        assert_eq!(wire.as_str(), "@.a%2Eb%20c.x.y");
        let filters = names().filters(Some(&scope), &[Pattern::parse("x.#").unwrap()]).unwrap();
        assert_eq!(filters.subjects(), ["@.a%2Eb%20c.x.>", "@.a%2Eb%20c.x"]);
        assert_eq!(filters.address(&wire), to);
    }

    #[test]
    fn a_name_that_is_no_subject_is_foreign() {
        let all = filters(&[">"]);
        for name in ["a#b", "#", &"x".repeat(300)] {
            assert_eq!(
                all.address(name),
                Address::Foreign(None, Bytes::copy_from_slice(name.as_bytes()))
            );
        }
    }

    #[test]
    fn a_reply_address_that_is_none_of_nats_is_refused() {
        for native in [&b""[..], b"a b", b"a..b", b"\xff", b"a\r\nPUB x 0\r\n"] {
            assert!(reply(&ReplyTo::new(Bytes::from_static(native))).is_err());
        }
    }

    fn pattern_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#", ">"]), 1..4)
            .prop_map(|tokens| tokens.join("."))
    }

    fn subject_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5)
            .prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn what_arrives_is_what_the_patterns_want_and_once(
            texts in prop::collection::vec(pattern_text(), 1..4),
            name in subject_text(),
        ) {
            let patterns: Vec<_> = texts
                .iter()
                .filter_map(|text| Pattern::parse(text).ok())
                .filter(|pattern| pattern.needs() <= sinew_core::Wildcards::Tokens)
                .collect();
            let filters = names().filters(None, &patterns).unwrap();
            let wanted = {
                let subject = Subject::parse(&name).unwrap();
                patterns.iter().any(|pattern| pattern.matches(&subject))
            };
            let shown = filters
                .subjects()
                .iter()
                .enumerate()
                .filter(|(index, filter)| matches(filter, &name) && filters.shows(&name, *index))
                .count();
            prop_assert_eq!(shown, usize::from(wanted));
            prop_assert_eq!(filters.wants(&name), wanted);

            let disjoint = filters.disjoint();
            let reached = disjoint.iter().filter(|filter| matches(filter, &name)).count();
            prop_assert!(reached <= 1);
            prop_assert!(reached == 1 || !wanted);
        }

        #[test]
        fn scope_and_subject_never_meet_another_pair(
            a in "[a-c.%@ ]{1,4}", b in "[a-c.%@ ]{1,4}", x in subject_text(), y in subject_text(),
        ) {
            let wire = |scope: &str, name: &str| {
                let to = Address::Subject(Scope::parse(scope).ok(), Subject::parse(name).unwrap());
                names().outbound(&to).unwrap()
            };
            prop_assert_eq!(wire(&a, &x) == wire(&b, &y), (a, x) == (b, y));
        }
    }
}
