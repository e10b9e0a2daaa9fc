//! The workspace's chores: `cargo xtask <command>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a chore prints is its product"
)]

mod api;
mod apt;
mod backends;
mod bench;
mod brokers;
mod check;
mod chromium;
mod ci;
mod deny;
mod examples;
mod failure;
mod features;
mod json;
mod lanes;
mod man;
mod pack;
mod program;
mod python;
mod stages;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::{env, process::ExitCode};

use failure::{Failure, Result};
use test::Length;

const USAGE: &str = "\
usage: cargo xtask <command>

  check                     what to run before a commit: format, tidy, clippy, unit tests, docs
  test [--long] [-- ARGS]   every test on real brokers, which it finds or installs; ARGS go to cargo test;
                            --long does many times the rounds: twenty kills of a broker under load
  ci                        what a change must pass: check, test, each crate alone, licences, API, packing
  tidy [--bless]            the house rules; --bless writes generated blocks anew
  api [--bless]             the public API against docs/api; --bless writes the listings anew
  brokers up|down|status    brokers on loopback, to try things out with
  bench [NAME]              the benchmarks, or one of them
  codegen [--check]         generated code (there is none yet)
  man                       the manual pages of the sinew command, into target/man";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("xtask: {message}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn dispatch(words: &[&str]) -> Result {
    match words {
        ["check"] => check::run(),
        ["test"] => test::run(Length::Usual, &[]),
        ["test", "--", extra @ ..] => test::run(Length::Usual, extra),
        ["test", "--long"] => test::run(Length::Long, &[]),
        ["test", "--long", "--", extra @ ..] => test::run(Length::Long, extra),
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["tidy", "--bless"] => backends::bless().and_then(|()| tidy::run()),
        ["api"] => api::run(false),
        ["api", "--bless"] => api::run(true),
        ["brokers", words @ ..] => brokers::run(words),
        ["bench"] => bench::run(None),
        ["bench", name] => bench::run(Some(name)),
        ["codegen"] | ["codegen", "--check"] => {
            println!("nothing is generated yet");
            Ok(())
        }
        ["man"] => man::run(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => Err(Failure::usage(USAGE)),
        words => Err(Failure::usage(format!("no such command: {}\n\n{USAGE}", words.join(" ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_shows_the_usage_and_ends_with_64() {
        for words in [
            &["frobnicate"][..],
            &["check", "twice"],
            &["test", "--short"],
            &[],
            &["brokers", "sideways"],
        ] {
            assert_eq!(dispatch(words).unwrap_err().status(), 64, "{words:?}");
        }
        assert!(dispatch(&["frobnicate"]).unwrap_err().to_string().contains("usage: cargo xtask"));
    }

    #[test]
    fn codegen_has_nothing_to_do_yet() {
        dispatch(&["codegen"]).unwrap();
        dispatch(&["codegen", "--check"]).unwrap();
    }
}
