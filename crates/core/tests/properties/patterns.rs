//! Matching against a naive matcher, covering against all subjects of a small world.
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use sinew_core::{Address, Pattern, PatternToken, Subject, Wildcards};

/// Each `#` tried at every length: exponential, and obviously right.
fn is_match(pattern: &[&str], subject: &[&str]) -> bool {
    match pattern {
        [] => subject.is_empty(),
        ["#", rest @ ..] => (0..=subject.len())
            .any(|taken| subject.get(taken..).is_some_and(|left| is_match(rest, left))),
        [">"] => !subject.is_empty(),
        [token, rest @ ..] => matches!(subject, [first, left @ ..]
            if (*token == "*" || token == first) && is_match(rest, left)),
    }
}

fn tokens(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

fn patterns(longest: usize) -> impl Strategy<Value = Pattern> {
    let token = prop::sample::select(vec!["a", "b", "*", "#"]);
    (prop::collection::vec(token, 0..=longest), any::<bool>()).prop_filter_map(
        "an empty pattern",
        |(mut tokens, has_tail)| {
            if has_tail {
                tokens.push(">");
            }
            Pattern::parse(&tokens.join(".")).ok()
        },
    )
}

fn subjects(longest: usize) -> impl Strategy<Value = Subject> {
    let token = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(token, 1..=longest)
        .prop_filter_map("no subject", |tokens| Subject::from_tokens(tokens).ok())
}

/// Every subject of at most `longest` tokens out of `a`, `b`, and `c`, which stands for all that no pattern names.
fn world(longest: usize) -> Vec<Subject> {
    let mut texts = vec![String::new()];
    let mut world = Vec::new();
    for _ in 0..longest {
        texts = texts
            .iter()
            .flat_map(|text| ["a", "b", "c"].map(|token| format!("{text}.{token}")))
            .collect();
        let known = texts.iter().filter_map(|text| Subject::parse(text.get(1..)?).ok());
        world.extend(known);
    }
    world
}

proptest! {
    #[test]
    fn matching_agrees_with_a_naive_matcher(pattern in patterns(7), subject in subjects(8)) {
        let wanted = is_match(&tokens(&pattern.to_string()), &tokens(&subject));
        prop_assert_eq!(pattern.matches(&subject), wanted, "{} {}", pattern, subject);
    }

    #[test]
    fn a_subject_with_a_part_replaced_by_a_wildcard_still_matches(
        subject in subjects(6),
        wildcards in prop::collection::vec(prop::sample::select(vec!["=", "*", "#"]), 6),
    ) {
        let tokens = subject.tokens().zip(wildcards);
        let text: Vec<_> = tokens.map(|(own, it)| if it == "=" { own } else { it }).collect();
        prop_assert!(Pattern::parse(&text.join("."))?.matches(&subject));
    }

    #[test]
    fn covering_agrees_with_every_subject_of_a_small_world(
        wide in patterns(3),
        narrow in patterns(3),
    ) {
        // A lone `#` wants names that are no subject, too.
        let foreign = Address::from_wire(None, "");
        let names = world(6).into_iter().map(|subject| Address::Subject(None, subject));
        let mut wanted = names.chain([foreign]).filter(|name| narrow.matches_address(name));
        let covers = wanted.all(|name| wide.matches_address(&name));
        let is_exact = wide.needs() < Wildcards::Full;
        if is_exact {
            prop_assert_eq!(wide.covers(&narrow), covers, "{} covers {}", wide, narrow);
        } else {
            prop_assert!(covers || !wide.covers(&narrow), "{} covers {}", wide, narrow);
        }
    }

    #[test]
    fn a_prefix_covers_exactly_what_starts_with_it(prefix in "[ab.]{0,4}", narrow in patterns(3)) {
        let wide = Pattern::prefix(prefix);
        let foreign = Address::from_wire(None, "");
        let names = world(4).into_iter().map(|subject| Address::Subject(None, subject));
        let mut wanted = names.chain([foreign]).filter(|name| narrow.matches_address(name));
        let covers = wanted.all(|name| wide.matches_address(&name));
        prop_assert_eq!(wide.covers(&narrow), covers, "{} covers {}", wide, narrow);
    }

    #[test]
    fn prefixes_and_whole_names_cover_no_more_than_they_want(
        wide in prop_oneof![
            "[ab.]{0,3}".prop_map(Pattern::prefix),
            "[ab.]{0,3}".prop_map(Pattern::exact),
            patterns(2),
        ],
        narrow in prop_oneof![
            "[ab.]{0,4}".prop_map(Pattern::prefix),
            "[ab.]{0,4}".prop_map(Pattern::exact),
            patterns(3),
        ],
        name in prop_oneof!["[abc.]{0,7}", subjects(6).prop_map(|it| it.to_string())],
    ) {
        let address = Address::from_wire(None, name);
        if wide.covers(&narrow) && narrow.matches_address(&address) {
            prop_assert!(wide.matches_address(&address), "{wide} covers {narrow} at {address}");
        }
    }

    #[test]
    fn a_parsed_pattern_is_shown_as_it_was_written(text in "[ab.*>#]{0,8}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), &*text);
            let is_plain = pattern.tokens().all(|it| matches!(it, PatternToken::Literal(_)));
            prop_assert_eq!(pattern.as_subject().is_some(), is_plain);
        }
    }
}
