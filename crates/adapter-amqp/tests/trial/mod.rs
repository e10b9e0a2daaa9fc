//! Trials that need a broker: skipped by name where there is none.
use std::{error::Error as StdError, future::Future};

use libtest_mimic::{Completion, Failed, Trial};
use sinew_core::{Error, ErrorKind};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// A trial on a runtime of its own.
pub(crate) fn trial<F, R>(name: &'static str, run: F) -> Trial
where
    F: FnOnce() -> R + Send + 'static,
    R: Future<Output = Outcome> + Send,
{
    Trial::ignorable_test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match runtime.block_on(run()) {
            Ok(()) => Ok(Completion::Completed),
            Err(err) => match err.downcast_ref::<Error>() {
                Some(core) if core.operation() != "amqp connect" && is_missing(core) => {
                    Ok(Completion::ignored_with(core.to_string()))
                }
                _ => Err(Failed::from(format!("{err}: {err:?}"))),
            },
        }
    })
}

fn is_missing(err: &Error) -> bool {
    let required = std::env::var_os("SINEW_REQUIRE_BROKERS").is_some_and(|value| value == "1");
    err.kind() == ErrorKind::NotFound && !required
}
