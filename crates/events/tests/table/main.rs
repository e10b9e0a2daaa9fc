//! One table of behaviours, held against services on each broker: in memory, JetStream and plain NATS on a real nats-server, a
//! real RabbitMQ. What is missing on this machine is skipped by name.
mod broker;
mod faults;
mod handling;
mod keeping;
mod passing;
mod scene;
mod types;

use std::{env, fmt::Display, panic, pin::Pin, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use sinew_core::{Error, ErrorKind, Result};
use sinew_testkit::trial::{DEADLINE, conclude};
use tokio::{
    runtime::{Builder, Runtime},
    sync::OnceCell,
    time::timeout,
};

use crate::{
    broker::{Broker, Kind},
    scene::Scene,
};

/// What is to hold, and how it is shown.
pub(crate) type Behaviour = (&'static str, fn(Scene) -> Pin<Box<dyn Future<Output = Result<()>>>>);

/// Makes a table's entries of functions.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const BEHAVIOURS: &[crate::Behaviour] =
            &[$((stringify!($name), |scene| Box::pin($name(scene)))),+];
    };
}
pub(crate) use behaviours;

/// The broker that all use who do not hurt it.
type Shared = Arc<OnceCell<Arc<Broker>>>;

/// Behaviours wait more than they work.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let Ok(runtime) = Builder::new_multi_thread().worker_threads(4).enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let runtime = Arc::new(runtime);
    let shared = Kind::ALL.map(|kind| (kind, Shared::default()));
    let mut trials = Vec::new();
    for (kind, shared) in &shared {
        let mut add = |behaviours: &[Behaviour], shared: Option<&Shared>| {
            trials.extend(behaviours.iter().map(|it| trial(*kind, shared, &runtime, it)));
        };
        add(passing::BEHAVIOURS, Some(shared));
        add(types::BEHAVIOURS, Some(shared));
        match kind {
            Kind::Nats => add(passing::REFUSALS, Some(shared)),
            _ => {
                add(handling::BEHAVIOURS, Some(shared));
                match kind {
                    Kind::JetStream => {
                        add(keeping::STREAMS, None);
                        add(faults::DURABLE, None);
                    }
                    _ => add(handling::COUNTED, Some(shared)),
                }
                add(keeping::BEHAVIOURS, Some(shared));
                add(faults::BEHAVIOURS, None);
            }
        }
    }
    // Handlers panic on purpose; a trial that does is told by its runner.
    panic::set_hook(Box::new(|_| {}));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let entered = runtime.enter();
    drop(shared);
    drop(entered);
    conclusion.exit_code()
}

fn trial(
    kind: Kind,
    shared: Option<&Shared>,
    runtime: &Arc<Runtime>,
    (name, behaviour): &Behaviour,
) -> Trial {
    let (shared, runtime) = (shared.map(Arc::clone), Arc::clone(runtime));
    let (name, behaviour) = (*name, *behaviour);
    let run = async move || {
        let broker = match shared {
            None => Arc::new(kind.start().await?),
            Some(shared) => {
                let start = async || kind.start().await.map(Arc::new);
                Arc::clone(shared.get_or_try_init(start).await?)
            }
        };
        behaviour(Scene::new(broker, name)).await
    };
    Trial::ignorable_test(format!("{}::{name}", kind.name()), move || {
        let deadline = if is_long() { 10 * DEADLINE } else { DEADLINE };
        let late = |_| failed(format!("not done after {deadline:?}"));
        conclude(runtime.block_on(async { timeout(deadline, run()).await.map_err(late)? }))
    })
}

/// Whether there is time for many rounds.
pub(crate) fn is_long() -> bool {
    env::var_os("SINEW_LONG").is_some_and(|value| value == "1")
}

pub(crate) fn failed(what: impl Display) -> Error {
    Error::new(ErrorKind::Internal, "hold a behaviour").with_detail(what.to_string())
}

/// Fails unless it is so.
pub(crate) fn is(holds: bool, what: impl Display) -> Result<()> {
    if holds { Ok(()) } else { Err(failed(what)) }
}
