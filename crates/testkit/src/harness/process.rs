//! One child process and its descendants: started, killed, frozen, reaped, and outlived by none of them.
use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A child in a process group of its own, so that what it starts goes with it. Dropping it kills and reaps it; should
/// this process be killed before it can, the [`Heir`] does.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    // Dropped after the group is dead.
    _heir: Heir,
}

impl Process {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut heir = Heir::spawn()?;
        let child = command.process_group(0).spawn()?;
        let told = heir.tell(child.id());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the system gave no process id"))?;
        let process = Self { child, pid, _heir: heir };
        told.map(|()| process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGKILL; ends when it is dead and reaped.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.ended()?.is_none() {
            kill_process_group(self.pid, Signal::KILL)?;
            wait("die", || Ok(self.child.try_wait()?.is_some()))?;
        }
        Ok(())
    }

    /// SIGSTOP; ends when it has stopped.
    pub(super) fn freeze(&self) -> io::Result<()> {
        kill_process_group(self.pid, Signal::STOP)?;
        wait("stop", || {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            Ok(waitid(WaitId::Pid(self.pid), options)?.is_some_and(|status| status.stopped()))
        })
    }

    /// SIGCONT.
    pub(super) fn thaw(&self) -> io::Result<()> {
        Ok(kill_process_group(self.pid, Signal::CONT)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be told from here; what is not reaped is reaped with this process.
        let _ = self.kill();
    }
}

/// A shell that kills a process group once nobody holds the other end of its standard input: when this process is gone,
/// however it went. It is in a group of its own, so that neither freezing the broker nor an interrupt from the terminal
/// reaches it.
#[derive(Debug)]
struct Heir {
    shell: Child,
    input: ChildStdin,
}

impl Heir {
    fn spawn() -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", r#"read -r group && { read -r _; kill -s KILL -- "-$group"; }"#])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = shell.stdin.take().ok_or_else(|| io::Error::other("a shell without input"))?;
        Ok(Self { shell, input })
    }

    fn tell(&mut self, group: u32) -> io::Result<()> {
        writeln!(self.input, "{group}")
    }
}

impl Drop for Heir {
    /// With its input still open, so that it kills nobody.
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The system obeys a signal within microseconds, so a thread may wait for it.
fn wait(what: &str, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !done()? {
        if Instant::now() > deadline {
            let text = format!("the process did not {what} within {DEADLINE:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

const DEADLINE: Duration = Duration::from_secs(10);
