//! Usage errors: one line, as every error.
use clap::error::ErrorKind;

use crate::{exit::Status, output::say};

/// Says what is wrong with the arguments on standard error; help and version go to standard output.
pub(crate) fn tell(err: &clap::Error) -> Status {
    match err.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Who closed the pipe has seen enough of the help.
            let _ = err.print();
            Status::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say(err.render().to_string().trim_end());
            Status::Usage
        }
        _ => {
            say(&line(&err.render().to_string()));
            Status::Usage
        }
    }
}

/// Makes one line of clap's paragraphs: what is wrong, its tips, and where to read on.
fn line(text: &str) -> String {
    let mut message = String::new();
    let mut help = "sinew --help".to_owned();
    let mut first = true;
    for paragraph in text.split("\n\n").map(str::trim).filter(|it| !it.is_empty()) {
        let words = || paragraph.split_whitespace();
        if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            let command: Vec<_> = usage.split_whitespace().take_while(is_name).collect();
            help = format!("{} --help", command.join(" "));
        } else if std::mem::take(&mut first) {
            message = words().collect::<Vec<_>>().join(" ");
        } else if let Some(tip) = paragraph.strip_prefix("tip: ") {
            let tip: Vec<_> = tip.split_whitespace().collect();
            message = format!("{message} ({})", tip.join(" "));
        }
    }
    format!("{message}; try: {help}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn told(args: &str) -> String {
        let err = Cli::try_parse_from(args.split(' ')).unwrap_err();
        line(&err.render().to_string())
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
        assert!(told("sinew pub").ends_with("try: sinew pub --help"), "{}", told("sinew pub"));
    }
}
