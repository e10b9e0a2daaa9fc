//! Usage errors: one line, as every error.
use std::{
    env,
    ffi::OsString,
    io::{self, Write},
};

use clap::{CommandFactory, error::ErrorKind};

use crate::{
    args::Cli,
    exit::{Failure, Outcome, Status},
    output::{printable, say},
};

/// Says what is wrong with the arguments on standard error; help and version go to standard output.
pub(crate) fn tell(err: &clap::Error) -> Outcome {
    match err.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            err.print().and_then(|()| io::stdout().flush()).map_err(Failure::output)?;
            return Ok(Status::Done);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say(err.render().to_string().trim_end());
        }
        _ => say(&line(&err.render().to_string(), env::args_os().skip(1))),
    }
    Ok(Status::Usage)
}

/// Makes one line of clap's paragraphs: what is wrong, its tips, and where to read on.
fn line(text: &str, args: impl Iterator<Item = OsString>) -> String {
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(str::trim).filter(|it| !it.is_empty());
    let mut message = paragraphs.next().map(joined).unwrap_or_default();
    for tip in paragraphs.filter_map(|it| it.strip_prefix("tip: ")) {
        message = format!("{message} ({})", joined(tip));
    }
    format!("{}; try: {} --help", printable(&message), command(args))
}

/// The command that `args` name, as far as they name one. Clap does not tell for every kind of error.
fn command(args: impl Iterator<Item = OsString>) -> String {
    let root = Cli::command();
    let (mut found, mut path) = (&root, root.get_name().to_owned());
    for arg in args {
        if let Some(command) = found.find_subcommand(arg) {
            found = command;
            path = format!("{path} {}", command.get_name());
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn told(args: &str) -> String {
        let err = Cli::try_parse_from(args.split(' ')).unwrap_err();
        line(&err.render().to_string(), args.split(' ').skip(1).map(OsString::from))
    }

    #[test]
    fn a_usage_error_is_one_line_and_says_where_to_read_on() {
        for args in [
            "sinew pub",
            "sinew pub a b --cuont 2",
            "sinew demo --for 5",
            "sinew beat wach",
            "sinew sub a --raw --json",
            "sinew completions basj",
        ] {
            let told = told(args);
            assert!(told.starts_with("error: ") && !told.contains('\n'), "{told}");
            assert!(told.contains("; try: sinew") && told.ends_with(" --help"), "{told}");
        }
        assert!(
            told("sinew pub a b --cuont 2").contains("--count"),
            "{}",
            told("sinew pub a b --cuont 2")
        );
        for (args, help) in [
            ("sinew pub", "try: sinew pub --help"),
            ("sinew -v pub a b --count x", "try: sinew pub --help"),
            ("sinew sub a..b", "try: sinew sub --help"),
            ("sinew beat wach", "try: sinew beat --help"),
            ("sinew beat check a --wait 5", "try: sinew beat check --help"),
            ("sinew pbu", "try: sinew --help"),
        ] {
            assert!(told(args).ends_with(help), "{}", told(args));
        }
    }
}
