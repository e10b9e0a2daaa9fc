//! What lies where: a short top level, adapters that look alike, a README for each crate.

use std::collections::BTreeSet;

use super::{Finding, tree::Tree};

/// What the top level holds; dotfiles beside it.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "rustfmt.toml",
    "xtask",
];

/// What each adapter has, in the same place as the others.
const ADAPTER_FILES: &[&str] =
    &["README.md", "src/error.rs", "src/lib.rs", "src/options.rs", "tests/conformance.rs"];

/// Lines that the page which newcomers read first may have.
const LONGEST_MAP: usize = 150;

/// The architecture is a map, not a manual.
pub(super) fn the_map_is_short(tree: &Tree) -> Vec<Finding> {
    let path = "docs/architecture.md";
    let lines = tree.text(path).map_or(0, |text| text.lines().count());
    let message = match lines {
        0 => "missing or empty: newcomers start there".to_owned(),
        lines if lines > LONGEST_MAP => format!("{lines} lines, {LONGEST_MAP} allowed"),
        _ => return Vec::new(),
    };
    vec![Finding::new(path, 0, message)]
}

/// Nothing else is added at the top without a decision.
pub(super) fn top_level_is_small(tree: &Tree) -> Vec<Finding> {
    let top: BTreeSet<&str> =
        tree.paths().map(|path| path.split_once('/').map_or(path, |(top, _)| top)).collect();
    top.into_iter()
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name))
        .map(|name| Finding::new(name, 0, "does not belong at the top level"))
        .collect()
}

/// Who knows one adapter finds the way in the next.
pub(super) fn adapters_look_alike(tree: &Tree) -> Vec<Finding> {
    tree.crates()
        .into_iter()
        .filter(|folder| folder.starts_with("adapter-"))
        .flat_map(|folder| ADAPTER_FILES.iter().map(move |file| format!("crates/{folder}/{file}")))
        .filter(|path| tree.text(path).is_none())
        .map(|path| Finding::new(&path, 0, "missing: each adapter has this file"))
        .collect()
}

/// Each crate is introduced by a README.
pub(super) fn crates_have_a_readme(tree: &Tree) -> Vec<Finding> {
    tree.crates()
        .into_iter()
        .map(|folder| format!("crates/{folder}/README.md"))
        .filter(|path| tree.text(path).is_none_or(|text| text.trim().is_empty()))
        .map(|path| Finding::new(&path, 0, "missing or empty: each crate has a README"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_folder_at_the_top_is_found() {
        let tree = Tree::of(&[("README.md", ""), (".gitignore", ""), ("scripts/run.sh", "")]);
        let found = top_level_is_small(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "scripts");
    }

    #[test]
    fn a_missing_and_an_overlong_map_are_found() {
        let map = |lines: usize| Tree::of(&[("docs/architecture.md", &*"line\n".repeat(lines))]);
        assert_eq!(the_map_is_short(&Tree::default()).len(), 1);
        assert_eq!(the_map_is_short(&map(151)).len(), 1);
        assert!(the_map_is_short(&map(150)).is_empty());
    }

    #[test]
    fn an_adapter_without_its_suite_is_found() {
        let whole = ADAPTER_FILES.iter().map(|file| format!("crates/adapter-a/{file}"));
        let cut = ADAPTER_FILES.iter().skip(1).map(|file| format!("crates/adapter-b/{file}"));
        let paths: Vec<String> = whole.chain(cut).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
        let found = adapters_look_alike(&Tree::of(&files));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/adapter-b/README.md");
    }

    #[test]
    fn a_crate_with_an_empty_readme_is_found() {
        let tree = Tree::of(&[
            ("crates/a/README.md", "# a"),
            ("crates/b/README.md", "\n"),
            ("crates/c/Cargo.toml", ""),
        ]);
        let found: Vec<String> =
            crates_have_a_readme(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/b/README.md", "crates/c/README.md"]);
    }
}
