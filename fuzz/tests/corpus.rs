//! Replays what fuzzing has kept: one trial per target, each input of its folder in turn.
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, Trial};
use sinew_fuzz::TARGETS;

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("each_target_has_a_corpus_and_a_program", complete)];
    for target in TARGETS {
        trials.push(Trial::test(target.name, move || {
            for path in inputs(target.name)? {
                let data = fs::read(&path)?;
                std::panic::catch_unwind(|| (target.run)(&data))
                    .map_err(|_| format!("{} breaks a promise", path.display()))?;
            }
            Ok(())
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn complete() -> Result<(), Failed> {
    let targets: BTreeSet<String> = TARGETS.iter().map(|it| it.name.to_owned()).collect();
    let corpora = names(&root().join("corpus"))?;
    let programs = names(&root().join("libfuzzer/fuzz_targets"))?;
    if corpora != targets || programs != targets {
        let found = format!("targets {targets:?}, corpora {corpora:?}, programs {programs:?}");
        return Err(found.into());
    }
    match TARGETS.iter().find(|it| inputs(it.name).is_ok_and(|found| found.is_empty())) {
        Some(target) => Err(format!("the corpus of {} is empty", target.name).into()),
        None => Ok(()),
    }
}

fn inputs(target: &str) -> io::Result<Vec<PathBuf>> {
    let folder = fs::read_dir(root().join("corpus").join(target))?;
    let mut paths = folder.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?
        .map(|entry| {
            let name = entry?.file_name();
            Ok(Path::new(&name).with_extension("").display().to_string())
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
