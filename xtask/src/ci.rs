//! `cargo xtask ci`: what a change must pass. Every stage runs, whatever failed before it; the closing line
//! of the tests comes last.

use std::fs;

use crate::{
    api, check, deny,
    failure::{Context, Failure, Result},
    features,
    lanes::FAILED_TEST,
    pack,
    program::Program,
    stages::Stages,
    tally::Tally,
    test,
    workspace::{self, Workspace},
};

pub(crate) fn run() -> Result {
    let workspace = Workspace::load()?;
    let mut stages = Stages::default();
    let mut tally = Tally::default();

    check::stage_all(&mut stages);
    stages.run("tests", || tests(&mut tally));
    stages.run("benches", || {
        let check = ["check", "--workspace", "--benches"];
        Program::cargo().args(check).current_dir(workspace::root()).run()
    });
    stages.run("fuzz programs", || fuzz_programs(&workspace));
    stages.run("TLS beside aws-lc-rs", || tls_beside_aws_lc(&workspace));
    stages.run("each crate alone", || features::run(&workspace));
    stages.run("licences, bans, sources", || deny::run(&workspace));
    stages.run("API listings", || api::run(false));
    stages.run("publish", pack::publish_dry_run);
    stages.run("packed crates", || pack::build_packed(&workspace));

    println!("\n{}", stages.table());
    let verdict = stages.finish();
    if let Err(failure) = &verdict {
        println!("{failure}");
    }
    println!("{tally}");
    verdict.map_err(|_| Failure::told())
}

/// Checked without a C++ compiler.
fn fuzz_programs(workspace: &Workspace) -> Result {
    own_workspace(workspace, "fuzz/libfuzzer", &["check", "--no-default-features"])?.run()
}

/// The trial of TLS in a program that has a second provider of cryptography, on real brokers.
fn tls_beside_aws_lc(workspace: &Workspace) -> Result {
    let folder = "crates/adapter-amqp/tests/beside-aws-lc";
    let mut program = own_workspace(workspace, folder, &["test"])?.args(pack::PROFILE);
    for (name, value) in &test::environment(workspace)? {
        program = program.env(name, value);
    }
    program.run()
}

/// Cargo in a folder that is a workspace of its own, with the versions of this one.
fn own_workspace(workspace: &Workspace, folder: &str, args: &[&str]) -> Result<Program> {
    let folder = workspace::root().join(folder);
    fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .context(folder.display())?;
    let program = Program::cargo().args(args).arg("--target-dir").arg(&workspace.target);
    Ok(program.current_dir(&folder))
}

/// The README's test command, word for word.
fn tests(tally: &mut Tally) -> Result {
    let mut closing = None;
    let mut failed = String::new();
    let each_line = |line: &str| {
        closing = Tally::parse(line).or(closing);
        if let Some(name) = line.strip_prefix(FAILED_TEST) {
            failed.push_str("\n  ");
            failed.push_str(name);
        }
    };
    let status = Program::cargo()
        .args(["xtask", "test"])
        .current_dir(workspace::root())
        .follow(test::SILENCE, each_line)?;
    *tally = closing.context("no test ran")?;
    if !status.success() {
        return Err(Failure::new(format!("cargo xtask test: {status}{failed}")));
    }
    Ok(())
}
