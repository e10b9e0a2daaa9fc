//! How trials run that want a real broker or a real Python.
use std::{env, time::Duration};

use libtest_mimic::{Completion, Failed, Trial};
use sinew_core::{ErrorKind, Result};
use tokio::{runtime::Builder, time::timeout};

/// A trial that takes no longer than `deadline`; on a machine that lacks what it wants, it is skipped by name.
pub(crate) fn trial<F>(
    name: &str,
    deadline: Duration,
    run: impl Fn() -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = Result<()>>,
{
    Trial::ignorable_test(name, move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(async { timeout(deadline, run()).await }) {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(err)) if err.kind() == ErrorKind::NotFound && !brokers_required() => {
                Ok(Completion::ignored_with(err))
            }
            Ok(Err(err)) => Err(Failed::from(format!("{err}\n{err:?}"))),
            Err(_) => Err(Failed::from(format!("not done after {deadline:?}"))),
        }
    })
}

fn brokers_required() -> bool {
    env::var_os("SINEW_REQUIRE_BROKERS").is_some_and(|value| value == "1")
}
