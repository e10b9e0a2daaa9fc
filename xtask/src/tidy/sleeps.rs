//! A test waits for what it wants to see, never for some time to pass.

use super::{
    Finding,
    exceptions::Exception,
    tokens::{self, Token},
    tree::Tree,
};

const SLEEPS: &[&str] = &["sleep", "sleep_until"];

pub(super) fn are_no_way_to_wait(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files(|path| path.starts_with("crates/") && path.ends_with(".rs")) {
        let whole_file = path.contains("/tests/") || path.ends_with("/tests.rs");
        let tokens = tokens::tokens(text);
        let lines: Vec<usize> =
            calls(&tokens).filter(|call| whole_file || call.test).map(|call| call.line).collect();
        if exceptions.iter().any(|(file, _)| *file == path) {
            if lines.is_empty() {
                findings.push(Finding::new(path, 0, "sleeps no more: remove its exception"));
            }
            continue;
        }
        findings.extend(lines.into_iter().map(|line| {
            Finding::new(
                path,
                line,
                "a test that sleeps: wait for the event, or advance paused time",
            )
        }));
    }
    let gone = exceptions.iter().filter(|(path, _)| tree.text(path).is_none());
    findings.extend(gone.map(|(path, _)| Finding::new(path, 0, "gone: remove its exception")));
    findings
}

/// `sleep(`, as a function: neither a method of that name nor its definition.
fn calls(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    let before = [None].into_iter().chain(tokens.iter().map(Some));
    let after = tokens.iter().skip(1);
    before.zip(tokens).zip(after).filter_map(|((before, token), after)| {
        let defined = before.is_some_and(|before| before.text == "fn" || before.text == ".");
        (SLEEPS.contains(&token.text.as_str()) && after.text == "(" && !defined).then_some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        are_no_way_to_wait(&Tree::of(&[(path, text)]), &[])
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_sleeping_test_is_found_however_it_is_spelled() {
        let text = "fn a() {\nstd::thread::sleep(ONE);\ntokio::time::sleep(ONE).await;\n\
                    select! {\n_ = sleep_until(then) => {}\n}\n}";
        assert_eq!(lines("crates/a/tests/all.rs", text), [2, 3, 5]);
        assert_eq!(lines("crates/a/src/monitor/tests.rs", text), [2, 3, 5]);
    }

    #[test]
    fn code_may_sleep_and_its_unit_tests_may_not() {
        let text = "fn a() { sleep(ONE) }\n#[cfg(test)]\nmod tests {\nfn b() { sleep(ONE) }\n}\n";
        assert_eq!(lines("crates/a/src/retry.rs", text), [4]);
    }

    #[test]
    fn words_methods_and_definitions_are_no_sleeps() {
        let text =
            "//! No sleep(here).\nfn sleep() {}\nfn a() { cat.sleep(); let s = \"sleep()\"; }";
        assert!(lines("crates/a/tests/all.rs", text).is_empty());
        assert!(lines("examples/fleet.rs", "fn a() { sleep(ONE) }").is_empty());
    }

    #[test]
    fn an_exception_holds_while_it_is_needed() {
        let tree = Tree::of(&[
            ("crates/a/tests/a.rs", "fn a() { sleep(ONE) }"),
            ("crates/a/tests/b.rs", "fn b() {}"),
        ]);
        let reason = "shows that nothing comes";
        assert!(are_no_way_to_wait(&tree, &[("crates/a/tests/a.rs", reason)]).is_empty());
        let stale = are_no_way_to_wait(&tree, &[("crates/a/tests/b.rs", reason)]);
        assert_eq!(stale.len(), 2, "the sleep of a.rs, and the exception of b.rs");
    }
}
