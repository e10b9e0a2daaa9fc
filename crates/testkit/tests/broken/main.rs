//! The suite catches what it claims to: each adapter with one flaw fails the behaviour that names the flaw, and no
//! other that the flaw does not touch; without a flaw it passes everything.
use std::{collections::BTreeSet, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use sinew_testkit::conformance::{Pace, Suite};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    fixture::Flawed,
    flaw::{Flaw, SHAPES, Shape},
};

mod backend;
mod deliveries;
mod fixture;
mod flaw;
mod intakes;
mod tap;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A whole suite each, which waits more than it works.
    arguments.test_threads.get_or_insert(10);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(err) => {
            let told = Failed::from(err);
            return libtest_mimic::run(&arguments, vec![Trial::test("runtime", || Err(told))])
                .exit_code();
        }
    };
    let mut trials = vec![trial(&runtime, "no_flaw".to_owned(), None)];
    for shape in SHAPES {
        trials.push(trial(&runtime, format!("{:?}", shape.flaw), Some(shape)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(runtime: &Arc<Runtime>, name: String, shape: Option<&'static Shape>) -> Trial {
    let runtime = Arc::clone(runtime);
    Trial::test(name, move || {
        let failed = runtime.block_on(failures(shape.map(|shape| shape.flaw)))?;
        let (caught_by, also): (&[&str], &[&str]) =
            shape.map_or((&[], &[]), |shape| (shape.caught_by, shape.also));
        let names: BTreeSet<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
        let escaped: Vec<_> = caught_by.iter().filter(|name| !names.contains(**name)).collect();
        let blamed: Vec<_> = failed
            .iter()
            .filter(|(name, _)| !caught_by.contains(&&**name) && !also.contains(&&**name))
            .collect();
        if escaped.is_empty() && blamed.is_empty() {
            return Ok(());
        }
        let mut told = format!("not caught by {escaped:?}; blamed by:");
        for (name, failure) in blamed {
            told.push_str(&format!("\n  {name}: {failure}"));
        }
        Err(Failed::from(told))
    })
}

/// The behaviours that fail, and what they say.
async fn failures(flaw: Option<Flaw>) -> Result<Vec<(String, String)>, Failed> {
    let pace = Pace::default()
        .with_patience(Duration::from_secs(5))
        .with_deadline(Duration::from_secs(60));
    let suite = Arc::new(Suite::new(Arc::new(Flawed(flaw))).with_pace(pace));
    let mut runs = JoinSet::new();
    for behaviour in suite.behaviours() {
        let suite = Arc::clone(&suite);
        runs.spawn(async move { (behaviour.to_string(), suite.run(behaviour).await) });
    }
    let mut failed = Vec::new();
    while let Some(done) = runs.join_next().await {
        let (name, outcome) = done?;
        failed.extend(outcome.err().map(|failure| (name, failure.to_string())));
    }
    failed.sort();
    Ok(failed)
}
