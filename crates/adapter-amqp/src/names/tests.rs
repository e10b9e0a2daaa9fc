//! Binding keys are held against a model of the broker's matching, and names against themselves.
use proptest::prelude::*;

use super::*;

/// How RabbitMQ's topic exchange reads a key (`rabbit_exchange_type_topic`): an empty one has no words, and a word may
/// be empty.
fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

fn broker_matches(binding: &str, key: &str) -> bool {
    fn rest_matches(binding: &[&str], key: &[&str]) -> bool {
        match (binding, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => {
                rest_matches(rest, key)
                    || matches!(key, [_, others @ ..] if rest_matches(binding, others))
            }
            (["*", rest @ ..], [_, others @ ..]) => rest_matches(rest, others),
            ([word, rest @ ..], [other, others @ ..]) => {
                word == other && rest_matches(rest, others)
            }
            _ => false,
        }
    }
    rest_matches(&words(binding), &words(key))
}

fn kind_of<T: std::fmt::Debug>(outcome: Result<T, Cause>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

fn subject(text: &str) -> Address {
    Address::Subject(None, Subject::parse(text).unwrap())
}

fn foreign(name: &'static [u8]) -> Address {
    Address::Foreign(None, Bytes::from_static(name))
}

fn binding(pattern: &Pattern, kind: ExchangeKind) -> Result<String, Cause> {
    let keys = bindings(std::slice::from_ref(pattern), kind)?;
    Ok(keys.iter().map(ShortString::as_str).collect())
}

#[test]
fn a_name_goes_to_its_scopes_exchange_and_one_without_to_the_default_one() {
    let scope = Scope::parse("orders.events").unwrap();
    for (address, exchange, key) in [
        (subject("a.b"), "amq.topic", "a.b"),
        (foreign(b""), "amq.topic", ""),
        (foreign(b"a..b"), "amq.topic", "a..b"),
        (Address::Subject(Some(scope.clone()), Subject::parse("a").unwrap()), "orders.events", "a"),
        (Address::Foreign(Some(scope), Bytes::new()), "orders.events", ""),
    ] {
        let route = route(&address, "amq.topic").unwrap();
        assert_eq!((route.exchange.as_str(), route.key.as_str()), (exchange, key));
        assert_eq!(inbound(exchange, key, "amq.topic"), address);
    }
}

#[test]
fn a_name_that_is_no_short_text_is_refused() {
    let long = Address::Foreign(None, Bytes::from("é".repeat(128)));
    for address in [foreign(b"\xff"), long] {
        assert_eq!(kind_of(route(&address, "amq.topic")), ErrorKind::InvalidSubject);
    }
    assert_eq!(kind_of(route(&subject("a"), &"x".repeat(256))), ErrorKind::InvalidName);
}

#[test]
fn the_default_exchange_is_no_scope() {
    let scope = Scope::parse("amq.topic").unwrap();
    assert_eq!(kind_of(exchange(Some(&scope), "amq.topic")), ErrorKind::InvalidName);
    assert_eq!(exchange(Some(&scope), "other").unwrap().as_str(), "amq.topic");
}

#[test]
fn what_goes_straight_to_a_queue_comes_from_there() {
    for name in ["evt-a", "a b", "é*>#/", "amq.gen-x"] {
        let address = Address::Queue(Queue::parse(name).unwrap());
        let route = route(&address, "amq.topic").unwrap();
        assert_eq!((route.exchange.as_str(), route.key.as_str()), ("", name));
        assert_eq!(inbound("", name, "amq.topic"), address);
    }
    assert_eq!(inbound("", "", "amq.topic"), foreign(b""));
}

#[test]
fn what_comes_by_an_exchange_that_is_no_scope_has_none() {
    assert_eq!(inbound("a\nb", "evt-a", "amq.topic"), subject("evt-a"));
}

#[test]
fn an_answer_goes_to_the_queue_and_carries_the_correlation_id_of_the_question() {
    for id in [None, Some("7"), Some("a\0b"), Some("é")] {
        let to = reply_to(id, "amq.rabbitmq.reply-to.g1").unwrap();
        let route = route(&Address::Reply(to), "amq.topic").unwrap();
        assert_eq!((route.exchange.as_str(), route.key.as_str()), ("", "amq.rabbitmq.reply-to.g1"));
        assert_eq!(route.correlation_id.as_ref().map(ShortString::as_str), id);
    }
    assert_eq!(reply_to(Some("7"), ""), None);
    assert_eq!(reply_to(Some("7"), "a\0b"), None);
}

#[test]
fn a_reply_address_of_something_else_is_refused() {
    let long = [b"7\0".as_slice(), &[b'a'; 256]].concat();
    for native in [&b""[..], b"_INBOX.1", b"7\0", b"\0", b"7\0\xff", b"\xff\0a", &long] {
        let address = Address::Reply(ReplyTo::new(native.to_vec()));
        assert_eq!(kind_of(route(&address, "amq.topic")), ErrorKind::InvalidSubject);
    }
}

#[test]
fn a_pattern_is_bound_as_it_is_but_for_the_tail() {
    for (pattern, key) in
        [("a.b", "a.b"), ("a.*", "a.*"), ("#.a.#", "#.a.#"), ("a.>", "a.*.#"), (">", "*.#")]
    {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(binding(&pattern, ExchangeKind::Topic).unwrap(), key);
    }
    let grows = Pattern::parse(&format!("{}.>", "a".repeat(252))).unwrap();
    assert_eq!(kind_of(binding(&grows, ExchangeKind::Topic)), ErrorKind::InvalidPattern);
}

#[test]
fn a_whole_name_is_wanted_unless_the_broker_would_see_a_wildcard_in_it() {
    for name in ["", "a..b", ".", "a b", "a*", "a.>", "##"] {
        let pattern = Pattern::exact(name);
        assert_eq!(binding(&pattern, ExchangeKind::Topic).unwrap(), name);
        assert_eq!(binding(&pattern, ExchangeKind::Direct).unwrap(), name);
    }
    for name in ["*", "#", "a.#", "*.b", "a..#"] {
        let pattern = Pattern::exact(name);
        assert_eq!(kind_of(binding(&pattern, ExchangeKind::Topic)), ErrorKind::Unsupported);
        assert_eq!(binding(&pattern, ExchangeKind::Direct).unwrap(), name);
    }
    let bytes = Pattern::exact(&b"\xff"[..]);
    assert_eq!(kind_of(binding(&bytes, ExchangeKind::Topic)), ErrorKind::InvalidSubject);
    assert_eq!(
        kind_of(binding(&Pattern::prefix("a"), ExchangeKind::Topic)),
        ErrorKind::Unsupported
    );
}

#[test]
fn what_an_exchange_cannot_tell_apart_is_refused() {
    for text in ["a.*", "a.#", "a.>", "*", "#"] {
        let pattern = Pattern::parse(text).unwrap();
        assert_eq!(kind_of(binding(&pattern, ExchangeKind::Direct)), ErrorKind::Unsupported);
    }
    for kind in [ExchangeKind::Fanout, ExchangeKind::Headers] {
        for text in [">", "#", "#.#", "*.#", "#.*", "#.>"] {
            assert!(binding(&Pattern::parse(text).unwrap(), kind).is_ok(), "{text}");
        }
        for text in ["a", "*", "a.#", "*.>", "*.*.#"] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(kind_of(binding(&pattern, kind)), ErrorKind::Unsupported, "{text}");
        }
        assert_eq!(kind_of(binding(&Pattern::exact(""), kind)), ErrorKind::Unsupported);
    }
}

