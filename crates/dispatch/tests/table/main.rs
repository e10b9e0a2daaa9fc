//! One table of behaviours, held against agents behind each broker: in memory, a real nats-server, a real RabbitMQ. What
//! is missing on this machine is skipped by name.
#![expect(
    clippy::indexing_slicing,
    reason = "a trial is a test, which clippy does not see: what is not there fails it"
)]

mod answers;
mod broker;
mod faults;
mod hedging;
mod leaving;
mod limits;
mod payloads;
mod presence;
mod scene;

use std::{fmt::Display, pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Trial};
use sinew_core::{Error, ErrorKind, Result};
use sinew_testkit::trial::conclude;
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
        for behaviours in [
            answers::BEHAVIOURS,
            hedging::BEHAVIOURS,
            leaving::BEHAVIOURS,
            limits::BEHAVIOURS,
            payloads::BEHAVIOURS,
            presence::BEHAVIOURS,
        ] {
            trials.extend(behaviours.iter().map(|it| trial(*kind, Some(shared), &runtime, it)));
        }
        trials.extend(faults::BEHAVIOURS.iter().map(|it| trial(*kind, None, &runtime, it)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let entered = runtime.enter();
    drop(shared);
    drop(entered);
    conclusion.exit_code()
}

/// How long a behaviour takes at most: on a machine that does much else, 10,000 asks take their time.
const DEADLINE: Duration = Duration::from_secs(300);

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
        behaviour(Scene::new(kind, broker, name)).await
    };
    Trial::ignorable_test(format!("{}::{name}", kind.name()), move || {
        let late = |_| failed(format!("not done after {DEADLINE:?}"));
        let ran = runtime.block_on(async { timeout(DEADLINE, run()).await });
        conclude(ran.map_err(late).flatten())
    })
}

pub(crate) fn failed(what: impl Display) -> Error {
    Error::new(ErrorKind::Internal, "hold a behaviour").with_detail(what.to_string())
}
