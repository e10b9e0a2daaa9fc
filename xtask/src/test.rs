//! `cargo xtask test`: every test of the workspace on real brokers, every example, and one closing line.

use std::{path::PathBuf, time::Duration};

use crate::{
    brokers::{self, nats, rabbitmq},
    chromium, examples,
    failure::{Failure, Result},
    lanes,
    program::Program,
    python::{self, NAMEKO, NAMEKO_OLD, NAMEKO_RC, ORIGINALS, Originals},
    tally::Tally,
    workspace::Workspace,
};

/// No test says nothing for longer, no part of the tests takes longer, nor does a cold build between two of cargo's lines on
/// stdout.
pub(crate) const SILENCE: Duration = Duration::from_secs(1200);

/// Set for tests that are to do many more rounds.
const LONG: &str = "SINEW_LONG";

/// How much the tests do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Length {
    /// What a change must pass.
    Usual,
    /// Many times the rounds, as before a release.
    Long,
}

/// What the tests find in their environment.
pub(crate) type Environment = Vec<(&'static str, PathBuf)>;

/// Runs everything; with `extra` arguments for `cargo test`, only what they pick.
pub(crate) fn run(length: Length, extra: &[&str]) -> Result {
    let workspace = Workspace::load()?;
    let environment = environment(&workspace)?;
    let mut tally = Tally::default();

    let cargo = |args: &[String]| {
        let mut tests = Program::cargo().args(["test", "--no-fail-fast"]).args(args);
        for (name, value) in &environment {
            tests = tests.env(name, value);
        }
        if length == Length::Long {
            tests = tests.env(LONG, "1");
        }
        tests.current_dir(&workspace.root)
    };
    if extra.is_empty() {
        // Built at once, so that what runs after it only looks whether it is.
        Program::cargo()
            .args(["test", "--workspace", "--no-run"])
            .current_dir(&workspace.root)
            .run()?;
        let limit = if length == Length::Long { SILENCE * 6 } else { SILENCE };
        let ran = lanes::run(&lanes::parts(&workspace), limit, &mut tally, |part| {
            cargo(&[&["--workspace".to_owned()], part].concat())
        });
        if let Err(failure) = ran {
            eprintln!("{failure}");
            tally.failed += 1;
        }
        examples::run(&workspace, &mut tally)?;
    } else {
        let mut args: Vec<_> = extra.iter().map(|&arg| arg.to_owned()).collect();
        if !names_packages(extra) {
            args.insert(0, "--workspace".to_owned());
        }
        let status = cargo(&args).follow(SILENCE, |line| tally.add_result_line(line))?;
        if !status.success() && tally.failed == 0 {
            eprintln!("cargo test: {status}, yet no test failed: something did not build, or died");
            tally.failed += 1;
        }
    }
    println!("{tally}");
    if tally.failed > 0 {
        return Err(Failure::told());
    }
    Ok(())
}

/// Provides what the tests need, with one line for each that cannot be had on this machine.
pub(crate) fn environment(workspace: &Workspace) -> Result<Environment> {
    let python = |name, originals: &Originals| {
        (name, originals.variable, python::provide(workspace, originals))
    };
    let sources: [(&str, &'static str, Result<PathBuf>); 6] = [
        ("nats-server", nats::VARIABLE, nats::provide(workspace)),
        ("rabbitmq-server", rabbitmq::VARIABLE, rabbitmq::provide(workspace)),
        python("python originals", &ORIGINALS),
        python("nameko", &NAMEKO),
        python("nameko on kombu 5.2", &NAMEKO_OLD),
        python("nameko 3.0.0rc11", &NAMEKO_RC),
    ];
    let mut environment = Environment::new();
    let mut missing = Vec::new();
    for (what, variable, found) in sources {
        match found {
            Ok(path) => {
                eprintln!("{what}: {}", path.display());
                environment.push((variable, path));
            }
            Err(advice) => missing.push(format!("{what}: missing: {advice}")),
        }
    }
    if !missing.is_empty() && brokers::required() {
        return Err(Failure::new(missing.join("\n")));
    }
    // No broker: where there is none, the pages are asked by HTTP alone.
    match chromium::provide() {
        Ok(path) => {
            eprintln!("chromium: {}", path.display());
            environment.push((chromium::VARIABLE, path));
        }
        Err(advice) => missing.push(format!("chromium: missing: {advice}")),
    }
    for line in missing {
        eprintln!("{line}; the tests that need it are skipped");
    }
    Ok(environment)
}

fn names_packages(extra: &[&str]) -> bool {
    extra
        .iter()
        .take_while(|arg| **arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package") || *arg == "--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_workspace_is_meant_unless_packages_are_named() {
        assert!(!names_packages(&[]));
        assert!(!names_packages(&["--doc", "settles"]));
        assert!(!names_packages(&["--", "--package"]));
        assert!(names_packages(&["-p", "sinew-beat"]));
        assert!(names_packages(&["-psinew-beat"]));
        assert!(names_packages(&["--package=sinew-beat", "heart"]));
    }
}
