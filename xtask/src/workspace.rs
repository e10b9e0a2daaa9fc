//! The workspace as cargo describes it: where it is, and its packages with their targets and features.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    failure::{Context, Failure, Result},
    json,
    program::Program,
};

/// The workspace's folders and packages.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where cargo builds, and where chores keep what they make.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) published: bool,
    /// Feature names, `default` left out.
    pub(crate) features: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `example`, `test`, `bench`, ...
    pub(crate) kinds: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let text = Program::cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(root())
            .capture(Duration::from_secs(300))?;
        Self::from_metadata(&serde_json::from_str(&text).context("reading cargo metadata")?)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let path = |key: &str| json::text(metadata, key).map(PathBuf::from);
        Ok(Self {
            root: path("workspace_root").context("cargo metadata names no workspace_root")?,
            target: path("target_directory").context("cargo metadata names no target_directory")?,
            packages: json::list(metadata, "packages").map(Package::from_metadata).collect(),
        })
    }

    /// The packages that users get.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.published)
    }

    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .ok_or_else(|| Failure::new(format!("the workspace has no package `{name}`")))
    }
}

impl Package {
    fn from_metadata(package: &Value) -> Self {
        let text = |key: &str| json::text(package, key).unwrap_or_default().to_owned();
        let mut features: Vec<String> = package
            .get("features")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|features| features.keys().cloned())
            .filter(|name| name != "default")
            .collect();
        features.sort();
        Self {
            name: text("name"),
            version: text("version"),
            // Absent: published anywhere. An empty list of registries: nowhere.
            published: package
                .get("publish")
                .and_then(Value::as_array)
                .is_none_or(|to| !to.is_empty()),
            features,
            targets: json::list(package, "targets")
                .map(|target| Target {
                    name: json::text(target, "name").unwrap_or_default().to_owned(),
                    kinds: json::texts(target, "kind").map(ToOwned::to_owned).collect(),
                })
                .collect(),
        }
    }

    pub(crate) fn has_target(&self, kind: &str) -> bool {
        self.targets_of(kind).next().is_some()
    }

    pub(crate) fn targets_of(&self, kind: &str) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.kinds.iter().any(|own| own == kind))
    }
}

/// The workspace's folder: the one above `xtask`, which only ever runs from its own checkout.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_are_read_with_their_targets_and_features() {
        let workspace = Workspace::from_metadata(&json!({
            "workspace_root": "/w", "target_directory": "/w/target",
            "packages": [
                { "name": "lib", "version": "0.1.0", "publish": null,
                  "features": { "default": ["b"], "b": [], "a": [] },
                  "targets": [{ "name": "lib", "kind": ["lib"] }, { "name": "speed", "kind": ["bench"] }] },
                { "name": "own", "version": "0.1.0", "publish": [], "features": {},
                  "targets": [{ "name": "own", "kind": ["lib"] }] },
            ],
        }))
        .unwrap();
        let published: Vec<&str> = workspace.published().map(|p| p.name.as_str()).collect();
        assert_eq!(published, ["lib"]);
        let lib = workspace.package("lib").unwrap();
        assert_eq!(lib.features, ["a", "b"]);
        assert_eq!(lib.targets_of("bench").next().unwrap().name, "speed");
        assert!(workspace.package("absent").is_err());
    }

    #[test]
    fn this_workspace_holds_its_core() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.published().any(|package| package.name == "sinew-core"));
    }
}
