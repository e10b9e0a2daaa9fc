//! The grammar, and that every example in a help text keeps to it.
use clap::{CommandFactory, Parser};

use super::*;
use crate::commands::{
    backends, beat, completions, consume, demo, dispatch, events, publish, request, subscribe,
};

fn examples() -> Vec<Example> {
    let commands = [
        EXAMPLES,
        demo::EXAMPLES,
        backends::EXAMPLES,
        publish::EXAMPLES,
        subscribe::EXAMPLES,
        consume::EXAMPLES,
        request::EXAMPLES,
        dispatch::ask::EXAMPLES,
        dispatch::serve::EXAMPLES,
        dispatch::agents::EXAMPLES,
        completions::EXAMPLES,
    ];
    let groups = beat::ALL_EXAMPLES.into_iter().chain(events::ALL_EXAMPLES);
    commands.into_iter().chain(groups).flatten().copied().collect()
}

/// Splits a line as a shell does, as far as the examples go.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in line.replace("\\\n", " ").chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn clap_finds_no_fault_with_the_grammar() {
    Cli::command().debug_assert();
}

#[test]
fn every_example_parses() {
    for (_, line) in examples() {
        let words = words(line.trim_start_matches("source <("));
        let from = words.iter().position(|word| word == "sinew").unwrap();
        let ends = |word: &String| ["|", ">"].contains(&word.as_str());
        let words: Vec<_> = words[from..].iter().take_while(|word| !ends(word)).collect();
        let words = words.iter().map(|word| word.trim_end_matches(')'));
        Cli::try_parse_from(words).unwrap_or_else(|err| panic!("{line}: {err}"));
    }
}

#[test]
fn every_command_has_two_examples_in_its_help() {
    let mut open = vec![Cli::command()];
    while let Some(mut command) = open.pop() {
        command.build();
        if !command.is_hide_set() {
            let help = command.render_long_help().to_string();
            let examples = help.lines().filter(|line| line.starts_with("  # ")).count();
            assert!(examples >= 2, "{} has {examples} examples", command.get_name());
        }
        open.extend(command.get_subcommands().cloned());
    }
}

#[test]
fn no_terminal_of_80_columns_breaks_an_example() {
    for (what, line) in examples() {
        let lines = line.lines().map(str::len).chain([what.len() + 2]);
        assert!(lines.into_iter().all(|length| length <= 76), "{what}: {line}");
    }
}

#[test]
fn a_help_text_can_say_what_clap_takes_for_a_line_end() {
    let err = Cli::try_parse_from(["sinew", "pub", "--help"]).unwrap_err();
    let help = err.render().to_string();
    assert!(help.contains("'tick {n}' --count 10") && help.contains("N times; {n} in"), "{help}");
}

#[test]
fn a_negative_number_is_a_payload_and_no_option() {
    for line in ["sinew events emit orders created -5", "sinew pub a -1.5e3 --count 2"] {
        Cli::try_parse_from(words(line)).unwrap();
    }
    Cli::try_parse_from(words("sinew pub a -x")).unwrap_err();
}

#[test]
fn connection_options_may_stand_before_or_after_the_command() {
    for line in [
        "sinew --url memory: pub a b",
        "sinew pub a b --url memory:",
        "sinew pub --url memory: a b",
    ] {
        Cli::try_parse_from(words(line)).unwrap();
    }
}

#[test]
fn halves_and_doubles_are_refused() {
    for line in [
        "sinew pub a b --user ann",
        "sinew pub a b --password-file p",
        "sinew pub a b --tls-cert c",
        "sinew pub a b --token-file t --creds c",
        "sinew pub a b --every 5",
        "sinew pub a..b c",
        "sinew sub a.*b",
        "sinew sub a --raw --json",
        "sinew consume q",
        "sinew consume q --bind a --on-error discard",
        "sinew consume q --bind a --prefetch 0",
        "sinew request a b --timeout 0s",
        "sinew beat check",
        "sinew beat send '' ",
        "sinew beat run billing",
        "sinew beat run billing sleep 5",
        "sinew beat run billing --every 5 -- sleep 5",
        "sinew ask",
        "sinew ask a b --first 0",
        "sinew ask a b --first 1 --all-known",
        "sinew ask a b --quorum 3/2",
        "sinew ask a b --quiet 5",
        "sinew ask a b --ttl 0s",
        "sinew ask a b --expect x.y",
        "sinew serve a",
        "sinew serve a --exec cat --concurrency 0",
        "sinew serve a --exec cat --name x.y",
        "sinew agents",
        "sinew events emit orders",
        "sinew events emit orders created 1 --serializer pickle",
        "sinew events emit orders created 1 --priority 10",
        "sinew events emit orders created 1 --expires 5",
        "sinew events listen orders created",
        "sinew events listen orders created --as billing",
        "sinew events listen orders created --as b.c --kind all",
        "sinew events errors list",
        "sinew events errors redrive q",
        "sinew events errors drop q 1 --all",
        "sinew -v -q demo",
        "sinew demo --act dance",
        "sinew nosuch",
    ] {
        assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
    }
}

#[test]
fn a_bare_number_is_told_to_take_a_unit() {
    let err = Cli::try_parse_from(words("sinew demo --for 5")).unwrap_err().to_string();
    assert!(err.contains("no unit") && err.contains("5s"), "{err}");
}
