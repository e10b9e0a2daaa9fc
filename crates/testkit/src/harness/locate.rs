//! Where the brokers and the Python originals of this checkout are.
use std::{
    env, fs,
    path::{Path, PathBuf},
};

use sinew_core::{Error, ErrorKind, Result};

/// The nats-server to test with: `SINEW_NATS_SERVER`, else the one that `cargo xtask test` installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_nats_server() -> Result<PathBuf> {
    find_broker("SINEW_NATS_SERVER", "nats-server")
}

/// The rabbitmq-server to test with: `SINEW_RABBITMQ_SERVER`, else the one that `cargo xtask test` found or installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_rabbitmq_server() -> Result<PathBuf> {
    find_broker("SINEW_RABBITMQ_SERVER", "rabbitmq-server")
}

/// What the variable names, else what the note says that `cargo xtask test` left.
fn find_broker(variable: &str, name: &'static str) -> Result<PathBuf> {
    let installed = || {
        let note = format!("brokers/{name}.path");
        let mut notes = target_folders().map(|target| target.join(&note));
        let path = notes.find_map(|note| fs::read_to_string(note).ok())?;
        Some(PathBuf::from(path.trim_end_matches(['\r', '\n'])))
    };
    from_environment(variable)
        .or_else(installed)
        .filter(|path| path.is_file())
        .ok_or_else(|| missing(name))
}

/// The Python that has the originals: `SINEW_PYTHON`, else the one that `cargo xtask test` installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_python() -> Result<PathBuf> {
    find_environment("SINEW_PYTHON", "python", "a Python with the originals")
}

/// The Python that has nameko as it is installed today: `SINEW_NAMEKO`, else the one that `cargo xtask test` installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_nameko() -> Result<PathBuf> {
    find_environment("SINEW_NAMEKO", "python-nameko", "a Python with nameko")
}

/// The Python that has nameko as old fleets run it, on kombu 5.2: `SINEW_NAMEKO_OLD`, else the one that
/// `cargo xtask test` installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_old_nameko() -> Result<PathBuf> {
    find_environment("SINEW_NAMEKO_OLD", "python-nameko-old", "a Python with nameko on kombu 5.2")
}

/// The Python that has the nameko to come, 3.0.0rc11, with its instrumentation by OpenTelemetry: `SINEW_NAMEKO_RC`, else
/// the one that `cargo xtask test` installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when there is none.
pub fn find_prerelease_nameko() -> Result<PathBuf> {
    find_environment("SINEW_NAMEKO_RC", "python-nameko-rc", "a Python with nameko 3.0.0rc11")
}

/// What the variable names, else the environment of that folder.
fn find_environment(variable: &str, folder: &str, what: &'static str) -> Result<PathBuf> {
    let program = format!("{folder}/bin/python");
    let installed = || target_folders().map(|target| target.join(&program)).find(|it| it.is_file());
    from_environment(variable)
        .or_else(installed)
        .filter(|path| path.is_file())
        .ok_or_else(|| missing(what))
}

fn from_environment(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where cargo may have put what it built, most certain first.
fn target_folders() -> impl Iterator<Item = PathBuf> {
    let above = |path: PathBuf, targets: fn(&Path) -> PathBuf| {
        path.ancestors().map(targets).collect::<Vec<_>>()
    };
    let named = from_environment("CARGO_TARGET_DIR");
    let manifest = from_environment("CARGO_MANIFEST_DIR");
    let program = env::current_exe().ok();
    named
        .into_iter()
        .chain(manifest.into_iter().flat_map(move |it| above(it, |folder| folder.join(TARGET))))
        .chain(program.into_iter().flat_map(move |it| above(it, Path::to_path_buf)))
}

const TARGET: &str = "target";

fn missing(what: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, what).with_detail(ADVICE)
}

/// Whether it says that this machine lacks something, and not that something is not there that should be.
pub(crate) fn is_missing(err: &Error) -> bool {
    err.kind() == ErrorKind::NotFound && err.detail() == Some(ADVICE)
}

const ADVICE: &str = "run `cargo xtask test`, which installs it";
