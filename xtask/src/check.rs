//! `cargo xtask check`: what to run before each commit; minutes, and no broker.

use crate::{backends, failure::Result, program::Program, stages::Stages, tidy, workspace};

pub(crate) fn run() -> Result {
    let mut stages = Stages::default();
    stage_all(&mut stages);
    stages
        .run("unit tests", || cargo(&["test", "--quiet", "--workspace", "--lib", "--bins"]).run());
    eprint!("\n{}", stages.table());
    stages.finish()
}

/// The stages that `cargo xtask ci` shares: it runs the unit tests with all others.
pub(crate) fn stage_all(stages: &mut Stages) {
    stages.run("format", || cargo(&["fmt", "--all", "--check"]).run());
    stages.run("tidy", tidy::run);
    stages.run("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]).run()
    });
    stages.run("docs", || {
        cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings").run()
    });
    stages.run("backend table", backends::check);
}

fn cargo(args: &[&str]) -> Program {
    Program::cargo().args(args).current_dir(workspace::root())
}
