//! Runs a command for one delivery.
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

use crate::exit::{Failure, Status};

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
    shell.arg("-c").arg(command).stdin(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    shell.env("SINEW_SUBJECT", delivery.message.address.to_string());
    match delivery.attempt {
        Attempt::Number(number) => shell.env("SINEW_ATTEMPT", number.to_string()),
        _ => shell.env_remove("SINEW_ATTEMPT"),
    };
    match delivery.message.position() {
        Some(position) => shell.env("SINEW_POSITION", position.to_string()),
        None => shell.env_remove("SINEW_POSITION"),
    };
    let child = shell
        .spawn()
        .map_err(|err| Failure::new(Status::Fault, "cannot run sh").with_source(err))?;
    let mut group = Group::of(child);
    let payload = delivery.message.payload.clone();
    let ran = tokio::select! {
        biased;
        ran = feed(&mut group.child, payload) => ran,
        () = delivery.revoked() => return Ok(Ran::Revoked),
    };
    ran.map_err(|err| Failure::new(Status::Fault, "cannot run the command").with_source(err))
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
struct Group {
    child: Child,
}

impl Group {
    fn of(child: Child) -> Self {
        let this = Self { child };
        RUNNING.store(this.id(), Ordering::Relaxed);
        this
    }

    /// The process group's id, which is the shell's own; 0 once that has ended.
    fn id(&self) -> i32 {
        self.child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        RUNNING.store(0, Ordering::Relaxed);
        end(self.id());
    }
}

/// The process group that runs; there is one at a time, or none, which is 0.
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

#[cfg(not(unix))]
fn end(_: i32) {}
