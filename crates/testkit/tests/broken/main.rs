//! The suite catches what it claims to: each adapter with one flaw fails the behaviour that names the flaw, and no
//! other that the flaw does not touch; without a flaw it passes everything. Each behaviour is named by a flaw, or says
//! why by none.
use std::{collections::BTreeSet, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use sinew_testkit::conformance::{Pace, Suite, behaviours};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    fixture::{Claims, Flawed},
    flaw::{NOT_BROKEN, SHAPES, Shape},
};

mod backend;
mod deliveries;
mod fixture;
mod flaw;
mod intakes;
mod messages;
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
    let mut trials = vec![Trial::test("each_behaviour_is_broken", each_behaviour_is_broken)];
    for claims in [Claims::All, Claims::Text, Claims::Bare] {
        let flawed = Flawed { claims, flaw: None };
        trials.push(trial(&runtime, format!("no_flaw_on_{claims:?}"), flawed, &[], &[]));
    }
    for Shape { flaw, claims, caught_by, also } in SHAPES {
        let flawed = Flawed { claims: *claims, flaw: Some(*flaw) };
        trials.push(trial(&runtime, format!("{flaw:?}"), flawed, caught_by, also));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn each_behaviour_is_broken() -> Result<(), Failed> {
    let named: BTreeSet<_> = SHAPES.iter().flat_map(|shape| shape.caught_by).copied().collect();
    let excused: BTreeSet<_> = NOT_BROKEN.iter().map(|(name, _)| *name).collect();
    let known: BTreeSet<_> = behaviours().map(|it| it.to_string()).collect();
    let known: BTreeSet<_> = known.iter().map(String::as_str).collect();
    let told = &named | &excused;
    let unknown: Vec<_> = told.difference(&known).collect();
    let unbroken: Vec<_> = known.difference(&told).collect();
    let twice: Vec<_> = named.intersection(&excused).collect();
    if unknown.is_empty() && unbroken.is_empty() && twice.is_empty() {
        return Ok(());
    }
    Err(format!("unknown: {unknown:?}; by no flaw: {unbroken:?}; not by none: {twice:?}").into())
}

fn trial(
    runtime: &Arc<Runtime>,
    name: String,
    flawed: Flawed,
    caught_by: &'static [&str],
    also: &'static [&str],
) -> Trial {
    let runtime = Arc::clone(runtime);
    Trial::test(name, move || {
        let failed = runtime.block_on(failures(flawed))?;
        let may = |name: &str| {
            let touched = |it: &&str| name == *it || (it.ends_with("::") && name.starts_with(*it));
            caught_by.contains(&name) || also.iter().any(touched)
        };
        let names: BTreeSet<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
        let escaped: Vec<_> = caught_by.iter().filter(|name| !names.contains(**name)).collect();
        let blamed: Vec<_> = failed.iter().filter(|(name, _)| !may(name)).collect();
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
async fn failures(flawed: Flawed) -> Result<Vec<(String, String)>, Failed> {
    let pace = Pace::default().with_patience(Duration::from_secs(5));
    // What claims that registrations take time knows better.
    let pace = match flawed.claims {
        Claims::Bare => pace.with_quiet(Duration::from_millis(20)),
        _ => pace,
    };
    let suite = Arc::new(Suite::new(Arc::new(flawed)).with_pace(pace));
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
