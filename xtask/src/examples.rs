//! Runs every program of the `examples` package: each must end by itself, with exit status 0.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    failure::{Context, Result},
    json,
    program::{self, Program},
    tally::Tally,
    workspace::Workspace,
};

const PACKAGE: &str = "sinew-examples";

/// No example needs longer to show its point.
const LIMIT: Duration = Duration::from_secs(60);

/// Builds the examples and runs them on the memory backend; each counts as one test.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) -> Result {
    let logs = workspace.target.join("examples");
    fs::create_dir_all(&logs).context(logs.display())?;
    for (name, program) in build(workspace)? {
        let log = logs.join(format!("{name}.log"));
        let started = Instant::now();
        match run_one(&program, &log) {
            Ok(()) => {
                println!("example {name} ... ok ({:.1} s)", started.elapsed().as_secs_f64());
                tally.passed += 1;
            }
            Err(failure) => {
                println!("example {name} ... FAILED: {failure}");
                println!("{}", fs::read_to_string(&log).unwrap_or_default());
                tally.failed += 1;
            }
        }
    }
    Ok(())
}

fn build(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let package = workspace.package(PACKAGE)?;
    if !package.has_target("example") && !package.has_target("bin") {
        return Ok(Vec::new());
    }
    let messages = Program::cargo()
        // The whole workspace, so that features unify as they did for the tests and nothing compiles twice.
        .args(["build", "--workspace", "--examples", "--bins"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&workspace.root)
        .capture(Duration::from_secs(1800))?;
    Ok(executables(&messages, &workspace.root.join("examples")))
}

/// Name and file of each program in cargo's build messages whose source lies under `dir`.
fn executables(messages: &str, dir: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let target = message.get("target")?;
            let (name, source) = (json::text(target, "name")?, json::text(target, "src_path")?);
            let file = json::text(&message, "executable")?;
            Path::new(source).starts_with(dir).then(|| (name.to_owned(), PathBuf::from(file)))
        })
        .collect();
    found.sort();
    found
}

fn run_one(program: &Path, log: &Path) -> Result {
    let (out, err) = fs::File::create(log)
        .and_then(|file| Ok((file.try_clone()?, file)))
        .context(log.display())?;
    let mut command = Program::new(program).env("SINEW_URL", "memory:").into_command();
    let mut child =
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().context(program.display())?;
    let status = program::wait(&mut child, LIMIT)?;
    status.success().then_some(()).context(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_picked_from_the_build_messages() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"core","src_path":"/w/examples/src/lib.rs"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"ring","src_path":"/w/examples/ring.rs"},"executable":"/t/ring"}
            {"reason":"compiler-artifact","target":{"name":"sinew","src_path":"/w/cli/src/main.rs"},"executable":"/t/sinew"}
            {"reason":"build-finished","success":true}
            {"reason":"compiler-artifact","target":{"name":"fleet","src_path":"/w/examples/fleet.rs"},"executable":"/t/fleet"}
        "#;
        let expected = [("fleet", "/t/fleet"), ("ring", "/t/ring")];
        let expected = expected.map(|(name, file)| (name.to_owned(), PathBuf::from(file)));
        assert_eq!(executables(messages, Path::new("/w/examples")), expected);
    }

    #[test]
    fn an_example_that_fails_is_told_by_its_status() {
        let log = std::env::temp_dir().join(format!("sinew-xtask-{}.log", std::process::id()));
        let failed = run_one(Path::new("false"), &log).unwrap_err().to_string();
        run_one(Path::new("true"), &log).unwrap();
        fs::remove_file(&log).unwrap();
        assert!(failed.contains("exit status: 1"), "{failed}");
    }
}
