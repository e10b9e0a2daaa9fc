//! `cargo xtask tidy`: the house rules that no lint knows. A rule that nothing checks fades.
//!
//! Each check reads a [`Tree`], which tests build from a few lines of text.

mod exceptions;
mod globs;
mod layout;
mod links;
mod manifests;
mod modules;
mod paths;
mod promises;
mod reach;
mod sleeps;
mod tokens;
mod tree;

use std::fmt;

use crate::{
    failure::{Failure, Result},
    workspace,
};
use tree::Tree;

/// One breach of a rule.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Finding {
    path: String,
    /// Counted from 1; 0 when the whole file is meant.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A rule over the files of the workspace.
type Check = fn(&Tree) -> Vec<Finding>;

const CHECKS: &[Check] = &[
    modules::start_with_their_doc,
    |tree| modules::are_short(tree, exceptions::LONG_FILES),
    modules::have_a_small_root,
    modules::are_documented_by_their_readme,
    layout::top_level_is_small,
    layout::the_map_is_short,
    layout::adapters_look_alike,
    layout::crates_have_a_readme,
    manifests::describe_and_lint,
    manifests::keep_core_small,
    manifests::can_be_published,
    promises::are_documented,
    links::resolve,
    paths::name_no_machine,
    |tree| sleeps::are_no_way_to_wait(tree, exceptions::SLEEPING_TESTS),
    globs::import_by_name,
];

/// Runs every check, prints what it finds, and fails when there is anything.
pub(crate) fn run() -> Result {
    let tree = Tree::of_workspace(workspace::root())?;
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.extend(reach::stays_apart(&tree)?);
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} findings", findings.len())))
}
