//! Names are imported and re-exported one by one, so that a reader finds where each comes from.

use syn::{ItemUse, UseTree, spanned::Spanned, visit::Visit};

use super::{Finding, tokens, tree::Tree};

pub(super) fn import_by_name(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, parsed) in tree.syntax(|path| !is_test_file(path)) {
        match parsed {
            Err(finding) => findings.push(finding),
            Ok(file) => {
                let mut globs = Globs::default();
                globs.visit_file(file);
                let text = tree.text(path).unwrap_or_default();
                let in_tests = test_lines(text);
                let lines = globs.lines.into_iter().filter(|line| !in_tests.contains(line));
                findings.extend(
                    lines.map(|line| {
                        Finding::new(path, line, "imports with `*`: name what is used")
                    }),
                );
            }
        }
    }
    findings
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Lines that belong to `#[cfg(test)]` items, where `use super::*` is the custom.
fn test_lines(text: &str) -> Vec<usize> {
    tokens::tokens(text).into_iter().filter(|token| token.test).map(|token| token.line).collect()
}

#[derive(Default)]
struct Globs {
    lines: Vec<usize>,
}

impl Visit<'_> for Globs {
    fn visit_item_use(&mut self, item: &ItemUse) {
        if has_glob(&item.tree) {
            self.lines.push(item.span().start().line);
        }
    }
}

fn has_glob(tree: &UseTree) -> bool {
    match tree {
        UseTree::Glob(_) => true,
        UseTree::Path(path) => has_glob(&path.tree),
        UseTree::Group(group) => group.items.iter().any(has_glob),
        UseTree::Name(_) | UseTree::Rename(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        import_by_name(&Tree::of(&[(path, text)])).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_glob_is_found_at_the_top_in_a_group_and_in_a_function() {
        let text = "//! A.\nuse std::io::*;\npub use crate::{a, b::*};\nfn f() {\nuse E::*;\n}\n";
        assert_eq!(lines("crates/a/src/a.rs", text), [2, 3, 5]);
    }

    #[test]
    fn names_and_multiplication_are_no_globs() {
        let text = "//! A.\nuse std::io::{self, Read as _};\nfn f() -> u8 { 2 * 3 }\n";
        assert!(lines("crates/a/src/a.rs", text).is_empty());
    }

    #[test]
    fn tests_may_use_what_they_test() {
        let text = "//! A.\n#[cfg(test)]\nmod tests {\nuse super::*;\n}\n";
        assert!(lines("crates/a/src/a.rs", text).is_empty());
        assert!(lines("crates/a/src/a/tests.rs", "//! A.\nuse super::*;\n").is_empty());
        assert!(lines("crates/a/tests/all.rs", "//! A.\nuse sinew_core::*;\n").is_empty());
    }
}
