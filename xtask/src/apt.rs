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
    install_by(&["apt-get"], package)
}

/// As [`install`], without starting any of `services`, as Debian's packages do with their own.
pub(crate) fn install_without_services(package: &str, services: &[&str]) -> Result {
    let script = format!(
        "[ -e {POLICY} ] || {{ trap 'rm -f {POLICY}' EXIT\n\
         cat >{POLICY} <<'END'\n{}END\nchmod 755 {POLICY}; }}\n\
         apt-get \"$@\"",
        policy(services)
    );
    install_by(&["sh", "-ec", &script, "sh"], package)
}

/// Where Debian's packages ask whether they may start a service; a machine that has an answer keeps it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Forbids these services and no other, in case that it stays behind.
fn policy(services: &[&str]) -> String {
    let patterns: Vec<_> = services.iter().map(|service| format!("*\" {service}\"*")).collect();
    format!("#!/bin/sh\ncase \" $*\" in {}) exit 101 ;; esac\n", patterns.join("|"))
}

/// `command` takes the arguments of apt-get.
fn install_by(command: &[&str], package: &str) -> Result {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Failure::new(format!("install {package} with this system's package manager")));
    }
    let Some(prefix) = privilege() else {
        return Err(Failure::new(format!("run: sudo apt-get install {package}")));
    };
    let apt = |args: &[&str]| {
        let mut words = prefix.iter().chain(command).chain(args).copied();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_services_are_forbidden_and_no_other() {
        let asked = |words: &[&str]| {
            let script = policy(&["rabbitmq-server", "epmd"]);
            let asked = Program::new("sh").args(["-c", &script, "policy-rc.d"]).args(words);
            asked.capture(Duration::from_secs(10)).map_err(|refusal| refusal.to_string())
        };
        for forbidden in [&["rabbitmq-server", "start"][..], &["--quiet", "epmd.socket", "start"]] {
            let refusal = asked(forbidden).unwrap_err();
            assert!(refusal.contains("exit status: 101"), "{refusal}");
        }
        assert!(asked(&["ssh", "start"]).is_ok());
    }
}
