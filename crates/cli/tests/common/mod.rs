//! Runs the `sinew` binary as a user does, within a deadline.
use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Nothing here takes longer, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its lines as JSON objects; anything else is an error.
    pub(crate) fn objects(&self) -> Result<Vec<serde_json::Value>> {
        objects(&self.text())
    }

    /// Fails unless it ended with `status`.
    pub(crate) fn expect(self, status: i32) -> Result<Self> {
        if self.status == Some(status) {
            Ok(self)
        } else {
            Err(format!("not {status}: {self:?}").into())
        }
    }
}

/// Lines as JSON objects.
pub(crate) fn objects(lines: &str) -> Result<Vec<serde_json::Value>> {
    lines
        .lines()
        .map(|line| match serde_json::from_str(line)? {
            object @ serde_json::Value::Object(_) => Ok(object),
            _ => Err(format!("no object: {line}").into()),
        })
        .collect()
}

/// A command line without the environment's say.
pub(crate) fn sinew(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinew"));
    command.args(args).env_remove("SINEW_URL").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Result<Ran> {
    run_with(sinew(args), b"")
}

/// Runs it to its end, with this on its standard input where there is any.
pub(crate) fn run_with(mut command: Command, stdin: &[u8]) -> Result<Ran> {
    if !stdin.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut running = Running::start(command)?;
    if let Some(mut pipe) = running.child.stdin.take() {
        match pipe.write_all(stdin) {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(err.into()),
            _ => {}
        }
    }
    running.finish()
}

/// A run under way; killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = pump(child.stdout.take().ok_or("no stdout")?);
        let stderr = pump(child.stderr.take().ok_or("no stderr")?);
        Ok(Self { child, stdout, stderr, out: Vec::new(), err: Vec::new() })
    }

    /// Waits until standard error says so; what it said so far.
    pub(crate) fn until_remark(&mut self, wanted: &str) -> Result<String> {
        let end = Instant::now() + DEADLINE;
        while !String::from_utf8_lossy(&self.err).contains(wanted) {
            match self.stderr.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.err.extend(line),
                Err(_) => return Err(self.stuck(wanted)),
            }
        }
        Ok(String::from_utf8_lossy(&self.err).into_owned())
    }

    /// Waits for a line of standard output that has all of these in it.
    pub(crate) fn until_line(&mut self, wanted: &[&str]) -> Result<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.stdout.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.out.extend(&line);
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if wanted.iter().all(|it| line.contains(it)) {
                        return Ok(line);
                    }
                }
                Err(_) => return Err(self.stuck(&wanted.join(" "))),
            }
        }
    }

    fn stuck(&mut self, wanted: &str) -> Box<dyn Error + Send + Sync> {
        self.err.extend(self.stderr.try_iter().flatten());
        let (out, err) = (String::from_utf8_lossy(&self.out), String::from_utf8_lossy(&self.err));
        format!("never said {wanted:?}; stdout: {out} stderr: {err}").into()
    }

    /// Sends it a signal, by its own process id.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // A minimal machine has no `kill` program.
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Ran> {
        let end = Instant::now() + DEADLINE;
        drop(self.child.stdin.take());
        // Both streams end with the process.
        collect(&self.stdout, &mut self.out, end)?;
        collect(&self.stderr, &mut self.err, end)?;
        let status = self.child.wait()?;
        Ok(Ran {
            status: status.code(),
            stdout: std::mem::take(&mut self.out),
            stderr: String::from_utf8_lossy(&self.err).into_owned(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: &Receiver<Vec<u8>>, into: &mut Vec<u8>, end: Instant) -> Result<()> {
    loop {
        match stream.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => into.extend(line),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("it hangs; so far: {}", String::from_utf8_lossy(into)).into());
            }
        }
    }
}

/// Reads line by line on a thread of its own, which ends with the stream.
fn pump(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if send.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    receive
}

/// The command lines under "Examples:" of every help text.
pub(crate) fn examples() -> Result<Vec<String>> {
    let mut examples = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&args)?.expect(0)?.text();
        let help = help.replace("\\\n", " ");
        let (usage, section) = help.split_once("Examples:").ok_or("no examples")?;
        examples.extend(
            section
                .lines()
                .map(str::trim)
                .filter(|it| !it.is_empty() && !it.starts_with('#'))
                .map(str::to_owned),
        );
        let commands = usage.split_once("Commands:").map_or("", |(_, rest)| rest);
        let commands = commands.lines().skip(1).take_while(|line| line.starts_with("  "));
        let commands = commands.filter(|line| !line.starts_with("   "));
        for name in commands.filter_map(|line| line.split_whitespace().next()) {
            open.push([&path[..], &[name.to_owned()]].concat());
        }
    }
    Ok(examples)
}
