//! Runs commands: one for each delivery, one for each ask, and those of `beat run`.
use std::{
    collections::BTreeSet,
    io,
    process::{ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use sinew_core::{Attempt, Delivery};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
};

use crate::{
    exit::{Failure, Status},
    interrupt::Signal,
    output::write_aside,
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
    let payload = delivery.message.payload.clone();
    let status = tokio::select! {
        biased;
        status = feed(&mut group.child, payload) => status,
        () = delivery.revoked() => return Ok(Ran::Revoked),
    };
    let status = status
        .map_err(|err| Failure::new(Status::Fault, "cannot run the command").with_source(err))?;
    Ok(if status.success() { Ran::Well } else { Ran::Badly(describe(status)) })
}

/// Runs `shell` with `payload` on its standard input; what it prints is ours. Dropping the future ends it.
pub(crate) async fn fed(mut shell: Command, payload: Bytes) -> io::Result<ExitStatus> {
    shell.stdin(Stdio::piped());
    feed(&mut Group::spawn(&mut shell)?.child, payload).await
}

/// Runs `command` by `sh -c`, without input and output; whether it ended with status 0. Dropping the future ends it.
pub(crate) async fn succeeds(command: &str) -> io::Result<bool> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Group::spawn(&mut shell)?.child.wait().await?.success())
}

/// What a command had to say.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    /// `None` where it is more than was to be kept.
    pub(crate) output: Option<Vec<u8>>,
    /// The end of its complaints.
    pub(crate) complaint: String,
}

/// Runs `shell` with `payload` on its standard input, and keeps `most` bytes of what it prints; its complaints go to
/// our standard error, too.
///
/// Dropping the future ends it and all that it started, for as long as one of those can still print.
pub(crate) async fn answer(mut shell: Command, payload: Bytes, most: usize) -> io::Result<Answer> {
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(&mut shell)?;
    let Child { stdin, stdout, stderr, .. } = &mut group.child;
    let (stdin, stdout, stderr) = (stdin.take(), stdout.take(), stderr.take());
    let (written, output, complaint) =
        tokio::join!(write(stdin, payload), keep(stdout, most), relay(stderr));
    // Only now: until it was waited for, the group is known to be ours.
    let status = group.child.wait().await?;
    written?;
    Ok(Answer { status, output: output?, complaint: complaint? })
}

async fn feed(child: &mut Child, payload: Bytes) -> io::Result<ExitStatus> {
    let stdin = child.stdin.take();
    let (written, status) = tokio::join!(write(stdin, payload), child.wait());
    written?;
    status
}

async fn write(stdin: Option<ChildStdin>, payload: Bytes) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(&payload).await {
        // A command need not read what it is given.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err),
        _ => Ok(()),
    }
}

/// All of it, or `None` where that is more than `most` bytes: the rest is read and dropped.
async fn keep(stream: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(Some(kept)) };
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    (&mut stream).take(limit.saturating_add(1)).read_to_end(&mut kept).await?;
    if kept.len() <= most {
        return Ok(Some(kept));
    }
    drop(kept);
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(None)
}

/// The end of it; all of it goes to our standard error as it comes.
async fn relay(stream: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut end = Vec::new();
    if let Some(mut stream) = stream {
        let mut some = vec![0; COMPLAINT];
        loop {
            let count = stream.read(&mut some).await?;
            let Some(come) = some.get(..count).filter(|it| !it.is_empty()) else { break };
            write_aside(come).await;
            end.extend_from_slice(come);
            end.drain(..end.len().saturating_sub(COMPLAINT));
        }
    }
    Ok(String::from_utf8_lossy(&end).trim().to_owned())
}

/// What became of a command that did not end well.
pub(crate) fn describe(status: ExitStatus) -> String {
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
        // Before it runs: an end of all in between would miss it.
        let mut running = running();
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        running.insert(id);
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
        running().remove(&self.id);
        end(self.living());
    }
}

/// The process groups that run; 0 is none.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A panic elsewhere leaves a set whole.
fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the commands that run, if any do; none is started after it, as the process is about to end.
pub(crate) fn end_running() {
    let mut running = running();
    std::mem::take(&mut *running).into_iter().for_each(end);
    std::mem::forget(running);
}

/// How much of a command's complaints is kept, in bytes.
const COMPLAINT: usize = 4096;

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
        Signal::Hangup => process::Signal::HUP,
    };
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
fn end(_: i32) {}

#[cfg(not(unix))]
fn send(_: i32, _: Signal) {}
