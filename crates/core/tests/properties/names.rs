//! Codes of names: no two names share one, and what is decoded was encoded.
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use sinew_core::{MAX_NAME_LEN, Queue, Scope, Subject, decode_name, encode_name};

/// Few characters, those of the code's own among them, so that collisions would show.
fn close_texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a.%2E-]{0,6}", any::<String>()]
}

proptest! {
    #[test]
    fn a_code_decodes_to_its_text_and_has_a_small_alphabet(text in close_texts()) {
        let code = encode_name(&text);
        prop_assert!(code.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-%".contains(&it)));
        prop_assert_eq!(decode_name(&code), Some(text));
    }

    #[test]
    fn codes_are_equal_exactly_when_their_texts_are(a in close_texts(), b in close_texts()) {
        prop_assert_eq!(encode_name(&a) == encode_name(&b), a == b);
    }

    #[test]
    fn what_decodes_is_the_code_of_what_it_decodes_to(code in close_texts()) {
        if let Some(text) = decode_name(&code) {
            prop_assert_eq!(encode_name(&text), code);
        }
    }

    /// As adapters without scopes of their own write them: the scope's code is one token.
    #[test]
    fn no_two_pairs_of_scope_and_subject_share_a_name(
        pairs in (("[ab.%-]{1,4}", "[ab.%-]{1,4}"), ("[ab.%-]{1,4}", "[ab.%-]{1,4}")),
    ) {
        let name = |(scope, subject): &(String, String)| {
            let (scope, subject) = (Scope::parse(scope).ok()?, Subject::parse(subject).ok()?);
            Some(format!("{}.{subject}", encode_name(scope.as_str())))
        };
        if let (Some(one), Some(other)) = (name(&pairs.0), name(&pairs.1)) {
            prop_assert_eq!(one == other, pairs.0 == pairs.1);
        }
    }

    #[test]
    fn a_queue_is_any_short_text_without_control_characters(text in any::<String>()) {
        let is_name =
            !text.is_empty() && text.len() <= MAX_NAME_LEN && !text.contains(char::is_control);
        prop_assert_eq!(Queue::parse(&text).is_ok(), is_name);
        prop_assert_eq!(Scope::parse(&text).is_ok(), is_name);
    }
}
