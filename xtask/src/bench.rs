//! `cargo xtask bench [name]`: the workspace's benchmarks, with the command line behind each printed above it.

use crate::{
    failure::{Failure, Result},
    program::Program,
    test,
    workspace::Workspace,
};

/// Runs the bench called `wanted`, or all of them.
pub(crate) fn run(wanted: Option<&str>) -> Result {
    let workspace = Workspace::load()?;
    let benches = pick(&workspace, wanted)?;
    let environment = test::environment(&workspace)?;
    for (package, bench) in benches {
        let mut cargo = Program::cargo()
            .args(["bench", "--package", package, "--bench", bench])
            .current_dir(&workspace.root);
        for (name, value) in &environment {
            cargo = cargo.env(name, value);
        }
        cargo.run()?;
    }
    Ok(())
}

/// Package and name of the benches asked for.
fn pick<'w>(workspace: &'w Workspace, wanted: Option<&str>) -> Result<Vec<(&'w str, &'w str)>> {
    let all: Vec<(&str, &str)> = workspace
        .packages
        .iter()
        .flat_map(|package| {
            package.targets_of("bench").map(|bench| (package.name.as_str(), bench.name.as_str()))
        })
        .collect();
    let Some(wanted) = wanted else { return Ok(all) };
    let picked: Vec<(&str, &str)> =
        all.iter().copied().filter(|(_, bench)| *bench == wanted).collect();
    if picked.is_empty() {
        let names: Vec<&str> = all.iter().map(|(_, bench)| *bench).collect();
        let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        return Err(Failure::usage(format!("no bench `{wanted}`; there are: {names}")));
    }
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Package, Target};

    #[test]
    fn a_bench_is_picked_by_name_and_an_unknown_one_lists_the_others() {
        let bench = |name: &str| Target { name: name.to_owned(), kinds: vec!["bench".to_owned()] };
        let package = |name: &str, targets| Package {
            name: name.to_owned(),
            version: String::new(),
            published: true,
            features: Vec::new(),
            targets,
        };
        let workspace = Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
            packages: vec![
                package("a", vec![bench("fanout"), bench("latency")]),
                package("b", vec![bench("wire")]),
            ],
        };
        assert_eq!(pick(&workspace, None).unwrap().len(), 3);
        assert_eq!(pick(&workspace, Some("wire")).unwrap(), [("b", "wire")]);
        let refusal = pick(&workspace, Some("speed")).unwrap_err();
        assert_eq!(refusal.status(), 64);
        assert!(refusal.to_string().contains("fanout, latency, wire"), "{refusal}");
    }
}
