//! A broker process of a test's own.
use std::{
    fmt, fs,
    fs::File,
    io,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{BoxFuture, Error, ErrorKind, Result};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::{port, process::Process};

/// How to run one kind of broker.
pub trait Recipe: Send + Sync + 'static {
    /// The broker's name, as errors show it.
    fn name(&self) -> &str;

    /// The command that runs it in the foreground, listening on `port` of 127.0.0.1, with all its files in `folder`,
    /// which is there and, on a restart, as the last run left it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when this machine lacks the program; [`ErrorKind::Internal`] when its files cannot
    /// be written.
    fn command(&self, folder: &Path, port: u16) -> Result<Command>;

    /// Tries once whether the broker that it runs in `folder` takes work on `port`, and wherever else it is to. Somebody else
    /// may have got the port first: it looks at who answers.
    ///
    /// # Errors
    ///
    /// Why it does not, yet; it is asked again until a deadline.
    ///
    /// # Cancel safety
    ///
    /// Must be safe.
    fn ready<'a>(&'a self, folder: &'a Path, port: u16) -> BoxFuture<'a, io::Result<()>>;
}

/// A broker process of a test's own: a free port of loopback, a folder that goes with it, and the ways to hurt it.
///
/// Dropping it kills the process, by its id, and reaps it.
pub struct Server {
    recipe: Box<dyn Recipe>,
    port: u16,
    process: Mutex<Option<Process>>,
    // Dropped after the process that writes into it.
    folder: TempDir,
}

impl Server {
    /// Starts a broker, and ends when it takes work.
    ///
    /// # Errors
    ///
    /// What the recipe says; [`ErrorKind::Unreachable`], with the end of the broker's log, when it does not come up
    /// within 90 s.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no process.
    pub async fn start(recipe: impl Recipe) -> Result<Self> {
        let recipe: Box<dyn Recipe> = Box::new(recipe);
        let mut turn = 1;
        loop {
            let io = |err| failed(&*recipe, ErrorKind::Internal).with_source(err);
            let folder = tempfile::Builder::new().prefix("sinew-").tempdir().map_err(io)?;
            let port = port::free().map_err(io)?;
            let process = Mutex::new(None);
            match run(&*recipe, folder.path(), port, &process).await {
                Ok(()) => return Ok(Self { recipe, port, process, folder }),
                // Somebody may have taken the port meanwhile.
                Err(err) if turn < TURNS && err.kind() == ErrorKind::Unreachable => turn += 1,
                Err(err) => return Err(err),
            }
        }
    }

    /// The port of 127.0.0.1 that it listens on, the same in each of its lives.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// The end of what it logged, to show with a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(self.folder.path())
    }

    /// Kills it at once (SIGKILL), and ends when it is dead. Its files stay. No effect on a dead one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when the system does not let us.
    pub fn kill(&self) -> Result<()> {
        match self.process().take() {
            Some(mut process) => process.kill().map_err(|err| self.failed(err)),
            None => Ok(()),
        }
    }

    /// Starts it again, on the same port and files, and ends when it takes work. A running one is killed first.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves it dead.
    pub async fn restart(&self) -> Result<()> {
        self.kill()?;
        run(&*self.recipe, self.folder.path(), self.port, &self.process).await
    }

    /// Stops it without ending it (SIGSTOP): its connections stay open, and nothing answers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when it is dead, [`ErrorKind::Internal`] when the system does not let us.
    pub fn freeze(&self) -> Result<()> {
        self.alive(Process::freeze)
    }

    /// Lets a frozen one go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// As [`Server::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.alive(Process::thaw)
    }

    fn alive(&self, act: impl FnOnce(&Process) -> io::Result<()>) -> Result<()> {
        match self.process().as_ref() {
            Some(process) => act(process).map_err(|err| self.failed(err)),
            None => {
                Err(failed(&*self.recipe, ErrorKind::Closed).with_detail("it is dead: restart it"))
            }
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        lock(&self.process)
    }

    fn failed(&self, err: io::Error) -> Error {
        failed(&*self.recipe, ErrorKind::Internal).with_source(err)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.recipe.name())
            .field("port", &self.port)
            .field("id", &self.id())
            .field("folder", &self.folder.path())
            .finish()
    }
}

/// Starts the process, keeps it in `slot`, and waits until it takes work; on failure `slot` is empty.
async fn run(
    recipe: &dyn Recipe,
    folder: &Path,
    port: u16,
    slot: &Mutex<Option<Process>>,
) -> Result<()> {
    let started = spawn(recipe, folder, port)?;
    let mut process = Unready { process: Some(started) };
    let deadline = Instant::now() + READY;
    loop {
        let why = match timeout(ATTEMPT, recipe.ready(folder, port)).await {
            // Who answers for a dead broker is not it.
            Ok(Ok(())) if process.ended().is_none() => {
                *lock(slot) = process.process.take();
                return Ok(());
            }
            Ok(Ok(())) => "another program has its port".to_owned(),
            Ok(Err(err)) => err.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        let ended = process.ended();
        if ended.is_some() || Instant::now() > deadline {
            let state = ended.unwrap_or_else(|| format!("not ready after {READY:?} ({why})"));
            return Err(failed(recipe, ErrorKind::Unreachable).with_detail(format!(
                "{state}; its log ends with: {}",
                log_tail(folder).replace('\n', " | ")
            )));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Dies with the call that waits for it.
struct Unready {
    process: Option<Process>,
}

impl Unready {
    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.ended().ok()??;
        Some(format!("it ended with {status}"))
    }
}

fn spawn(recipe: &dyn Recipe, folder: &Path, port: u16) -> Result<Process> {
    let io = |err: io::Error| {
        let kind = match err.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        failed(recipe, kind).with_source(err)
    };
    let mut command = recipe.command(folder, port)?;
    let log = File::options().create(true).append(true).open(folder.join(LOG)).map_err(io)?;
    let errors = log.try_clone().map_err(io)?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    Process::spawn(&mut command).map_err(io)
}

fn log_tail(folder: &Path) -> String {
    match fs::read(folder.join(LOG)) {
        Ok(log) => {
            let text = String::from_utf8_lossy(&log);
            let lines: Vec<_> = text.lines().collect();
            let skipped = lines.len().saturating_sub(LOG_LINES);
            lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
        }
        Err(err) => format!("(no log: {err})"),
    }
}

fn failed(recipe: &dyn Recipe, kind: ErrorKind) -> Error {
    Error::new(kind, format!("run {}", recipe.name()))
}

/// A panic elsewhere leaves an `Option` whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOG: &str = "server.log";
// RabbitMQ says why it does not start, and then 45 lines of how it ended.
const LOG_LINES: usize = 60;
const TURNS: u32 = 5;
const READY: Duration = Duration::from_secs(90);
const ATTEMPT: Duration = Duration::from_secs(2);
