//! Python originals: the programs that Sinew speaks with, at pinned versions, in virtual environments
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

/// Originals that live together in one environment.
pub(crate) struct Originals {
    /// Names the Python that has them, for the tests.
    pub(crate) variable: &'static str,
    /// Of the environment, under the target folder.
    folder: &'static str,
    pub(crate) pins: &'static [&'static str],
}

/// What the interoperability tests and the benches run: beatit, the NATS client that it publishes through, who verifies
/// webhooks, and ate-dispatcher.
pub(crate) const ORIGINALS: Originals = Originals {
    variable: "SINEW_PYTHON",
    folder: "python",
    pins: &[
        "beatit==2022.3.1",
        "nats-py==2.16.0",
        "standardwebhooks==1.1.0",
        "ate-dispatcher==0.1.0",
    ],
};

/// nameko as it is installed today, and the delayed retries of its community.
pub(crate) const NAMEKO: Originals = Originals {
    variable: "SINEW_NAMEKO",
    folder: "python-nameko",
    pins: &[
        "nameko==2.14.1",
        "kombu==5.7.0",
        "amqp==5.4.2",
        "eventlet==0.41.3",
        "nameko-amqp-retry==0.7.1",
        // The last with `pkg_resources`, which the retries import.
        "setuptools==80.9.0",
    ],
};

/// nameko as old fleets run it: before kombu 5.3, JSON says dates and times otherwise.
pub(crate) const NAMEKO_OLD: Originals = Originals {
    variable: "SINEW_NAMEKO_OLD",
    folder: "python-nameko-old",
    pins: &[
        "nameko==2.14.1",
        "kombu==5.2.4",
        "amqp==5.1.1",
        "eventlet==0.41.3",
        "nameko-amqp-retry==0.7.1",
        "setuptools==80.9.0",
    ],
};

/// nameko as its next release has it, and its instrumentation by OpenTelemetry, which wants that one.
pub(crate) const NAMEKO_RC: Originals = Originals {
    variable: "SINEW_NAMEKO_RC",
    folder: "python-nameko-rc",
    pins: &[
        "nameko==3.0.0rc11",
        "kombu==5.7.0",
        "amqp==5.4.2",
        "eventlet==0.41.3",
        "opentelemetry-instrumentation-nameko==0.5.2",
        "opentelemetry-instrumentation==0.66b2",
        "opentelemetry-api==1.45.2",
        "opentelemetry-sdk==1.45.2",
    ],
};

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

/// A Python with these originals: the one that their variable names, else the environment under the target folder.
pub(crate) fn provide(workspace: &Workspace, originals: &Originals) -> Result<PathBuf> {
    let Originals { variable, folder, pins } = originals;
    if let Some(chosen) = env::var_os(variable).filter(|chosen| !chosen.is_empty()) {
        let chosen = PathBuf::from(chosen);
        let missing = missing(&chosen, pins)?;
        if missing.is_empty() {
            return Ok(chosen);
        }
        let (missing, python) = (missing.join(" "), chosen.display());
        return Err(Failure::new(format!(
            "{variable}={python} lacks {missing}: install or unset it"
        )));
    }
    let python = made(workspace, folder)?;
    install(&python, pins)?;
    Ok(python)
}

/// The Python of our own environment, for whatever else is installed from PyPI.
pub(crate) fn environment(workspace: &Workspace) -> Result<PathBuf> {
    made(workspace, ORIGINALS.folder)
}

/// The Python of the environment in `folder`, made when it is not there.
fn made(workspace: &Workspace, folder: &str) -> Result<PathBuf> {
    let dir = workspace.target.join(folder);
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
