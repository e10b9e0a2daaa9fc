//! A runtime on a thread of its own, for code that has none.
use std::{io, thread};

use sinew_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// Dropping it ends the thread, and drops what still runs on it; calls that block are left to their own end.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Background {
    /// A runtime for one thread, with all drivers: agents may call a client that needs sockets.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when there can be none.
    pub(crate) fn runtime() -> Result<Runtime> {
        Builder::new_current_thread().enable_all().build().map_err(fault)
    }

    /// Drives `runtime` on a thread called `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when no thread can be started.
    pub(crate) fn start(name: &str, runtime: Runtime) -> Result<Self> {
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let turn = move || {
            let _ = runtime.block_on(stopped);
            // It would wait for handlers that block, for as long as they do.
            runtime.shutdown_background();
        };
        thread::Builder::new().name(name.to_owned()).spawn(turn).map_err(fault)?;
        Ok(Self { handle, _stop: stop })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits here for `future`, which runs on this thread, with that one's timers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InsideRuntime`] on a thread of a runtime, which it would stall.
    pub(crate) fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        outside()?;
        Ok(self.handle.block_on(future))
    }
}

fn fault(err: io::Error) -> Error {
    Error::new(ErrorKind::Internal, "start dispatcher")
        .with_detail("cannot start its thread")
        .with_source(err)
}

/// # Errors
///
/// [`ErrorKind::InsideRuntime`] on a thread of a runtime.
pub(crate) fn outside() -> Result<()> {
    match Handle::try_current() {
        Ok(_) => Err(Error::new(ErrorKind::InsideRuntime, "wait for replies")
            .with_detail("use `Dispatcher` here, or a thread of its own")),
        Err(_) => Ok(()),
    }
}
