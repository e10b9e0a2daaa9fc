//! A runtime that ends beside one that asks.
use std::time::Duration;

use sinew_adapter_memory::{Memory, MemoryBroker};
use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{Dispatcher, Ended};
use tokio::runtime::{Builder, Runtime};

use crate::common::silent;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(600);

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// From `ours`, asks a dispatcher of the runtime `its`, which ends once one ask is under way, and once more after that.
fn outlive(ours: &Runtime, dispatcher: &Dispatcher, its: Runtime) -> Result<()> {
    let ask = || dispatcher.ask("t", "?").deadline(LONG);
    let mut asked = ours.block_on(ask().send::<String>())?;
    assert_eq!(asked.ended(), None);
    drop(its);
    assert!(ours.block_on(asked.next()).is_none());
    let end = asked.finish();
    assert_eq!((end.ended, end.ok + end.failed), (Ended::Disconnected, 0));
    let told = ours.block_on(ask().collect::<String>());
    assert_eq!(told.err().map(|it| it.kind()), Some(ErrorKind::Disconnected));
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

#[test]
fn asks_of_agents_here_are_over_once_their_runtime_is() -> Result<()> {
    for backend in [None, Some(Memory::new().into_any())] {
        let its = runtime().unwrap();
        let dispatcher = its.block_on(async {
            backend.as_ref().map_or_else(|| Ok(Dispatcher::local()), Dispatcher::over)
        })?;
        let _silent = dispatcher.register("t", &silent("here")?)?;
        outlive(&runtime().unwrap(), &dispatcher, its)?;
    }
    Ok(())
}

#[test]
fn asks_of_agents_elsewhere_are_over_once_their_runtime_is() -> Result<()> {
    let (broker, theirs) = (MemoryBroker::new(), runtime().unwrap());
    let its = runtime().unwrap();
    let over = || Dispatcher::over(&broker.connect().into_any());
    let there = theirs.block_on(async { over() })?;
    let _served = theirs.block_on(there.serve("t", &silent("there")?))?;
    let dispatcher = its.block_on(async { over() })?;
    outlive(&runtime().unwrap(), &dispatcher, its)
}
