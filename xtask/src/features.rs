//! Each crate alone: what one crate forgot to ask for is often there because another asked for it.
//! And each feature alone: a feature adds, so that any choice of them compiles.

use crate::{
    failure::{Failure, Result},
    program::Program,
    workspace::{self, Package, Workspace},
};

pub(crate) fn run(workspace: &Workspace) -> Result {
    let mut failed = Vec::new();
    for package in workspace.published() {
        for choice in choices(package) {
            let check = Program::cargo()
                .args(["check", "--quiet", "--package", &package.name])
                .args(&choice)
                .current_dir(workspace::root());
            let line = check.line();
            if check.run().is_err() {
                failed.push(line);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("does not compile:\n{}", failed.join("\n"))))
}

/// The arguments that pick: the default, nothing, each feature alone, and all of them.
fn choices(package: &Package) -> Vec<Vec<String>> {
    let alone = |feature: &String| {
        vec!["--no-default-features".to_owned(), "--features".to_owned(), feature.clone()]
    };
    let mut choices = vec![Vec::new(), vec!["--no-default-features".to_owned()]];
    choices.extend(package.features.iter().map(alone));
    if package.features.len() > 1 {
        choices.push(vec!["--all-features".to_owned()]);
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_features(features: &[&str]) -> Package {
        Package {
            name: "sinew-core".to_owned(),
            version: "0.1.0".to_owned(),
            published: true,
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_crate_is_checked_with_and_without_its_defaults() {
        assert_eq!(choices(&with_features(&[])).len(), 2);
    }

    #[test]
    fn each_feature_is_checked_alone_and_all_together() {
        let lines: Vec<String> =
            choices(&with_features(&["a", "b"])).iter().map(|choice| choice.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "",
                "--no-default-features",
                "--no-default-features --features a",
                "--no-default-features --features b",
                "--all-features",
            ]
        );
    }
}
