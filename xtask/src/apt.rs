//! Debian packages: installed where that needs nobody's answer, asked for everywhere else.

use std::{path::Path, time::Duration};

use crate::{
    failure::{Failure, Result},
    program::Program,
};

const LIMIT: Duration = Duration::from_secs(600);

/// Installs `package` on a Debian machine, as root or through a sudo that asks no password.
///
/// Fails elsewhere with the command that a person would run.
pub(crate) fn install(package: &str) -> Result {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Failure::new(format!("install {package} with this system's package manager")));
    }
    let Some(prefix) = privilege() else {
        return Err(Failure::new(format!("run: sudo apt-get install {package}")));
    };
    let apt = |args: &[&str]| {
        let mut words = prefix.iter().copied().chain(["apt-get"]).chain(args.iter().copied());
        Program::new(words.next().unwrap_or("apt-get"))
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .run_within(LIMIT)
    };
    let wanted = ["install", "--yes", "--no-install-recommends", package];
    // Package lists may be absent or old; they are fetched only when the first try fails.
    apt(&wanted)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&wanted)))
        .map_err(|failure| Failure::new(format!("run: apt-get install {package} ({failure})")))
}

/// The words before `apt-get`; `None` when it would ask for a password.
fn privilege() -> Option<&'static [&'static str]> {
    let quick = Duration::from_secs(10);
    let id = Program::new("id").arg("-u").capture(quick).unwrap_or_default();
    if id.trim() == "0" {
        return Some(&[]);
    }
    let sudo = Program::new("sudo").args(["-n", "true"]).capture(quick);
    sudo.is_ok().then_some(&["sudo", "-n"])
}