fn pattern_text() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec!["a", "b", "*", "#"]);
    (prop::collection::vec(token, 0..5), any::<bool>()).prop_map(|(mut tokens, tail)| {
        if tail || tokens.is_empty() {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

/// Empty words, words that no subject has, and no words at all are among them.
fn key_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["a", "b", "", "a b", "c"]);
    prop::collection::vec(word, 0..6).prop_map(|words| words.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_binding_gets_the_subjects_that_its_pattern_matches_and_no_foreign_name_less(
        pattern in pattern_text(), key in key_text(),
    ) {
        let pattern = Pattern::parse(&pattern).unwrap();
        let arrives = broker_matches(&binding(&pattern, ExchangeKind::Topic).unwrap(), &key);
        let address = inbound("amq.topic", &key, "amq.topic");
        let wanted = pattern.matches_address(&address);
        prop_assert!(arrives || !wanted);
        prop_assert!(wanted || !arrives || address.subject().is_none());
        if pattern.needs() > sinew_core::Wildcards::None && key.is_empty() {
            prop_assert_eq!(arrives, wanted, "only a lone `#` wants the empty key");
        }
    }

    #[test]
    fn a_whole_name_is_all_that_its_binding_gets(name in key_text(), key in key_text()) {
        let arrives = broker_matches(&binding(&Pattern::exact(name.clone()), ExchangeKind::Topic).unwrap(), &key);
        prop_assert_eq!(arrives, name == key);
    }

    #[test]
    fn any_name_arrives_as_it_was_published(exchange in ".{1,64}", key in ".{0,64}") {
        let scope = Scope::parse(&exchange).ok();
        let address = Address::from_wire(scope, key);
        if let Ok(route) = route(&address, "amq.topic") {
            let seen = inbound(route.exchange.as_str(), route.key.as_str(), "amq.topic");
            prop_assert_eq!(seen, address);
        }
    }

    #[test]
    fn any_reply_address_is_read_back_or_refused(native in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok((id, queue)) = reply_parts(&ReplyTo::new(native.clone())) {
            let again = reply_to(id.as_ref().map(ShortString::as_str), queue.as_str()).unwrap();
            prop_assert_eq!(again.native(), &native);
        }
    }
}
