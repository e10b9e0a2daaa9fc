//! The end of each command's help: what else to know, and examples. Every example works when pasted: tests parse
//! them all, and run those that need no broker.
use std::fmt::Write;

/// One example: what it does, and the command line.
pub(crate) type Example = (&'static str, &'static str);

/// How a help text says `{n}`, which clap alone takes for the end of a line: a style that changes nothing stands
/// inside, and is left out where there are no styles.
pub(crate) const NUMBER: &str = "{\u{1b}[0mn}";

/// The examples.
pub(crate) fn section(examples: &[Example]) -> String {
    examples.iter().fold("Examples:".to_owned(), |mut text, (what, line)| {
        let line = line.replace("{n}", NUMBER);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  # {what}\n  {line}");
        text
    })
}

/// A note, and the examples.
pub(crate) fn section_with_note(note: &str, examples: &[Example]) -> String {
    format!("{note}\n\n{}", section(examples))
}
