//! Programs that chores run: each is shown before it starts, and fails by name.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::failure::{Context, Failure, Result};

/// One program with its arguments and environment.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
}

impl Program {
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(name) }
    }

    /// The cargo that started this chore, told nothing about the package it was started for: build scripts
    /// watch those variables, and would compile again at each change between `cargo` and `cargo xtask`.
    pub(crate) fn cargo() -> Self {
        let mut cargo = Self::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let named = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| named.starts_with(prefix)) {
                cargo.command.env_remove(&name);
            }
        }
        cargo
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The command line, as one would type it.
    pub(crate) fn line(&self) -> String {
        let mut words = vec![base_name(Path::new(self.command.get_program()))];
        words.extend(self.command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
        words.join(" ")
    }

    /// Runs it to its end, its output going where ours goes.
    pub(crate) fn run(mut self) -> Result {
        eprintln!("$ {}", self.line());
        let status = self.command.status().context(self.line())?;
        self.verdict(status)
    }

    /// Runs it, and stops it when it takes longer than `limit`.
    pub(crate) fn run_within(mut self, limit: Duration) -> Result {
        eprintln!("$ {}", self.line());
        let mut child = self.command.spawn().context(self.line())?;
        let status = wait(&mut child, limit).context(self.line())?;
        self.verdict(status)
    }

    /// Runs it quietly within `limit` and returns what it wrote to stdout.
    pub(crate) fn capture(mut self, limit: Duration) -> Result<String> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().context(self.line())?;
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let status = wait(&mut child, limit).context(self.line())?;
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if status.success() {
            return Ok(out);
        }
        Err(Failure::new(format!("{}: {status}: {}", self.line(), err.trim())))
    }

    /// Runs it within `limit`, and returns how it ended with all that it wrote, to both streams, in order.
    pub(crate) fn transcript(self, limit: Duration) -> Result<(ExitStatus, String)> {
        let line = self.line();
        eprintln!("$ {line}");
        let (said, writer) = io::pipe().context(&line)?;
        let mut command = self.command;
        command.stdin(Stdio::null()).stderr(writer.try_clone().context(&line)?).stdout(writer);
        let mut child = command.spawn().context(&line)?;
        // It holds ends for writing, too, and the last of these ends the reading.
        drop(command);
        let said = drain(Some(said));
        let status = wait(&mut child, limit).context(&line)?;
        Ok((status, said.join().unwrap_or_default()))
    }

    /// Runs it with stdout passing through `each_line` on its way to ours, and stops it when nothing came for
    /// longer than `silence`.
    pub(crate) fn follow(
        mut self,
        silence: Duration,
        mut each_line: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        eprintln!("$ {}", self.line());
        let mut child = self.command.stdout(Stdio::piped()).spawn().context(self.line())?;
        let stdout = child.stdout.take().context("stdout was piped")?;
        let (sender, lines) = mpsc::sync_channel(1024);
        thread::spawn(move || {
            let lines = BufReader::new(stdout).split(b'\n').map_while(io::Result::ok);
            for line in lines {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            match lines.recv_timeout(silence) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    println!("{line}");
                    each_line(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().and_then(|()| child.wait()).context(self.line())?;
                    let (line, seconds) = (self.line(), silence.as_secs());
                    return Err(Failure::new(format!("`{line}` stopped: silent for {seconds} s")));
                }
            }
        }
        wait(&mut child, silence).context(self.line())
    }

    /// The command itself, for a caller that owns the child process.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    fn verdict(&self, status: ExitStatus) -> Result {
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("`{}` failed: {status}", self.line())))
    }
}

/// Waits for `child` up to `limit`, then kills it.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("waiting for it")? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill().context("stopping it")?;
            child.wait().context("waiting for it")?;
            return Err(Failure::new(format!("stopped: not done after {} s", limit.as_secs())));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The program called `name` on the `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl From<Command> for Program {
    fn from(command: Command) -> Self {
        Self { command }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A read error ends the output; the exit status tells the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ample, also for a machine that has other things to do.
    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_writes_is_captured() {
        let said = Program::new("echo").arg("hello").capture(LIMIT).unwrap();
        assert_eq!(said, "hello\n");
    }

    #[test]
    fn a_failing_program_is_named_with_its_status_and_complaint() {
        let failed = Program::new("sh")
            .args(["-c", "echo broken >&2; exit 3"])
            .capture(LIMIT)
            .unwrap_err()
            .to_string();
        assert!(failed.contains("exit status: 3") && failed.contains("broken"), "{failed}");
    }

    #[test]
    fn a_program_past_its_limit_is_stopped() {
        let started = Instant::now();
        let failed =
            Program::new("sleep").arg("60").capture(Duration::from_millis(50)).unwrap_err();
        assert!(failed.to_string().contains("stopped"), "{failed}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn lines_pass_through_in_order() {
        let mut seen = Vec::new();
        let status = Program::new("printf")
            .arg("one\ntwo\n")
            .follow(LIMIT, |line| seen.push(line.to_owned()))
            .unwrap();
        assert!(status.success());
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn a_program_that_falls_silent_is_stopped() {
        let stopped = Program::new("sh")
            .args(["-c", "echo one; exec sleep 60"])
            .follow(Duration::from_millis(200), |_| {})
            .unwrap_err();
        assert!(stopped.to_string().contains("silent"), "{stopped}");
    }
}
