//! Whether a process id still means the process that we started: ids are used again.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    failure::{Context, Failure, Result},
    program::Program,
};

/// A process, told from a later one with the same id by the moment it started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks since the machine started: field 22 of `/proc/<pid>/stat`.
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (_, started) = state_and_start(pid).context(format_args!("no process {pid}"))?;
        Ok(Self { pid, started })
    }

    /// True while this very process runs; a zombie no longer does.
    pub(crate) fn is_running(self) -> bool {
        state_and_start(self.pid)
            .is_some_and(|(state, started)| started == self.started && state != 'Z' && state != 'X')
    }

    /// The program that it runs.
    pub(crate) fn program(self) -> Option<PathBuf> {
        fs::read_link(proc(self.pid).join("exe")).ok()
    }

    /// Asks it to end, and kills it when it has not within `patience`.
    pub(crate) fn stop(self, patience: Duration) -> Result {
        for (signal, limit) in [("TERM", patience), ("KILL", Duration::from_secs(5))] {
            if !self.is_running() {
                return Ok(());
            }
            // The shell's own `kill`: a bare machine has no other.
            let sent = Program::new("sh")
                .args(["-c", &format!("kill -{signal} {}", self.pid)])
                .capture(Duration::from_secs(5));
            let deadline = Instant::now() + limit;
            while self.is_running() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
            if self.is_running() {
                sent?;
            }
        }
        if self.is_running() {
            return Err(Failure::new(format!("process {} survived SIGKILL", self.pid)));
        }
        Ok(())
    }
}

fn proc(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn state_and_start(pid: u32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(proc(pid).join("stat")).ok()?)
}

/// State and start time. The name before them is in brackets, and may hold blanks and brackets itself.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (odd) name) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 4711 1 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (cut"), None);
    }

    #[test]
    fn a_process_is_known_until_it_is_stopped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_running());
        identity.stop(Duration::from_secs(5)).unwrap();
        assert!(!identity.is_running());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_deaf_to_term_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do :; done"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let identity = Identity::of(child.id()).unwrap();
        identity.stop(Duration::from_millis(100)).unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn the_same_id_with_another_start_is_another_process() {
        let own = Identity::of(std::process::id()).unwrap();
        let earlier = Identity { started: own.started.wrapping_sub(1), ..own };
        assert!(own.is_running());
        assert!(!earlier.is_running());
        // Stopping it leaves the later process alone: this test would not end otherwise.
        earlier.stop(Duration::from_millis(1)).unwrap();
    }
}
