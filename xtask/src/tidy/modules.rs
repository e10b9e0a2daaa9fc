//! What a Rust file looks like: its doc first, short, a small crate root, the README as the crate's doc.

use super::{Finding, exceptions::Exception, tree::Tree};

/// Lines that a file may have.
const LONGEST: usize = 500;

/// Lines of code that a crate's root may have.
const LONGEST_ROOT: usize = 60;

const README_IS_THE_DOC: &str = "#![doc = include_str!(\"../README.md\")]";

/// Each file begins by saying what it is about.
pub(super) fn start_with_their_doc(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(_, text)| !text.starts_with("//!") && !text.starts_with(README_IS_THE_DOC))
        .map(|(path, _)| Finding::new(path, 1, "begins without `//!`: say what the file is about"))
        .collect()
}

/// No file is too long to be read in one go.
pub(super) fn are_short(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let lines = text.lines().count();
        let excepted = exceptions.iter().any(|(file, _)| *file == path);
        if lines > LONGEST && !excepted {
            findings.push(Finding::new(
                path,
                0,
                format!("{lines} lines, {LONGEST} allowed: split it"),
            ));
        }
        if lines <= LONGEST && excepted {
            findings.push(Finding::new(path, 0, "short enough: remove its exception"));
        }
    }
    let gone = exceptions.iter().filter(|(path, _)| tree.text(path).is_none());
    findings.extend(gone.map(|(path, _)| Finding::new(path, 0, "gone: remove its exception")));
    findings
}

/// A crate's root is its doc, its modules and what it re-exports.
pub(super) fn have_a_small_root(tree: &Tree) -> Vec<Finding> {
    roots(tree)
        .filter_map(|(path, text)| {
            let code = text.lines().filter(|line| is_code(line)).count();
            let message =
                format!("{code} lines of code, {LONGEST_ROOT} allowed: move code to modules");
            (code > LONGEST_ROOT).then(|| Finding::new(path, 0, message))
        })
        .collect()
}

/// What the README shows is compiled and run as the crate's doctests.
pub(super) fn are_documented_by_their_readme(tree: &Tree) -> Vec<Finding> {
    roots(tree)
        .filter(|(_, text)| !text.lines().any(|line| line == README_IS_THE_DOC))
        .map(|(path, _)| Finding::new(path, 1, format!("lacks `{README_IS_THE_DOC}`")))
        .collect()
}

fn roots(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files(|path| path.starts_with("crates/") && path.ends_with("/src/lib.rs"))
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_doc_line_is_found() {
        let tree = Tree::of(&[
            ("crates/core/src/good.rs", "//! Good.\n"),
            ("crates/core/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"),
            ("crates/core/src/bad.rs", "use std::io;\n//! Late.\n"),
            ("xtask/src/empty.rs", ""),
        ]);
        let found: Vec<String> =
            start_with_their_doc(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/core/src/bad.rs", "xtask/src/empty.rs"]);
    }

    #[test]
    fn a_file_of_501_lines_is_found_unless_excepted() {
        let (fits, long) = ("//\n".repeat(500), "//\n".repeat(501));
        let tree = Tree::of(&[("a.rs", &fits), ("b.rs", &long), ("c.txt", &long)]);
        let found = are_short(&tree, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "b.rs");
        assert!(are_short(&tree, &[("b.rs", "a table")]).is_empty());
    }

    #[test]
    fn an_exception_that_nothing_needs_is_found() {
        let tree = Tree::of(&[("a.rs", "//! A.\n")]);
        assert_eq!(are_short(&tree, &[("a.rs", "a table"), ("gone.rs", "a table")]).len(), 2);
    }

    #[test]
    fn a_root_of_61_lines_of_code_is_found_and_comments_do_not_count() {
        let (fits, long) = ("// a\n\nmod a;\n".repeat(60), "mod a;\n".repeat(61));
        let tree = Tree::of(&[("crates/a/src/lib.rs", &fits), ("crates/b/src/lib.rs", &long)]);
        let found = have_a_small_root(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/b/src/lib.rs");
    }

    #[test]
    fn a_root_without_its_readme_is_found() {
        let with = format!("//! A.\n{README_IS_THE_DOC}\n");
        let tree = Tree::of(&[("crates/a/src/lib.rs", &with), ("crates/b/src/lib.rs", "//! B.\n")]);
        let found = are_documented_by_their_readme(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/b/src/lib.rs");
    }
}
