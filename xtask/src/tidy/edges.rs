//! Which crate may depend on which: the table of ARCHITECTURE.md as data.
//!
//! Invariant: an edge between our crates that is not in [`EDGES`] or
//! [`TEST_EDGES`] is a finding, and so is a crate without a row.

use super::{Finding, Workspace};

/// Each crate, and those of ours that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("mesh-model", &[]),
    ("mesh-proto", &[]),
    ("mesh-config", &["mesh-model"]),
    ("mesh-platform", &["mesh-model", "mesh-config"]),
    ("mesh-translate", &["mesh-model", "mesh-proto"]),
    ("mesh-xds", &["mesh-proto"]),
    ("mesh-engine", &["mesh-proto"]),
    ("mesh-pilot", &["mesh-model", "mesh-config", "mesh-platform", "mesh-translate", "mesh-xds", "mesh-proto"]),
    ("mesh-proxy", &["mesh-engine", "mesh-xds", "mesh-proto"]),
    ("mesh-agent", &["mesh-xds", "mesh-proto"]),
    ("pilothouse", ALL),
    ("mesh-e2e", ALL),
    ("xtask", &["mesh-proto", "mesh-xds"]),
];

/// What tests may use on top: golden translation cases are manifests, read as a
/// running control plane reads them, and say where the proxy's own engine sends a request.
const TEST_EDGES: &[(&str, &[&str])] = &[("mesh-translate", &["mesh-config", "mesh-engine", "mesh-platform"])];

const ALL: &[&str] = &[
    "mesh-agent",
    "mesh-config",
    "mesh-engine",
    "mesh-model",
    "mesh-pilot",
    "mesh-platform",
    "mesh-proto",
    "mesh-proxy",
    "mesh-translate",
    "mesh-xds",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let ours = workspace.packages();
    let packages = workspace.metadata["packages"].as_array();
    let mut findings = Vec::new();
    for package in packages.into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = row(EDGES, name) else {
            findings.push(format!("{name} has no row in xtask/src/tidy/edges.rs: say there what it may depend on"));
            continue;
        };
        let dependencies = package["dependencies"].as_array();
        for (target, test_only) in dependencies.into_iter().flatten().filter_map(edge) {
            let in_tests = test_only && row(TEST_EDGES, name).is_some_and(|more| more.contains(&target));
            if ours.contains(&target) && !allowed.contains(&target) && !in_tests {
                let kind = if test_only { "tests depend" } else { "depends" };
                findings.push(format!("{name} {kind} on {target}; it may only on {allowed:?}"));
            }
        }
    }
    findings
}

fn edge(dependency: &serde_json::Value) -> Option<(&str, bool)> {
    Some((dependency["name"].as_str()?, dependency["kind"] == "dev"))
}

fn row<'a>(table: &'a [(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, allowed)| *allowed)
}
