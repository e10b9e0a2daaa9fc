//! The one thread behind the blocking door, and how calls wait for what runs on it.
use std::{thread, time::Duration};

use sinew_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time,
};

/// A runtime on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Background {
    handle: Handle,
    /// Dropping it ends the thread.
    _alive: oneshot::Sender<()>,
}

impl Background {
    pub(super) fn start() -> Result<Self> {
        let fault = |err| {
            Error::new(ErrorKind::Internal, "blocking connect")
                .with_detail("cannot start its thread")
                .with_source(err)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fault)?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        let run = move || {
            // An `Err` is what ends it: the sender is gone.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        };
        thread::Builder::new().name("sinew-blocking".to_owned()).spawn(run).map_err(fault)?;
        Ok(Self { handle, _alive: alive })
    }

    /// Blocks this thread until `future` ends or `within` is over.
    pub(super) fn wait<T>(
        &self,
        operation: &'static str,
        within: Duration,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if Handle::try_current().is_ok() {
            return Err(Error::new(ErrorKind::InsideRuntime, operation).with_detail(
                "use the async door here, or call from a thread that std::thread::spawn started",
            ));
        }
        // The timer is made inside, where the runtime is entered.
        self.handle.block_on(async { time::timeout(within, future).await }).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, operation)
                .with_detail(format!("it did not end within {within:?}")))
        })
    }
}
