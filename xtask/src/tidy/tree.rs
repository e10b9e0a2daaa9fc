//! The files that the checks read: what git knows, and what it would know after `git add`.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use super::Finding;
use crate::{
    failure::{Context, Result},
    program::Program,
};

/// Text files by path relative to the workspace, `/` between the parts.
#[derive(Default)]
pub(super) struct Tree {
    files: BTreeMap<String, Source>,
    /// Every path, binary files included.
    paths: BTreeSet<String>,
}

struct Source {
    text: String,
    parsed: OnceCell<std::result::Result<syn::File, syn::Error>>,
}

impl Tree {
    pub(super) fn of_workspace(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        for path in listed(root)? {
            // Deleted, and git not told yet; or a folder of its own.
            let Ok(bytes) = fs::read(root.join(&path)) else { continue };
            if let Ok(text) = String::from_utf8(bytes) {
                tree.insert(&path, text);
            }
            tree.paths.insert(path);
        }
        Ok(tree)
    }

    /// A tree of a few files, for tests.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, (*text).to_owned());
        }
        tree
    }

    fn insert(&mut self, path: &str, text: String) {
        self.paths.insert(path.to_owned());
        self.files.insert(path.to_owned(), Source { text, parsed: OnceCell::new() });
    }

    /// Path and text of each file that `wanted` picks.
    pub(super) fn files(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| wanted(path))
            .map(|(path, source)| (path.as_str(), source.text.as_str()))
    }

    /// Path and text of each Rust file.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files(|path| path.ends_with(".rs"))
    }

    /// Path and syntax of each Rust file that `wanted` picks; one that does not parse gives a finding instead.
    pub(super) fn syntax(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&str, std::result::Result<&syn::File, Finding>)> {
        let rust = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
        rust.filter(move |(path, _)| wanted(path)).map(|(path, source)| {
            let parsed = source.parsed.get_or_init(|| syn::parse_file(&source.text));
            let parsed = parsed.as_ref().map_err(|error| {
                Finding::new(path, error.span().start().line, format!("does not parse: {error}"))
            });
            (path.as_str(), parsed)
        })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|source| source.text.as_str())
    }

    /// True for a file and for a folder that holds one.
    pub(super) fn holds(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.paths.contains(path)
            || self.paths.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The folders under `crates`.
    pub(super) fn crates(&self) -> BTreeSet<&str> {
        self.paths()
            .filter_map(|path| path.strip_prefix("crates/")?.split_once('/'))
            .map(|(folder, _)| folder)
            .collect()
    }
}

fn listed(root: &Path) -> Result<Vec<String>> {
    let git = Program::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .capture(Duration::from_secs(60));
    if let Ok(listed) = git {
        return Ok(listed.split_terminator('\0').map(ToOwned::to_owned).collect());
    }
    // An unpacked archive has no git; it has no stray files either.
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result {
    for entry in fs::read_dir(dir).context(dir.display())? {
        let entry = entry.context(dir.display())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().context(&path)?.is_file() {
            found.push(path);
        } else if name != "target" && name != ".git" {
            walk(&entry.path(), &format!("{path}/"), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_what_they_hold() {
        let tree = Tree::of(&[("docs/a.md", ""), ("docs-old", ""), ("crates/core/src/lib.rs", "")]);
        assert!(tree.holds("docs") && tree.holds("docs/a.md") && tree.holds("crates/core"));
        assert!(!tree.holds("doc") && !tree.holds("docs/a") && !tree.holds("docs/b.md"));
        assert_eq!(tree.crates().into_iter().collect::<Vec<_>>(), ["core"]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        let tree = Tree::of(&[("a.rs", "//! A.\nfn (")]);
        let (_, parsed) = tree.syntax(|_| true).next().unwrap();
        assert_eq!(parsed.err().unwrap().line, 2);
    }

    #[test]
    fn an_archive_without_git_is_walked() {
        let mut found = Vec::new();
        walk(&crate::workspace::root().join("xtask"), "", &mut found).unwrap();
        assert!(found.contains(&"src/main.rs".to_owned()), "{found:?}");
    }
}
