//! One library's public API as text: a line per item, sorted, without what says nothing.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

/// The listing of the library that rustdoc described in `json`.
pub(crate) fn of(json: &Path) -> Result<String, String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .build()
        .map_err(|error| format!("{}: {error}", json.display()))?;
    Ok(telling(api.items().map(ToString::to_string)))
}

/// What `new` has and `old` has not, and the other way round.
pub(crate) fn difference(old: &str, new: &str) -> String {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (old.lines().collect(), new.lines().collect());
    let mut difference = String::new();
    for (sign, lines) in [('-', old.difference(&new)), ('+', new.difference(&old))] {
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(difference, "  {sign} {line}");
        }
    }
    difference
}

/// Traits that each type has or lacks by itself. `Send` and `Sync` show where a type lacks them or has them under
/// a condition only; losing one is therefore a line more.
const AUTOMATIC: &[&str] = &[
    "core::marker::Freeze",
    "core::marker::Send",
    "core::marker::StructuralPartialEq",
    "core::marker::Sync",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// Traits whose one method everybody knows: the `impl` line tells it all.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("core::clone::Clone", "clone"),
    ("core::cmp::Ord", "cmp"),
    ("core::cmp::PartialEq", "eq"),
    ("core::cmp::PartialOrd", "partial_cmp"),
    ("core::default::Default", "default"),
    ("core::fmt::Debug", "fmt"),
    ("core::fmt::Display", "fmt"),
    ("core::hash::Hash", "hash"),
];

fn telling(lines: impl Iterator<Item = String>) -> String {
    let mut listing = String::new();
    let mut method = None;
    for line in lines {
        let known = method.take().is_some_and(|method| names_method(&line, method));
        if known || is_matter_of_course(&line) {
            continue;
        }
        method = implemented(&line).and_then(|head| {
            WELL_KNOWN.iter().find(|(name, _)| head.ends_with(name)).map(|(_, method)| *method)
        });
        listing.push_str(&line);
        listing.push('\n');
    }
    listing
}

fn is_matter_of_course(line: &str) -> bool {
    let Some(head) = implemented(line) else { return false };
    let Some(automatic) = AUTOMATIC.iter().find(|name| head.ends_with(**name)) else {
        return false;
    };
    let thread = automatic.ends_with("::Send") || automatic.ends_with("::Sync");
    let plain = head.strip_suffix(automatic) == Some("impl ");
    plain || !thread
}

/// `impl<T> core::clone::Clone` of `impl<T> core::clone::Clone for Pending<T>`.
fn implemented(line: &str) -> Option<&str> {
    line.split_once(" for ").map(|(head, _)| head).filter(|head| head.starts_with("impl"))
}

fn names_method(line: &str, method: &str) -> bool {
    line.starts_with("pub fn ")
        && ['(', '<'].iter().any(|open| line.contains(&format!("::{method}{open}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Vec<String> {
        telling(lines.iter().map(|line| (*line).to_owned())).lines().map(Into::into).collect()
    }

    #[test]
    fn automatic_traits_show_where_they_are_not_a_matter_of_course() {
        let shown = [
            "pub fn sinew_core::Subject::parse(&str) -> sinew_core::Result<Self>",
            "impl !core::marker::Send for sinew_core::Local",
            "impl<T> core::marker::Sync for sinew_core::Pending<T> where T: core::marker::Sync",
        ];
        assert_eq!(told(&shown), shown);
        let hidden = [
            "impl core::marker::Send for sinew_core::Subject",
            "impl core::marker::Freeze for sinew_core::Subject",
            "impl !core::panic::unwind_safe::UnwindSafe for sinew_core::Incoming",
        ];
        assert_eq!(told(&hidden), [""; 0]);
    }

    #[test]
    fn of_a_well_known_trait_only_the_impl_is_listed() {
        let lines = [
            "impl core::clone::Clone for sinew_core::Subject",
            "pub fn sinew_core::Subject::clone(&self) -> sinew_core::Subject",
            "pub fn sinew_core::Subject::clone(&self) -> sinew_core::Subject",
            "impl core::hash::Hash for sinew_core::Subject",
            "pub fn sinew_core::Subject::hash<__H: core::hash::Hasher>(&self, &mut __H)",
            "impl core::default::Default for sinew_core::Buffer",
            "pub fn sinew_core::deflate() -> u8",
        ];
        let shown = [lines[0], lines[2], lines[3], lines[5], lines[6]];
        assert_eq!(told(&lines), shown);
    }

    #[test]
    fn a_difference_names_lines_gone_and_lines_new() {
        assert_eq!(difference("a\nb\n", "b\nc\n"), "  - a\n  + c\n");
    }
}
