//! Runs behaviours: picks them, gives each a broker and a deadline, reports.
use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use sinew_core::{BoxFuture, ErrorKind};
use tokio::{
    runtime::{Builder, Runtime},
    sync::OnceCell,
    time::timeout,
};

use super::{Behaviour, Context, Failure, Outcome, Pace, behaviours};
use crate::{Broker, Fixture, trial::brokers_required};

/// One fixture's behaviours, and what they run on.
pub struct Suite {
    fixture: Arc<dyn Fixture>,
    pace: Pace,
    shared: OnceCell<Result<Arc<dyn Broker>, Failure>>,
}

impl Suite {
    /// The suite over `fixture`.
    #[must_use]
    pub fn new(fixture: Arc<dyn Fixture>) -> Self {
        Self { fixture, pace: Pace::default(), shared: OnceCell::new() }
    }

    /// Runs at `pace`. Default: [`Pace::default`].
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The behaviours that this fixture is held to.
    pub fn behaviours(&self) -> impl Iterator<Item = Behaviour> {
        let capabilities = self.fixture.capabilities();
        let faults = self.fixture.faults();
        behaviours().filter(move |behaviour| {
            behaviour.applies_to(&capabilities)
                && behaviour.faults().iter().all(|fault| faults.contains(fault))
        })
    }

    /// Holds the fixture to `behaviour`. Must be called on a tokio runtime, the same for all calls.
    ///
    /// # Errors
    ///
    /// The behaviour's, or that it took too long, or that there is no broker.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn run(&self, behaviour: Behaviour) -> Outcome {
        let broker = if behaviour.is_alone() {
            self.start().await?
        } else {
            self.shared.get_or_init(|| self.start()).await.clone()?
        };
        let context = Context::new(broker, self.fixture.capabilities(), self.pace);
        timeout(self.pace.deadline, behaviour.run(&context))
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    /// As [`Suite::run`], from a thread of nobody's; it ends even where `runtime` is stuck.
    fn run_on(self: &Arc<Self>, runtime: &Runtime, behaviour: Behaviour) -> Outcome {
        let (done, outcome) = mpsc::sync_channel(1);
        let suite = Arc::clone(self);
        let run = runtime.spawn(async move {
            // Whoever waits no longer has said so.
            drop(done.send(suite.run(behaviour).await));
        });
        match outcome.recv_timeout(START + self.pace.deadline + GRACE) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::new("it panicked; its message is on standard error"))
            }
            Err(RecvTimeoutError::Timeout) => {
                run.abort();
                Err(self.late())
            }
        }
    }

    fn late(&self) -> Failure {
        Failure::new(format!("not done after {:?}", self.pace.deadline))
    }

    fn start(&self) -> BoxFuture<'_, Result<Arc<dyn Broker>, Failure>> {
        Box::pin(async {
            match self.fixture.start().await {
                Ok(broker) => Ok(Arc::from(broker)),
                Err(err) if err.kind() == ErrorKind::NotFound => Err(Failure::missing(&err)),
                Err(err) => Err(err.into()),
            }
        })
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("fixture", &self.fixture.name())
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

/// Runs the whole suite over one fixture, as the `main` of a test target with `harness = false`.
///
/// It understands the arguments of `cargo test` (a filter, `--list`, `--test-threads`), prints a line per behaviour,
/// and ends with `N passed, N failed, N skipped`. Where the broker is missing its behaviours are skipped by name, or
/// fail if `SINEW_REQUIRE_BROKERS` is `1`.
#[must_use = "return it from main"]
pub fn main(fixture: impl Fixture) -> ExitCode {
    main_all([Arc::new(fixture) as Arc<dyn Fixture>])
}

/// As [`main`], over several fixtures in one run.
#[must_use = "return it from main"]
pub fn main_all(fixtures: impl IntoIterator<Item = Arc<dyn Fixture>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Behaviours wait more than they work.
    arguments.test_threads.get_or_insert(THREADS);
    match conclude(&arguments, fixtures) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(err) => {
            tell(&mut io::stderr().lock(), format_args!("cannot run the suite: {err}"));
            ExitCode::FAILURE
        }
    }
}

fn conclude(
    arguments: &Arguments,
    fixtures: impl IntoIterator<Item = Arc<dyn Fixture>>,
) -> io::Result<Conclusion> {
    let runtime =
        Arc::new(Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?);
    let suites: Vec<_> = fixtures.into_iter().map(|it| Arc::new(Suite::new(it))).collect();
    let trials = suites.iter().flat_map(|suite| trials(suite, &runtime)).collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    {
        let _entered = runtime.enter();
        drop(suites);
    }
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(FAREWELL);
    }
    if !arguments.list {
        let Conclusion { num_passed, num_failed, num_ignored, .. } = &conclusion;
        tell(
            &mut io::stdout().lock(),
            format_args!("{num_passed} passed, {num_failed} failed, {num_ignored} skipped"),
        );
    }
    Ok(conclusion)
}

fn trials(suite: &Arc<Suite>, runtime: &Arc<Runtime>) -> impl Iterator<Item = Trial> {
    suite.behaviours().map(|behaviour| {
        let (suite, runtime) = (Arc::clone(suite), Arc::clone(runtime));
        let name = format!("{}::{behaviour}", suite.fixture.name());
        Trial::ignorable_test(name, move || match suite.run_on(&runtime, behaviour) {
            Ok(()) => Ok(Completion::Completed),
            Err(failure) if failure.is_missing_broker() && !brokers_required() => {
                Ok(Completion::ignored_with(failure))
            }
            Err(failure) => Err(Failed::from(failure)),
        })
    })
}

/// Whoever closed our output does not want to read it.
fn tell(out: &mut impl Write, line: fmt::Arguments<'_>) {
    let _ = writeln!(out, "{line}");
}

const THREADS: usize = 8;

/// What a broker may take to start, which a loaded machine does several times.
const START: Duration = Duration::from_secs(300);

/// A deadline that is kept needs no more than this.
const GRACE: Duration = Duration::from_secs(10);

/// What brokers and links may take to go, at the end.
const FAREWELL: Duration = Duration::from_secs(5);
