//! Real nameko services and ours in one cluster: what is measured of nameko's wire holds both ways.
//!
//! Each trial is named for what it shows. One RabbitMQ serves all of them, and one Python process for each generation of
//! nameko, whose services come and go; every trial has names of its own.
use std::{env, panic, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Completion, Trial};
use sinew_testkit::trial::{Outcome, conclude};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use world::{Generation, Scene, World};

mod connections;
mod delaying;
mod emitting;
mod faults;
mod headers;
mod killed;
mod looking;
mod member;
mod options;
mod outages;
mod payloads;
mod peer;
mod pools;
mod rust;
mod settling;
mod stopping;
mod topology;
mod tracing;
mod world;

fn main() -> ExitCode {
    if let Ok(spec) = env::var(member::SPEC) {
        return member::main(&spec);
    }
    let mut arguments = Arguments::from_args();
    // They wait, most of the time.
    arguments.test_threads.get_or_insert(4);
    let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(err) => {
            let told = err.to_string();
            let failed = vec![Trial::test("runtime", || Err(told.into()))];
            return libtest_mimic::run(&arguments, failed).exit_code();
        }
    };
    let stage = Stage { runtime, world: World::default() };
    let mut trials = Vec::new();
    topology::trials(&stage, &mut trials);
    emitting::trials(&stage, &mut trials);
    options::trials(&stage, &mut trials);
    headers::trials(&stage, &mut trials);
    tracing::trials(&stage, &mut trials);
    payloads::trials(&stage, &mut trials);
    pools::trials(&stage, &mut trials);
    settling::trials(&stage, &mut trials);
    stopping::trials(&stage, &mut trials);
    connections::trials(&stage, &mut trials);
    faults::trials(&stage, &mut trials);
    outages::trials(&stage, &mut trials);
    looking::trials(&stage, &mut trials);
    killed::trials(&stage, &mut trials);
    delaying::trials(&stage, &mut trials);
    // Handlers panic on purpose; a trial that does is told by its runner.
    panic::set_hook(Box::new(|_| {}));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let Stage { runtime, world } = stage;
    {
        // Its processes are reaped there.
        let _entered = runtime.enter();
        drop(world);
    }
    conclusion.exit_code()
}

/// What trials run on.
pub(crate) struct Stage {
    runtime: Arc<Runtime>,
    world: World,
}

impl Stage {
    /// A trial that is skipped by name where RabbitMQ or nameko is missing.
    fn trial<F, Run>(&self, name: &str, run: F) -> Trial
    where
        F: FnOnce(Scene) -> Run + Send + 'static,
        Run: Future<Output = Outcome> + Send + 'static,
    {
        self.trial_of(Generation::Today, name, run)
    }

    /// One for each of these generations of nameko, by [`Scene::peer`].
    fn trials<F, Run>(&self, generations: &[Generation], name: &str, run: F) -> Vec<Trial>
    where
        F: FnOnce(Scene) -> Run + Copy + Send + 'static,
        Run: Future<Output = Outcome> + Send + 'static,
    {
        let named = |generation| format!("{name}_{generation:?}").to_lowercase();
        let trial = |generation| self.trial_of(generation, &named(generation), run);
        generations.iter().copied().map(trial).collect()
    }

    fn trial_of<F, Run>(&self, generation: Generation, name: &str, run: F) -> Trial
    where
        F: FnOnce(Scene) -> Run + Send + 'static,
        Run: Future<Output = Outcome> + Send + 'static,
    {
        let (runtime, scene) = (Arc::clone(&self.runtime), self.world.scene(generation));
        Trial::ignorable_test(name, move || {
            conclude(runtime.block_on(async { timeout(patience(), run(scene)).await? }))
        })
    }

    /// The same, of what RabbitMQ does from version 4 on.
    fn trial_on_4<F, Run>(&self, name: &str, run: F) -> Trial
    where
        F: FnOnce(Scene) -> Run + Send + 'static,
        Run: Future<Output = Outcome> + Send + 'static,
    {
        let runtime = Arc::clone(&self.runtime);
        let scene = self.world.scene(Generation::Today);
        Trial::ignorable_test(name, move || {
            match runtime.block_on(scene.rabbitmq_version()) {
                Ok(version) if version.starts_with("3.") => {
                    return Ok(Completion::ignored_with(format!("RabbitMQ 4: this is {version}")));
                }
                Ok(_) => {}
                Err(missing) => return conclude(Outcome::Err(missing)),
            }
            conclude(runtime.block_on(async { timeout(patience(), run(scene)).await? }))
        })
    }
}

/// More than any of them takes.
fn patience() -> Duration {
    Duration::from_secs(if is_long() { 1200 } else { 240 })
}

/// Whether there is time for many rounds.
pub(crate) fn is_long() -> bool {
    env::var_os("SINEW_LONG").is_some_and(|value| value == "1")
}
