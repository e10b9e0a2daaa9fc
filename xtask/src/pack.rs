//! What users get: crates as cargo packs them, built from those packages alone, and used by a crate outside the
//! workspace.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use crate::{
    failure::{Context, Failure, Result},
    program::Program,
    workspace::{self, Workspace},
};

/// What the crate outside asks for.
const WANTED: &[&str] = &["sinew-beat", "sinew-adapter-nats"];

/// What a user of [`WANTED`] must not compile.
const UNWANTED: &[&str] = &["lapin", "zeromq", "sled", "tonic"];

/// The profile of this workspace, which a packed crate or another workspace knows nothing of: with it, dependencies
/// that are compiled already serve there too.
pub(crate) const PROFILE: &[&str] = &[
    "--config=profile.dev.debug=\"line-tables-only\"",
    "--config=profile.dev.package.\"*\".debug=false",
];

/// Packs each crate as `cargo publish` would, and publishes nothing.
///
/// What is packed is compiled by [`build_packed`]. Cargo's own check takes sources that an earlier run unpacked, as
/// long as the version stays the same.
pub(crate) fn publish_dry_run() -> Result {
    cargo(&["publish", "--workspace", "--dry-run", "--no-verify"]).args(allow_dirty()?).run()
}

/// Packs the crates, unpacks them, and builds them all, and a crate that knows nothing else of this workspace.
pub(crate) fn build_packed(workspace: &Workspace) -> Result {
    let private = workspace.packages.iter().filter(|package| !package.published);
    cargo(&["package", "--quiet", "--workspace", "--no-verify"])
        .args(private.flat_map(|package| ["--exclude", package.name.as_str()]))
        .args(allow_dirty()?)
        .run()?;

    let outside = workspace.target.join("outside");
    if outside.exists() {
        fs::remove_dir_all(&outside).context(outside.display())?;
    }
    let sources = outside.join("src");
    fs::create_dir_all(&sources).context(sources.display())?;
    let mut manifest = MANIFEST.to_owned();
    let mut main = "//! Depends on the packed crates.\n".to_owned();
    for name in WANTED {
        let version = &workspace.package(name)?.version;
        // Writing to a String cannot fail.
        let _ = writeln!(manifest, "{name} = \"{version}\"");
        let _ = writeln!(main, "use {} as _;", name.replace('-', "_"));
    }
    manifest.push_str("\n[workspace]\nmembers = [\"sinew-*\"]\n\n[patch.crates-io]\n");
    for package in workspace.published() {
        let name = &package.name;
        let packed = format!("{name}-{}", package.version);
        unpack(&workspace.target.join(format!("package/{packed}.crate")), &outside)?;
        let _ = writeln!(manifest, "{name} = {{ path = \"{packed}\" }}");
    }
    main.push_str("fn main() {}\n");
    write(&outside.join("Cargo.toml"), &manifest)?;
    write(&sources.join("main.rs"), &main)?;
    // The versions that the workspace was tested with.
    let lock = workspace.root.join("Cargo.lock");
    fs::copy(&lock, outside.join("Cargo.lock")).context(lock.display())?;

    Program::cargo()
        .args(["build", "--quiet", "--workspace"])
        .args(PROFILE)
        .arg("--target-dir")
        .arg(&workspace.target)
        .current_dir(&outside)
        .run()?;
    let tree = Program::cargo()
        .args(["tree", "--quiet", "--package", "outside"])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(&outside)
        .capture(Duration::from_secs(60))?;
    let found = unwanted(&tree);
    if !found.is_empty() {
        let (wanted, found) = (WANTED.join(" and "), found.join(", "));
        return Err(Failure::new(format!("a user of {wanted} compiles {found} as well")));
    }
    println!(
        "all crates build as they are packed; {} take {} crates in all",
        WANTED.join(" and "),
        count(&tree)
    );
    Ok(())
}

const MANIFEST: &str = "\
[package]
name = \"outside\"
version = \"0.0.0\"
edition = \"2024\"

[dependencies]
";

/// The names in `tree` that must not be there.
fn unwanted(tree: &str) -> Vec<&'static str> {
    UNWANTED.iter().copied().filter(|name| names(tree).any(|found| found == *name)).collect()
}

fn count(tree: &str) -> usize {
    let mut lines: Vec<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.len().saturating_sub(1)
}

fn names(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split_whitespace().next())
}

fn unpack(tarball: &Path, dir: &Path) -> Result {
    Program::new("tar")
        // As changed now: all that is packed bears one and the same date, by which cargo would take it for built.
        .arg("-xzmf")
        .arg(tarball)
        .arg("-C")
        .arg(dir)
        .capture(Duration::from_secs(60))
        .map(drop)
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).context(path.display())
}

/// Cargo packs a changed checkout only when told to; a clean one is packed without that licence.
fn allow_dirty() -> Result<Option<&'static str>> {
    let changes = Program::new("git")
        .args(["status", "--porcelain"])
        .current_dir(workspace::root())
        .capture(Duration::from_secs(60))?;
    Ok((!changes.is_empty()).then_some("--allow-dirty"))
}

fn cargo(args: &[&str]) -> Program {
    Program::cargo().args(args).current_dir(workspace::root())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "outside v0.0.0 (/t/outside)\nsinew-beat v0.1.0\ntonic-like v1.0.0\n\
                        lapin v4.12.3\nlapin v4.12.3 (*)\n";

    #[test]
    fn a_broker_client_in_the_tree_is_caught_and_a_name_that_starts_alike_is_not() {
        assert_eq!(unwanted(TREE), ["lapin"]);
        assert!(unwanted("outside v0.0.0\nbytes v1.12.1\n").is_empty());
    }

    #[test]
    fn a_crate_that_shows_twice_counts_once() {
        assert_eq!(count(TREE), 3);
    }
}
