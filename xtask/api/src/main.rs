//! The public API of each library as a text file under `docs/api`: a change of it shows in review.
//!
//! Run by `cargo xtask api [--bless]`. The listings come from rustdoc's JSON, which the stable compiler writes when
//! `RUSTC_BOOTSTRAP=1` asks it to; the format changes with the compiler, hence [`TOOLCHAIN`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a chore prints is its product"
)]

mod listing;

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use serde_json::Value;

/// The compiler that the committed listings are made with.
const TOOLCHAIN: &str = "1.95";

type Result<T = ()> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let bless = env::args().any(|arg| arg == "--bless");
    match run(bless) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask-api: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(bless: bool) -> Result {
    let compiler = output(Command::new("rustc").arg("--version"))?;
    if !compiler.contains(&format!("rustc {TOOLCHAIN}.")) {
        let compiler = compiler.trim();
        return Err(format!("docs/api is made with rustc {TOOLCHAIN}, this is {compiler}"));
    }
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let folder = |key: &str| metadata.get(key).and_then(Value::as_str).map(Path::new);
    let root = folder("workspace_root").ok_or("cargo metadata names no workspace_root")?;
    let target = folder("target_directory").ok_or("cargo metadata names no target_directory")?;
    let target = target.join("api");
    let dir = root.join("docs/api");
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;

    let libraries = libraries(&metadata);
    document(&libraries, &target)?;
    let mut stale = Vec::new();
    for (package, library) in &libraries {
        let listing = listing::of(&target.join(format!("doc/{library}.json")))?;
        let file = dir.join(format!("{package}.txt"));
        let committed = fs::read_to_string(&file).unwrap_or_default();
        if listing == committed {
            continue;
        }
        if bless {
            fs::write(&file, &listing).map_err(|error| format!("{}: {error}", file.display()))?;
            println!("docs/api/{package}.txt is written anew");
        } else {
            println!("{package}:\n{}", listing::difference(&committed, &listing));
            stale.push(format!("docs/api/{package}.txt"));
        }
    }
    stale.extend(left_over(&dir, &libraries, bless)?);
    if stale.is_empty() {
        return Ok(());
    }
    let stale = stale.join(", ");
    Err(format!("{stale}: not what the code says; if meant: cargo xtask api --bless"))
}

/// Package and library name of each published library.
fn libraries(metadata: &Value) -> Vec<(String, String)> {
    let published = |package: &&Value| !list(package, "publish").is_some_and(<[_]>::is_empty);
    let is_library =
        |target: &&Value| list(target, "kind").unwrap_or_default().contains(&"lib".into());
    let packages = list(metadata, "packages").unwrap_or_default().iter().filter(published);
    let named = packages.filter_map(|package| {
        let library = list(package, "targets")?.iter().find(is_library)?;
        let name = |object: &Value| Some(object.get("name")?.as_str()?.to_owned());
        Some((name(package)?, name(library)?.replace('-', "_")))
    });
    named.collect()
}

fn list<'v>(object: &'v Value, key: &str) -> Option<&'v [Value]> {
    object.get(key)?.as_array().map(Vec::as_slice)
}

/// Has rustdoc write its JSON for all libraries with all their features, into `target/doc`.
fn document(libraries: &[(String, String)], target: &Path) -> Result {
    // In a folder of its own: the variable changes what many build scripts see, and would compile
    // everything again in the folder that the other chores use. In one go, so that features unify and
    // each dependency compiles once.
    let status = cargo()
        .args(["doc", "--quiet", "--no-deps", "--lib", "--all-features"])
        .args(libraries.iter().flat_map(|(package, _)| ["--package", package.as_str()]))
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json --cap-lints allow")
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo doc: {status}"));
    }
    Ok(())
}

/// Listings of libraries that are there no more; with `bless` they are removed.
fn left_over(dir: &Path, libraries: &[(String, String)], bless: bool) -> Result<Vec<String>> {
    let known: BTreeSet<String> =
        libraries.iter().map(|(package, _)| format!("{package}.txt")).collect();
    let mut stale = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if known.contains(&name) || !name.ends_with(".txt") {
            continue;
        }
        if bless {
            fs::remove_file(entry.path()).map_err(|error| format!("docs/api/{name}: {error}"))?;
        } else {
            stale.push(format!("docs/api/{name} (no such library)"));
        }
    }
    Ok(stale)
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn published_libraries_are_listed_and_programs_and_private_packages_are_not() {
        let metadata = json!({ "packages": [
            { "name": "sinew-core", "publish": null,
              "targets": [{ "name": "sinew_core", "kind": ["lib"] }] },
            { "name": "sinew-cli", "publish": null, "targets": [{ "name": "sinew", "kind": ["bin"] }] },
            { "name": "own", "publish": [], "targets": [{ "name": "own", "kind": ["lib"] }] },
        ]});
        assert_eq!(libraries(&metadata), [("sinew-core".to_owned(), "sinew_core".to_owned())]);
    }
}
