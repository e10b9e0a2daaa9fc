//! Trials: tests that want a real broker, as `libtest-mimic` runs them.
//!
//! What a trial wants and this machine lacks is the trial's to find: the harness says that it is missing. The trial is
//! skipped then by that name, or fails if `SINEW_REQUIRE_BROKERS` is `1`. Whatever else is not found is a failure.
use std::{env, error::Error as StdError, time::Duration};

use libtest_mimic::{Completion, Failed, Trial};
use sinew_core::Error;
use tokio::{
    runtime::Runtime,
    time::{error::Elapsed, timeout},
};

use crate::harness::is_missing;

/// What a trial comes to: any error will do.
pub type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// How long a [`trial`] takes at most.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A trial on a runtime of its own, within [`DEADLINE`].
pub fn trial<Run, Fault>(
    name: impl Into<String>,
    run: impl FnOnce() -> Run + Send + 'static,
) -> Trial
where
    Run: Future<Output = Result<(), Fault>>,
    Fault: Into<Box<dyn StdError + Send + Sync>>,
{
    trial_within(name, DEADLINE, run)
}

/// A trial on a runtime of its own, which takes no longer than `deadline`.
pub fn trial_within<Run, Fault>(
    name: impl Into<String>,
    deadline: Duration,
    run: impl FnOnce() -> Run + Send + 'static,
) -> Trial
where
    Run: Future<Output = Result<(), Fault>>,
    Fault: Into<Box<dyn StdError + Send + Sync>>,
{
    trial_on(name, move |runtime| -> Outcome {
        let late = |_: Elapsed| format!("not done after {deadline:?}");
        let ran = runtime.block_on(async { timeout(deadline, run()).await });
        ran.map_err(late)?.map_err(Into::into)
    })
}

/// A trial that waits by itself, with a runtime of its own at hand.
pub fn trial_on<Fault>(
    name: impl Into<String>,
    run: impl FnOnce(&Runtime) -> Result<(), Fault> + Send + 'static,
) -> Trial
where
    Fault: Into<Box<dyn StdError + Send + Sync>>,
{
    Trial::ignorable_test(name, move || conclude(run(&Runtime::new()?)))
}

/// What a trial of one's own making comes to.
///
/// # Errors
///
/// What failed, with its causes.
pub fn conclude<Fault>(ran: Result<(), Fault>) -> Result<Completion, Failed>
where
    Fault: Into<Box<dyn StdError + Send + Sync>>,
{
    let Err(err) = ran.map_err(Into::into) else { return Ok(Completion::Completed) };
    match err.downcast_ref::<Error>() {
        Some(missing) if is_missing(missing) && !brokers_required() => {
            Ok(Completion::ignored_with(missing))
        }
        _ => Err(Failed::from(format!("{err}\n{err:?}"))),
    }
}

/// Whether what is missing fails what wants it.
pub(crate) fn brokers_required() -> bool {
    env::var_os("SINEW_REQUIRE_BROKERS").is_some_and(|value| value == "1")
}
