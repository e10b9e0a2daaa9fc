//! Runs commands: one for each delivery, and those of `beat run`.
use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicI32, Ordering},
};

use bytes::Bytes;
use sinew_core::{Attempt, Delivery};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::{
    exit::{Failure, Status},
    interrupt::Signal,
};

/// What became of the command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ran {
    /// Exit status 0.
    Well,
    /// Another one, or a signal.
    Badly(String),
    /// The broker took the delivery back meanwhile; the command was ended.
    Revoked,
}

/// Runs `command` by `sh -c`, the payload on its standard input.
///
/// It gets a process group of its own, so that the Ctrl-C which drains us does not reach it; dropping the future
/// ends it.
pub(crate) async fn run(command: &str, delivery: &Delivery) -> Result<Ran, Failure> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped());
    shell.env("SINEW_SUBJECT", delivery.message.address.to_string());
    match delivery.attempt {
        Attempt::Number(number) => shell.env("SINEW_ATTEMPT", number.to_string()),
        _ => shell.env_remove("SINEW_ATTEMPT"),
    };
    match delivery.message.position() {
        Some(position) => shell.env("SINEW_POSITION", position.to_string()),
        None => shell.env_remove("SINEW_POSITION"),
    };
    let mut group = Group::spawn(&mut shell)
        .map_err(|err| Failure::new(Status::Fault, "cannot run sh").with_source(err))?;
    RUNNING.store(group.id, Ordering::Relaxed);
    let payload = delivery.message.payload.clone();
    let ran = tokio::select! {
        biased;
        ran = feed(&mut group.child, payload) => ran,
        () = delivery.revoked() => return Ok(Ran::Revoked),
    };
    ran.map_err(|err| Failure::new(Status::Fault, "cannot run the command").with_source(err))
}

/// Runs `command` by `sh -c`, without input and output; whether it ended with status 0. Dropping the future ends it.
pub(crate) async fn succeeds(command: &str) -> io::Result<bool> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Group::spawn(&mut shell)?.child.wait().await?.success())
}

async fn feed(child: &mut Child, payload: Bytes) -> io::Result<Ran> {
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            match stdin.write_all(&payload).await {
                // A command need not read what it is given.
                Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(err),
                _ => {}
            }
        }
        Ok(())
    };
    let (written, status) = tokio::join!(write, child.wait());
    written?;
    let status = status?;
    Ok(if status.success() { Ran::Well } else { Ran::Badly(describe(status)) })
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with status {code}"),
        None => format!("was ended: {status}"),
    }
}

/// The command and what it started. Dropped before the command has ended, it ends them all; so does an end in a
/// hurry.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
    /// Its id, which is that of the command.
    id: i32,
}

impl Group {
    /// Starts the command as a process group of its own.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        command.kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        Ok(Self { child, id })
    }

    /// Sends the signal on, as a terminal does to all that run in it.
    pub(crate) fn pass_on(&self, signal: Signal) {
        send(self.living(), signal);
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        end(self.living());
    }

    /// Its id; 0 once the command has ended, when the id may be another's.
    fn living(&self) -> i32 {
        if self.child.id().is_some() { self.id } else { 0 }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = RUNNING.compare_exchange(self.id, 0, Ordering::Relaxed, Ordering::Relaxed);
        end(self.living());
    }
}

/// The process group that runs for a delivery; there is one at a time, or none, which is 0.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Ends the command that runs, if one does.
pub(crate) fn end_running() {
    end(RUNNING.swap(0, Ordering::Relaxed));
}

#[cfg(unix)]
fn end(group: i32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    // 0 is none, as `Pid` has it; else it may have ended by itself just now.
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(unix)]
fn send(group: i32, signal: Signal) {
    use rustix::process::{self, Pid, kill_process_group};
    let signal = match signal {
        Signal::Interrupt => process::Signal::INT,
        Signal::Terminate => process::Signal::TERM,
    };
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
fn end(_: i32) {}

#[cfg(not(unix))]
fn send(_: i32, _: Signal) {}
