//! A headless Chromium, in which the tests look at the status page: found on this machine, or Debian's.
use std::{env, path::PathBuf};

use crate::{
    apt,
    failure::{Context as _, Result},
    program,
};

/// Names the browser that the tests run.
pub(crate) const VARIABLE: &str = "SINEW_CHROMIUM";

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The one that [`VARIABLE`] names, one on the `PATH`, else Debian's.
pub(crate) fn provide() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        return Ok(PathBuf::from(chosen));
    }
    if let Some(found) = find() {
        return Ok(found);
    }
    apt::install("chromium")?;
    find().context("chromium was installed, and is not there")
}

fn find() -> Option<PathBuf> {
    NAMES.into_iter().find_map(program::on_path)
}
