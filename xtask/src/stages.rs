//! Stages of a long chore: each named and timed, all of them run, what failed said together at the end.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::failure::{Failure, Result};

/// What ran so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    took: Duration,
    failure: Option<Failure>,
}

impl Stages {
    /// Runs one stage. A failure is kept for [`finish`](Self::finish), so that one run shows all of them.
    pub(crate) fn run(&mut self, name: &'static str, stage: impl FnOnce() -> Result) {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let failure = stage().err();
        let took = started.elapsed();
        match &failure {
            Some(failure) => {
                eprintln!("== {name}: FAILED after {:.1} s: {failure}", took.as_secs_f64())
            }
            None => eprintln!("== {name}: {:.1} s", took.as_secs_f64()),
        }
        self.done.push(Stage { name, took, failure });
    }

    /// One line per stage with its time; the causes of failure below them.
    pub(crate) fn table(&self) -> String {
        let width = self.done.iter().map(|stage| stage.name.len()).max().unwrap_or_default();
        let total: Duration = self.done.iter().map(|stage| stage.took).sum();
        let mut table = String::new();
        for stage in &self.done {
            let verdict = if stage.failure.is_some() { "FAILED" } else { "ok" };
            let seconds = stage.took.as_secs_f64();
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{:<width$}  {seconds:>7.1} s  {verdict}", stage.name);
        }
        let _ = writeln!(table, "{:<width$}  {:>7.1} s", "total", total.as_secs_f64());
        for stage in &self.done {
            if let Some(failure) = &stage.failure {
                let _ = writeln!(table, "{}: {failure}", stage.name);
            }
        }
        table
    }

    /// Fails when any stage did, naming them.
    pub(crate) fn finish(self) -> Result {
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|stage| stage.failure.is_some())
            .map(|stage| stage.name)
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("failed: {}", failed.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_stage_does_not_stop_the_next_and_is_named_at_the_end() {
        let mut stages = Stages::default();
        let mut ran = false;
        stages.run("first", || Err(Failure::new("no luck")));
        stages.run("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        let table = stages.table();
        assert!(table.contains("second") && table.contains("first: no luck"), "{table}");
        assert_eq!(stages.finish().unwrap_err().to_string(), "failed: first");
    }
}
