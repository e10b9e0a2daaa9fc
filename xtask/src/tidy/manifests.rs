//! What a `Cargo.toml` says: a description, the workspace's lints, dependencies that can be published.

use super::{Finding, tree::Tree};

/// What `core` depends on. Everything that depends on `core` pays for each of them.
const CORE_NEEDS: &[&str] = &["bytes", "futures-core"];

/// Each package describes itself and takes the workspace's lints; each crate's name follows from its folder.
pub(super) fn describe_and_lint(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in packages(tree) {
        let mut require = |met: bool, message: String| {
            if !met {
                findings.push(Finding::new(path, 0, message));
            }
        };
        let package = |key: &str| value(text, "package", key);
        let described = package("description").is_some_and(|text| text.len() > 2);
        require(described, "has no description".to_owned());
        let linted = value(text, "lints", "workspace") == Some("true");
        require(linted, "lacks `[lints] workspace = true`".to_owned());
        if let Some(folder) = folder(path) {
            let name = format!("\"sinew-{folder}\"");
            require(package("name") == Some(&name), format!("is to be named {name}"));
            let readme = package("readme") == Some("\"README.md\"");
            require(readme, "lacks `readme = \"README.md\"`".to_owned());
        }
    }
    findings
}

/// `core` is itself and two small crates.
pub(super) fn keep_core_small(tree: &Tree) -> Vec<Finding> {
    let path = "crates/core/Cargo.toml";
    let Some(text) = tree.text(path) else {
        return vec![Finding::new(path, 0, "missing")];
    };
    entries(text)
        .filter(|entry| entry.section.ends_with("dependencies") && !entry.is_dev())
        .filter(|entry| !CORE_NEEDS.contains(&entry.dependency()))
        .map(|entry| {
            let message = format!("core must not depend on `{}`", entry.dependency());
            Finding::new(path, entry.line, message)
        })
        .collect()
}

/// Siblings needed by tests only are named by path without a version: cargo leaves them out of the packed
/// crate, whereas two crates that each name a version of the other can never be published.
pub(super) fn can_be_published(tree: &Tree) -> Vec<Finding> {
    packages(tree)
        .filter(|(path, _)| folder(path).is_some())
        .flat_map(|(path, text)| {
            entries(text)
                .filter(|entry| entry.is_dev() && entry.dependency().starts_with("sinew-"))
                .filter(|entry| !entry.is_path_only())
                .map(|entry| {
                    let name = entry.dependency();
                    let message = format!("name `{name}` here by path, without a version");
                    Finding::new(path, entry.line, message)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The manifests of this workspace's packages; the root has none, and some folders are workspaces of their own.
fn packages(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files(|path| path.ends_with("/Cargo.toml"))
        .filter(|(_, text)| !text.lines().any(|line| line == "[workspace]"))
}

fn folder(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").filter(|rest| !rest.contains('/'))
}

/// One `key = value` line and the section it stands in. Enough of TOML for manifests as we write them.
struct Entry<'t> {
    line: usize,
    section: &'t str,
    key: &'t str,
    value: &'t str,
}

impl Entry<'_> {
    fn is_dev(&self) -> bool {
        self.section.ends_with("dev-dependencies")
    }

    /// `bytes` of `bytes = "1"` and of `bytes.workspace = true`.
    fn dependency(&self) -> &str {
        self.key.split('.').next().unwrap_or_default()
    }

    fn is_path_only(&self) -> bool {
        let named = |what: &str| {
            self.value.split(['{', ',', '}']).any(|part| part.trim().starts_with(what))
        };
        named("path") && !named("version") && !named("workspace")
    }
}

fn entries(manifest: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header;
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let comment = line.starts_with('#');
        (!comment).then(|| Entry { line: index + 1, section, key: key.trim(), value: value.trim() })
    })
}

fn value<'t>(manifest: &'t str, section: &str, key: &str) -> Option<&'t str> {
    entries(manifest)
        .find(|entry| entry.section == section && entry.key == key)
        .map(|entry| entry.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"sinew-a\"\ndescription = \"It is.\"\n\
                        readme = \"README.md\"\n\n[lints]\nworkspace = true\n";

    fn messages(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_whole_manifest_passes() {
        let tree = Tree::of(&[("crates/a/Cargo.toml", GOOD), ("Cargo.toml", "[workspace]\n")]);
        assert_eq!(messages(describe_and_lint(&tree)), [""; 0]);
    }

    #[test]
    fn a_manifest_without_description_lints_name_or_readme_is_found() {
        let bad = "[package]\nname = \"a\"\ndescription = \"\"\n";
        let tree = Tree::of(&[("crates/a/Cargo.toml", bad)]);
        assert_eq!(describe_and_lint(&tree).len(), 4);
        let private = Tree::of(&[("xtask/Cargo.toml", bad)]);
        assert_eq!(describe_and_lint(&private).len(), 2);
    }

    #[test]
    fn a_third_dependency_of_core_is_found_and_its_tests_are_free() {
        let core = "[dependencies]\nbytes.workspace = true\nserde = \"1\"\nfutures-core = \"0.3\"\n\
                    [dev-dependencies]\nproptest = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n";
        let found = keep_core_small(&Tree::of(&[("crates/core/Cargo.toml", core)]));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].line, 3);
        assert!(found[1].message.contains("libc"));
    }

    #[test]
    fn a_sibling_with_a_version_among_the_dev_dependencies_is_found() {
        let manifest = "[dependencies]\nsinew-core.workspace = true\n[dev-dependencies]\n\
                        sinew-testkit.workspace = true\n\
                        sinew-beat = { path = \"../beat\", version = \"0.1.0\" }\n\
                        sinew-codec = { path = \"../codec\", features = [\"json\"] }\ntokio = \"1\"\n";
        let found = can_be_published(&Tree::of(&[("crates/a/Cargo.toml", manifest)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [4, 5]);
    }
}
