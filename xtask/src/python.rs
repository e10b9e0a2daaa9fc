//! Python originals: the programs that Sinew speaks with, at pinned versions, in a virtual environment
//! of our own under the target folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    apt,
    failure::{Context, Failure, Result},
    program::{self, Program},
    workspace::Workspace,
};

/// What the interoperability tests and the benches run: beatit, the NATS client that it publishes through, who verifies
/// webhooks, and ate-dispatcher.
pub(crate) const ORIGINALS: &[&str] =
    &["beatit==2022.3.1", "nats-py==2.16.0", "standardwebhooks==1.1.0", "ate-dispatcher==0.1.0"];

/// Names the Python that has [`ORIGINALS`], for the tests.
pub(crate) const VARIABLE: &str = "SINEW_PYTHON";

const INSTALL_LIMIT: Duration = Duration::from_secs(300);

/// Installed and of the asked version? One line per package that is not.
const MISSING: &str = "\
import sys
from importlib import metadata
for pin in sys.argv[1:]:
    name, _, version = pin.partition('==')
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    if found != version:
        print(pin)
";

/// A Python with the originals: the one that [`VARIABLE`] names, else the environment under the target folder.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        let chosen = PathBuf::from(chosen);
        let missing = missing(&chosen, ORIGINALS)?;
        if missing.is_empty() {
            return Ok(chosen);
        }
        let (missing, python) = (missing.join(" "), chosen.display());
        return Err(Failure::new(format!(
            "{VARIABLE}={python} lacks {missing}: install or unset it"
        )));
    }
    let python = environment(workspace)?;
    install(&python, ORIGINALS)?;
    Ok(python)
}

/// The Python of our environment, made when it is not there.
pub(crate) fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.target.join("python");
    let python = dir.join("bin/python");
    if works(&python) {
        return Ok(python);
    }
    make(&dir).or_else(|refusal| {
        // Debian ships Python without the part that makes environments.
        apt::install("python3-venv")
            .map_err(|advice| Failure::new(format!("{advice} ({refusal})")))
            .and_then(|()| make(&dir))
    })?;
    Ok(python)
}

/// Installs the pinned packages that are missing.
pub(crate) fn install(python: &Path, pins: &[&str]) -> Result {
    let missing = missing(python, pins)?;
    if missing.is_empty() {
        return Ok(());
    }
    Program::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(missing)
        .run_within(INSTALL_LIMIT)
}

fn make(dir: &Path) -> Result {
    let mut refusals = Vec::new();
    for module in ["venv", "virtualenv"] {
        // What a broken attempt left behind would break the next one.
        if dir.exists() {
            fs::remove_dir_all(dir).context(format_args!("removing {}", dir.display()))?;
        }
        let made = Program::new("python3").args(["-m", module]).arg(dir).capture(INSTALL_LIMIT);
        match made {
            Ok(_) if works(&dir.join("bin/python")) => return Ok(()),
            Ok(_) => refusals.push(format!("python3 -m {module} made no working environment")),
            Err(failure) => refusals.push(failure.to_string()),
        }
    }
    Err(Failure::new(refusals.join("; ")))
}

fn works(python: &Path) -> bool {
    program::is_executable(python)
        && Program::new(python)
            .args(["-m", "pip", "--version"])
            .capture(Duration::from_secs(30))
            .is_ok()
}

fn missing(python: &Path, pins: &[&str]) -> Result<Vec<String>> {
    let said =
        Program::new(python).args(["-c", MISSING]).args(pins).capture(Duration::from_secs(30))?;
    Ok(said.lines().map(ToOwned::to_owned).collect())
}
