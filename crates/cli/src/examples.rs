//! The examples under each command's help. Every one of them works when pasted: tests parse and run them.
use std::fmt::Write;

/// One example: what it does, and the command line.
pub(crate) type Example = (&'static str, &'static str);

/// The end of a help text.
pub(crate) fn section(examples: &[Example]) -> String {
    examples.iter().fold("Examples:".to_owned(), |mut text, (what, line)| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  # {what}\n  {line}");
        text
    })
}
