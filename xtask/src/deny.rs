//! Licences, banned crates and sources: `cargo deny` over `deny.toml`, at a pinned version.

use std::time::Duration;

use crate::{
    failure::Result,
    program::{self, Program},
    workspace::Workspace,
};

/// Installed under the target folder when it is not on the `PATH`; a minute on two cores.
const PINNED: &str = "0.20.2";

pub(crate) fn run(workspace: &Workspace) -> Result {
    let own = workspace.target.join("tools");
    let deny = match program::on_path("cargo-deny") {
        Some(found) => found,
        None => {
            let installed = own.join("bin/cargo-deny");
            if !program::is_executable(&installed) {
                Program::cargo()
                    .args(["install", "--quiet", "--locked", "--debug"])
                    .args(["--version", PINNED, "cargo-deny", "--root"])
                    .arg(&own)
                    .current_dir(&workspace.root)
                    .run_within(Duration::from_secs(900))?;
            }
            installed
        }
    };
    Program::new(deny)
        .args(["--workspace", "--all-features", "check", "bans", "licenses", "sources"])
        .current_dir(&workspace.root)
        .run()
}
