//! RabbitMQ: found on this machine or installed with apt-get, and run on loopback, beside the machine's own.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use self::launch::Launch;
use super::{
    folder, note,
    service::{Service, Start},
};
use crate::{
    apt,
    failure::{Context, Failure, Result},
    program::{self, Program},
    workspace::Workspace,
};

// The files of the test harness itself: there is one way to run the broker. The harness as a dependency would bring
// its runtime with it, and chores start at once.
#[path = "../../../crates/testkit/src/harness/rabbitmq/launch.rs"]
mod launch;
#[path = "../../../crates/testkit/src/harness/port.rs"]
mod port;

/// Names the rabbitmq-server that the tests run.
pub(crate) const VARIABLE: &str = "SINEW_RABBITMQ_SERVER";

/// The oldest that the harness can run; it is tested with Debian's 3.10.8.
const OLDEST: (u32, u32) = (3, 8);

/// Where packages put it, besides the `PATH`.
const PACKAGED: [&str; 2] = ["/usr/sbin/rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"];

pub(super) const SERVICE: Service =
    Service { name: "rabbitmq", prepare, limit: Duration::from_secs(60) };

/// A rabbitmq-server that is new enough, and where it is: the one that [`VARIABLE`] names, one on the `PATH` or in a
/// system's usual places, else Debian's, which is installed without its service.
///
/// Notes the choice in `brokers/rabbitmq-server.path` under the target folder, for a plain `cargo test`.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf> {
    let dir = folder(workspace)?;
    let server = find_or_install(&dir)?;
    note(&dir, "rabbitmq-server", &server)?;
    Ok(server)
}

fn find_or_install(dir: &Path) -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        let chosen = PathBuf::from(chosen);
        return check(&chosen, dir).map(|()| chosen).context(VARIABLE);
    }
    if let Some(found) = find(dir)? {
        return Ok(found);
    }
    apt::install_without_services("rabbitmq-server", &["rabbitmq-server", "epmd"])?;
    find(dir)?.context("rabbitmq-server was installed, and is not there")
}

/// The first that is there: one that is too old is not passed over, since apt-get would not replace it.
fn find(dir: &Path) -> Result<Option<PathBuf>> {
    let places = program::on_path("rabbitmq-server").into_iter();
    let mut places = places.chain(PACKAGED.map(PathBuf::from));
    let found = places.find(|place| program::is_executable(place));
    found.map(|found| check(&found, dir).map(|()| found)).transpose()
}

/// Refuses a server that is too old, by name.
fn check(server: &Path, dir: &Path) -> Result {
    let launch = launch(server, dir)?;
    let mut version = launch.control();
    version.arg("version");
    let said = Program::from(version).capture(Duration::from_secs(60))?;
    accept(server, &said)
}

fn accept(server: &Path, said: &str) -> Result {
    let (server, version) = (server.display(), said.trim());
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next().flatten(), numbers.next().flatten()) else {
        return Err(Failure::new(format!("{server} does not tell its version, but `{version}`")));
    };
    if (major, minor) < OLDEST {
        let (major, minor) = OLDEST;
        return Err(Failure::new(format!(
            "{server} is RabbitMQ {version}: {major}.{minor} or later is needed"
        )));
    }
    Ok(())
}

fn prepare(workspace: &Workspace, dir: &Path) -> Result<Start> {
    let launch = launch(&provide(workspace)?, dir)?;
    let command = launch.server("", "[].\n", "").context(launch.folder.display())?;
    let port = launch.port;
    let ready =
        move |_| speaks_amqp(port).then(|| (format!("amqp://guest:guest@127.0.0.1:{port}"), port));
    Ok(Start { command, ready: Box::new(ready) })
}

/// In a folder of its own, on ports that are free now.
fn launch(server: &Path, dir: &Path) -> Result<Launch> {
    let scripts = launch::scripts(server)
        .context(format_args!("{} is no rabbitmq-server", server.display()))?;
    let folder = dir.join("rabbitmq");
    fs::create_dir_all(&folder).context(folder.display())?;
    let port = || port::free().context("looking for a port");
    let node = "sinew@localhost".to_owned();
    Ok(Launch { scripts, folder, node, port: port()?, distribution: port()? })
}

/// Whether it answers a client's greeting with a method's frame on channel 0.
fn speaks_amqp(port: u16) -> bool {
    let limit = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut answer = [0; 3];
    TcpStream::connect_timeout(&address, limit)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(limit))?;
            stream.write_all(b"AMQP\x00\x00\x09\x01")?;
            stream.read_exact(&mut answer)
        })
        .is_ok_and(|()| answer == [1, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_3_8_are_refused_by_name() {
        let server = Path::new("/usr/sbin/rabbitmq-server");
        let refusal = accept(server, "3.7.28\n").unwrap_err().to_string();
        for part in ["/usr/sbin/rabbitmq-server", "3.7.28", "3.8"] {
            assert!(refusal.contains(part), "{refusal}");
        }
        for said in ["3.8.0", "3.10.8\n", "4.1.0-rc.1"] {
            accept(server, said).unwrap();
        }
    }

    #[test]
    fn a_program_that_tells_no_version_is_refused() {
        for said in ["", "hello", "3.x"] {
            assert!(accept(Path::new("rabbitmq-server"), said).is_err(), "{said}");
        }
    }

    #[test]
    fn a_program_that_is_no_rabbitmq_is_refused() {
        let dir = env::temp_dir();
        let refusal = check(Path::new("/bin/sh"), &dir).unwrap_err().to_string();
        assert!(refusal.contains("is no rabbitmq-server"), "{refusal}");
    }
}
