//! Subjects hold what the grammar says, and every name off the wire has an address.
use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use sinew_core::{Address, MAX_NAME_LEN, Pattern, Scope, Subject};

/// The grammar, said another way.
fn is_subject(text: &str) -> bool {
    let is_forbidden =
        |c: char| c.is_whitespace() || c.is_control() || ['*', '>', '#'].contains(&c);
    text.len() <= MAX_NAME_LEN
        && !text.contains(is_forbidden)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.is_empty()
}

/// Near misses as often as subjects.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c.]{0,12}",
        "[ab.*>#\u{0}\u{85} é]{0,12}",
        any::<String>(),
        (250_usize..260).prop_map(|len| "x".repeat(len)),
        Just("é".repeat(128)),
    ]
}

proptest! {
    #[test]
    fn a_text_parses_exactly_when_the_grammar_says_so(text in texts()) {
        prop_assert_eq!(Subject::parse(&text).is_ok(), is_subject(&text), "{:?}", text);
    }

    #[test]
    fn tokens_join_to_the_subject_that_they_came_from(text in "[a-c.]{0,12}") {
        if let Ok(subject) = Subject::parse(&text) {
            prop_assert_eq!(subject.as_str(), &text);
            prop_assert!(subject.tokens().all(|token| !token.is_empty()));
            prop_assert_eq!(Subject::from_tokens(subject.tokens()).ok(), Some(subject));
        }
    }

    #[test]
    fn a_subject_is_the_pattern_that_wants_it_alone(a in "[ab.]{1,5}", b in "[ab.]{1,5}") {
        if let (Ok(a), Ok(b)) = (Subject::parse(&a), Subject::parse(&b)) {
            prop_assert_eq!(Pattern::from(&a).matches(&b), a == b);
            prop_assert_eq!(Pattern::from(&a).as_subject(), Some(a));
        }
    }

    #[test]
    fn every_name_off_the_wire_arrives_as_it_was(
        name in prop_oneof![any::<Vec<u8>>(), texts().prop_map(String::into_bytes)],
        is_scoped: bool,
    ) {
        let scope = is_scoped.then(|| Scope::parse("svc.events")).transpose()?;
        let address = Address::from_wire(scope.clone(), name.clone());
        prop_assert_eq!(address.scope(), scope.as_ref());
        let kept = match &address {
            Address::Subject(_, subject) => subject.as_bytes(),
            Address::Foreign(_, name) => name,
            other => panic!("a reply came off the wire: {other}"),
        };
        prop_assert_eq!(kept, &name);
        prop_assert!(Pattern::exact(name.clone()).matches_address(&address));
        prop_assert!(Pattern::prefix(Bytes::new()).matches_address(&address));
        prop_assert!(!address.to_string().contains(char::is_control));
    }
}
