//! No file names a folder of the machine that it was written on.

use super::{Finding, tree::Tree};

/// In two parts each, so that this file does not find itself.
const MACHINES: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/"), concat!("/tm", "p/h/")];

pub(super) fn name_no_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files(|_| true) {
        for (index, line) in text.lines().enumerate() {
            for machine in MACHINES {
                if names(line, machine) {
                    let message = format!("names a folder of some machine: `{machine}`");
                    findings.push(Finding::new(path, index + 1, message));
                }
            }
        }
    }
    findings
}

/// True where `line` has `folder` as the start of a path, not as a part of a longer one or of a URL.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}/*$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_path_is_found_with_its_line() {
        let text = format!("fine\nsee {}main\n", MACHINES[0]);
        let found = name_no_machine(&Tree::of(&[("docs/a.md", &text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn every_machine_path_is_known_at_the_start_of_a_word_only() {
        for machine in MACHINES {
            for before in ["", " ", "\"", "(", "=", "file:"] {
                assert!(names(&format!("{before}{machine}x"), machine), "{before}{machine}");
            }
            for before in ["https://host", "src", "..", "~", "${DIR}"] {
                assert!(!names(&format!("{before}{machine}x"), machine), "{before}{machine}");
            }
        }
    }
}
