//! Who reaches whom: the dependency graph as cargo resolves it, and what must not be reached.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;
use crate::{failure::Result, json, workspace::metadata};

/// Broker clients: who depends on a pattern compiles none of them.
const CLIENTS: &[&str] = &["async-nats", "lapin", "sled", "tonic", "zeromq"];

const ADAPTERS: &str = "sinew-adapter-";

/// The crates that carry a pattern; the later ones are named before they are there.
const PATTERNS: &[&str] = &["sinew-beat", "sinew-dispatch", "sinew-events"];

/// All that a user of `core` compiles.
const CORE_IS: &[&str] = &["bytes", "futures-core", "sinew-core"];

/// Which package depends on which, tests and examples left out.
pub(super) struct Graph {
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    pub(super) fn of_workspace() -> Result<Self> {
        Ok(Self::from_metadata(&metadata(&[])?))
    }

    fn from_metadata(metadata: &Value) -> Self {
        let text =
            |object: &Value, key: &str| json::text(object, key).unwrap_or_default().to_owned();
        let names = json::list(metadata, "packages")
            .map(|package| (text(package, "id"), text(package, "name")))
            .collect();
        let nodes = metadata.get("resolve").map(|resolve| json::list(resolve, "nodes"));
        let edges = nodes
            .into_iter()
            .flatten()
            .map(|node| {
                let needed = json::list(node, "deps").filter(|dependency| {
                    json::list(dependency, "dep_kinds")
                        .any(|kind| json::text(kind, "kind") != Some("dev"))
                });
                (text(node, "id"), needed.map(|dependency| text(dependency, "pkg")).collect())
            })
            .collect();
        Self { names, edges }
    }

    /// What reaches something that it must not.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (id, name) in &self.names {
            let allowed = |reached: &str| match name.as_str() {
                "sinew-core" => CORE_IS.contains(&reached),
                name if PATTERNS.contains(&name) => {
                    !CLIENTS.contains(&reached) && !reached.starts_with(ADAPTERS)
                }
                _ => true,
            };
            for reached in self.reached_from(id).into_iter().filter(|reached| !allowed(reached)) {
                let folder = name.trim_start_matches("sinew-");
                let message = format!("`{name}` must not reach `{reached}`");
                findings.push(Finding::new(&format!("crates/{folder}/Cargo.toml"), 0, message));
            }
        }
        findings
    }

    /// The names of all that `id` compiles, itself included.
    fn reached_from<'g>(&'g self, id: &'g str) -> BTreeSet<&'g str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.edges.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        seen.into_iter().filter_map(|id| self.names.get(id)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A graph of `(package, depends on, kind)`; each package's id is its name.
    fn graph(edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let names: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        let nodes = names.iter().map(|name| {
            let deps = edges
                .iter()
                .filter(|(from, _, _)| from == name)
                .map(|(_, to, kind)| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] }));
            json!({ "id": name, "deps": deps.collect::<Vec<_>>() })
        });
        Graph::from_metadata(&json!({
            "packages": names.iter().map(|name| json!({ "id": name, "name": name })).collect::<Vec<_>>(),
            "resolve": { "nodes": nodes.collect::<Vec<_>>() },
        }))
    }

    fn messages(edges: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        graph(edges).findings().into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_pattern_that_reaches_a_client_through_others_is_found() {
        let found = messages(&[
            ("sinew-beat", "helper", None),
            ("helper", "sinew-adapter-nats", None),
            ("sinew-adapter-nats", "async-nats", None),
        ]);
        assert_eq!(
            found,
            [
                "`sinew-beat` must not reach `async-nats`",
                "`sinew-beat` must not reach `sinew-adapter-nats`",
            ]
        );
    }

    #[test]
    fn tests_of_a_pattern_may_use_an_adapter_and_adapters_their_client() {
        let found = messages(&[
            ("sinew-beat", "sinew-core", None),
            ("sinew-beat", "sinew-adapter-nats", Some("dev")),
            ("sinew-adapter-nats", "async-nats", None),
            ("sinew-core", "bytes", None),
            ("sinew-core", "futures-core", None),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_third_crate_under_core_is_found_however_deep() {
        let found = messages(&[("sinew-core", "bytes", None), ("bytes", "serde", None)]);
        assert_eq!(found, ["`sinew-core` must not reach `serde`"]);
    }

    #[test]
    fn a_dependency_of_a_build_script_counts() {
        assert_eq!(messages(&[("sinew-events", "tonic", Some("build"))]).len(), 1);
    }
}
