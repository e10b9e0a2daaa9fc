//! The end of each command's help: what else to know, and examples. Every example works when pasted: tests parse
//! them all, and run those that need no broker.
use std::fmt::Write;

/// One example: what it does, and the command line.
pub(crate) type Example = (&'static str, &'static str);

/// The examples.
pub(crate) fn section(examples: &[Example]) -> String {
    examples.iter().fold("Examples:".to_owned(), |mut text, (what, line)| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  # {what}\n  {line}");
        text
    })
}

/// A note, and the examples.
pub(crate) fn section_with_note(note: &str, examples: &[Example]) -> String {
    format!("{note}\n\n{}", section(examples))
}
