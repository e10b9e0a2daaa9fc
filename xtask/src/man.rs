//! `cargo xtask man`: the manual pages of the `sinew` command, written by itself.

use std::fs;

use crate::{
    failure::{Context, Result},
    program::Program,
    workspace::Workspace,
};

pub(crate) fn run() -> Result {
    let workspace = Workspace::load()?;
    let dir = workspace.target.join("man");
    fs::create_dir_all(&dir).context(dir.display())?;
    Program::cargo()
        .args(["run", "--quiet", "--package", "sinew-cli", "--bin", "sinew", "--", "man"])
        .arg(&dir)
        .current_dir(&workspace.root)
        .run()?;
    println!("{}", dir.display());
    Ok(())
}
