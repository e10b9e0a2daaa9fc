//! The sum of all suites: `N passed, N failed, N skipped`, read from what each test program prints.

use std::fmt;

/// How many tests passed, failed, and were skipped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds the counts of a `test result:` line, as libtest and libtest-mimic print it; other lines count nothing.
    pub(crate) fn add_result_line(&mut self, line: &str) {
        let line = without_colour(line);
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            if let Some((count, what)) = counted(part) {
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.skipped += count,
                    _ => {}
                }
            }
        }
    }

    /// Reads a closing line back; `None` for any other line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(", ").map(counted);
        let mut next = |wanted: &str| {
            let (count, what) = parts.next().flatten()?;
            (what == wanted).then_some(count)
        };
        let tally =
            Self { passed: next("passed")?, failed: next("failed")?, skipped: next("skipped")? };
        parts.next().is_none().then_some(tally)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The name of the test which this line says has failed.
pub(crate) fn failed_test(line: &str) -> Option<&str> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    verdict.starts_with("FAILED").then_some(name.trim_end())
}

/// `12 passed` as (12, "passed").
fn counted(part: &str) -> Option<(u64, &str)> {
    let (count, what) = part.trim().split_once(' ')?;
    Some((count.parse().ok()?, what))
}

/// Drops `ESC [ ... m`, which libtest writes around its verdict when colours are forced.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_suites_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test result: \u{1b}[32mok\u{1b}[0m. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
        ] {
            tally.add_result_line(line);
        }
        assert_eq!(tally, Tally { passed: 11, failed: 1, skipped: 3 });
    }

    #[test]
    fn a_test_that_prints_about_results_counts_nothing() {
        let mut tally = Tally::default();
        tally.add_result_line("7 passed, 0 failed, 0 skipped");
        tally.add_result_line("test result is good: 9 passed");
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn a_test_that_failed_is_named() {
        assert_eq!(failed_test("test nats::a_b   ... FAILED"), Some("nats::a_b"));
        for other in ["test nats::a_b ... ok", "test result: FAILED. 1 passed", "a ... FAILED"] {
            assert_eq!(failed_test(other), None, "{other}");
        }
    }

    #[test]
    fn the_closing_line_reads_back() {
        let tally = Tally { passed: 811, failed: 0, skipped: 2 };
        assert_eq!(tally.to_string(), "811 passed, 0 failed, 2 skipped");
        assert_eq!(Tally::parse(&tally.to_string()), Some(tally));
        for other in ["811 passed", "811 passed, 0 failed, 2 skipped, 1 odd", "a passed, b failed"]
        {
            assert_eq!(Tally::parse(other), None, "{other}");
        }
    }
}
