//! `cargo xtask api [--bless]`: the public API of each library, as committed under `docs/api`.
//!
//! The work is done by the package `xtask-api`: it stands on crates that the other chores do not need.

use crate::{failure::Result, program::Program, workspace};

/// Compares the listings with the code, or with `bless` writes them anew.
pub(crate) fn run(bless: bool) -> Result {
    Program::cargo()
        .args(["run", "--quiet", "--package", "xtask-api", "--"])
        .args(bless.then_some("--bless"))
        .current_dir(workspace::root())
        .run()
}
