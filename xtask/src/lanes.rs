//! Tests in lanes: they wait for brokers more than they compute, so several of their programs run at once.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    failure::{Failure, Result},
    program::Program,
    tally::{self, Tally},
    workspace::Workspace,
};

/// How many run at once: on two cores a third one waits for the others more than for its broker.
const LANES: usize = 2;

/// What a line begins with that names a test which failed.
pub(crate) const FAILED_TEST: &str = "failed test: ";

/// What `cargo test` runs of the workspace, as the arguments that choose each part, all parts together being all of it.
pub(crate) fn parts(workspace: &Workspace) -> Vec<Vec<String>> {
    let tests = workspace.packages.iter().flat_map(|package| package.targets_of("test"));
    // One name may be of several packages: they run one after the other.
    let names: BTreeSet<&str> = tests.map(|test| test.name.as_str()).collect();
    // What computes all the time first, beside those that wait.
    [&["--doc"][..], &["--lib", "--bins"]]
        .into_iter()
        .map(|part| part.iter().map(|&word| word.to_owned()).collect())
        .chain(names.into_iter().map(|name| vec!["--test".to_owned(), name.to_owned()]))
        .collect()
}

/// Runs all parts, each by the program that `program` makes of it, and each within `limit`; what one has said is shown when it
/// has ended, and the tests that failed once more at the end. Fails when one cannot be run; tests that fail are counted.
pub(crate) fn run(
    parts: &[Vec<String>],
    limit: Duration,
    tally: &mut Tally,
    program: impl Fn(&[String]) -> Program + Sync,
) -> Result {
    let next = AtomicUsize::new(0);
    let ended = Mutex::new((tally, Vec::new(), Vec::new()));
    let lane = || {
        while let Some(part) = parts.get(next.fetch_add(1, Relaxed)) {
            let began = Instant::now();
            let transcript = program(part).transcript(limit);
            let part = part.join(" ");
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            let (tally, failed_tests, failures) = &mut *ended;
            match transcript {
                Ok((status, said)) => {
                    println!("{said}-- {part}: {status}, {:.1} s", began.elapsed().as_secs_f64());
                    let failed = tally.failed;
                    said.lines().for_each(|line| tally.add_result_line(line));
                    let names = said.lines().filter_map(tally::failed_test);
                    failed_tests.extend(names.map(|name| format!("{FAILED_TEST}{part}: {name}")));
                    if !status.success() && tally.failed == failed {
                        failures.push(format!("{part}: {status}, yet no test failed"));
                    }
                }
                Err(failure) => failures.push(failure.to_string()),
            }
        }
    };
    thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(lane))));
    let (_, failed_tests, failures) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed_tests.iter().for_each(|line| println!("{line}"));
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(failures.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(part: &[String]) -> Program {
        Program::new("sh").args(["-c", &part.join(" ")])
    }

    fn ran(scripts: &[&str]) -> (Tally, Result) {
        let parts: Vec<_> = scripts.iter().map(|script| vec![(*script).to_owned()]).collect();
        let mut tally = Tally::default();
        let verdict = run(&parts, LIMIT, &mut tally, shell);
        (tally, verdict)
    }

    #[test]
    fn every_part_is_run_and_counted_once() {
        let counted = "echo 'test result: ok. 2 passed; 1 failed; 3 ignored'";
        let (tally, verdict) = ran(&[counted; 5]);
        verdict.unwrap();
        assert_eq!((tally.passed, tally.failed, tally.skipped), (10, 5, 15));
    }

    #[test]
    fn a_part_that_dies_or_is_missing_fails_though_no_test_did() {
        let (_, verdict) = ran(&["true", "exit 3", "kill -9 $$"]);
        let text = verdict.unwrap_err().to_string();
        assert!(text.contains("exit 3: exit status: 3") && text.contains("signal: 9"), "{text}");
        let missing = |_: &[String]| Program::new("sinew-no-such-program");
        run(&[vec![]], LIMIT, &mut Tally::default(), missing).unwrap_err();
    }

    #[test]
    fn parts_run_beside_each_other() {
        let fifo = std::env::temp_dir().join(format!("sinew-lanes-{}", std::process::id()));
        Program::new("mkfifo").arg(&fifo).capture(LIMIT).unwrap();
        // Each end of it waits for the other.
        let (tally, verdict) = ran(&[
            &format!("echo 'test result: ok. 1 passed' > {}", fifo.display()),
            &format!("cat {}", fifo.display()),
        ]);
        std::fs::remove_file(&fifo).unwrap();
        verdict.unwrap();
        assert_eq!(tally.passed, 1);
    }
}
