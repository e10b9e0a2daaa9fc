//! Brokers for tests and for trying things out: found or installed, started on loopback, stopped by process id.

mod identity;
pub(crate) mod nats;
pub(crate) mod rabbitmq;
mod record;
mod service;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::service::Service;
use crate::{
    failure::{Context, Failure, Result},
    workspace::Workspace,
};

/// Turns a test that would be skipped for want of a broker into a failure.
const REQUIRE: &str = "SINEW_REQUIRE_BROKERS";

const SERVICES: [Service; 2] = [nats::SERVICE, rabbitmq::SERVICE];

/// Does it to every broker; what one of them fails in stops no other.
pub(crate) fn run(words: &[&str]) -> Result {
    let act = match words {
        ["up"] => Service::up,
        ["down"] => Service::down,
        ["status"] => Service::status,
        _ => return Err(Failure::usage("brokers takes one of: up, down, status")),
    };
    let workspace = Workspace::load()?;
    let failures: Vec<String> = SERVICES
        .iter()
        .filter_map(|service| Some(format!("{service}: {}", act(service, &workspace).err()?)))
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
}

/// True when a missing broker has to fail the run.
pub(crate) fn required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}

/// Where brokers and what is known of them are kept.
fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.target.join("brokers");
    fs::create_dir_all(&dir).context(dir.display())?;
    Ok(dir)
}

/// Notes which `program` a plain `cargo test` runs.
fn note(dir: &Path, program: &str, path: &Path) -> Result {
    fs::write(dir.join(format!("{program}.path")), format!("{}\n", path.display()))
        .context(format_args!("noting which {program} the tests run"))
}
