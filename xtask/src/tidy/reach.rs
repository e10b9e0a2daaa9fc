//! Who reaches whom: the crates that a user of one crate compiles, and what must not be among them.
//!
//! Asked for each crate by itself: in the whole workspace one crate's features show under another.

use std::{collections::BTreeSet, time::Duration};

use super::{Finding, tree::Tree};
use crate::{failure::Result, program::Program, workspace};

/// Broker clients: who depends on a pattern compiles none of them.
const CLIENTS: &[&str] = &["async-nats", "lapin", "sled", "tonic", "zeromq"];

const ADAPTERS: &str = "sinew-adapter-";

/// The crates that carry a pattern, by folder; the later ones are named before they are there.
const PATTERNS: &[&str] = &["beat", "dispatch", "events"];

/// All that a user of `core` compiles.
const CORE_IS: &[&str] = &["bytes", "futures-core", "sinew-core"];

/// Asks cargo what `core` and each pattern crate in `tree` reach, and finds what they must not.
pub(super) fn stays_apart(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let bound = |folder: &&str| *folder == "core" || PATTERNS.contains(folder);
    for folder in tree.crates().into_iter().filter(bound) {
        let told = Program::cargo()
            .args(["tree", "--package", &format!("sinew-{folder}"), "--all-features"])
            .args(["--edges", "normal,build", "--target", "all"])
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(workspace::root())
            .capture(Duration::from_secs(300))?;
        findings.extend(breaches(folder, &told));
    }
    Ok(findings)
}

/// What the crate in `folder` reaches and must not, from what `cargo tree` told.
fn breaches(folder: &str, told: &str) -> Vec<Finding> {
    let reached: BTreeSet<&str> =
        told.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let allowed = |name: &str| match folder {
        "core" => CORE_IS.contains(&name),
        _ => !CLIENTS.contains(&name) && !name.starts_with(ADAPTERS),
    };
    let path = format!("crates/{folder}/Cargo.toml");
    let breach = |name| Finding::new(&path, 0, format!("must not reach `{name}`"));
    reached.into_iter().filter(|name| !allowed(name)).map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(folder: &str, told: &str) -> Vec<String> {
        breaches(folder, told).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_pattern_that_reaches_a_client_is_found_however_deep() {
        let told = "sinew-beat v0.1.0 (/src/crates/beat)\nhelper v1.0.0\n\
                    sinew-adapter-nats v0.1.0 (/src/crates/adapter-nats)\nasync-nats v0.51.0\n\
                    async-nats v0.51.0 (*)\n";
        assert_eq!(
            messages("beat", told),
            [
                "crates/beat/Cargo.toml: must not reach `async-nats`",
                "crates/beat/Cargo.toml: must not reach `sinew-adapter-nats`",
            ]
        );
    }

    #[test]
    fn a_pattern_may_reach_what_its_own_job_needs() {
        let told = "sinew-beat v0.1.0\nsinew-core v0.1.0\ntokio v1.54.1\nsledge v1.0.0\n";
        assert!(messages("beat", told).is_empty());
    }

    #[test]
    fn a_third_crate_under_core_is_found() {
        let told = "sinew-core v0.1.0\nbytes v1.12.1\nserde v1.0.229\nfutures-core v0.3.34\n";
        assert_eq!(messages("core", told), ["crates/core/Cargo.toml: must not reach `serde`"]);
    }

    #[test]
    fn the_core_of_this_workspace_reaches_two_crates() {
        let tree = Tree::of(&[("crates/core/Cargo.toml", "")]);
        assert_eq!(stays_apart(&tree).unwrap(), []);
    }
}
