//! The crates that decide must not be able to act: no runtime, no sockets, no
//! clock.
//!
//! Two looks: the dependencies they name, and calls that read the clock or
//! touch the world in their sources. `mesh-xds` is let off inside `transport`.

use super::{Finding, Workspace};

/// The crates in which nothing may act, and the folder that is let off.
const PURE: &[(&str, Option<&str>)] = &[
    ("mesh-model", None),
    ("mesh-config", None),
    ("mesh-translate", None),
    ("mesh-engine", None),
    ("mesh-xds", Some("transport")),
];

/// Dependencies by which a crate could act.
const ACTING_CRATES: &[&str] =
    &["axum", "h2", "hickory-resolver", "hyper", "hyper-util", "nix", "notify", "socket2", "tokio", "tonic"];

/// Calls that read the clock, draw entropy or touch the world.
const ACTING_CALLS: &[&str] = &[
    "Instant::now(",
    "SystemTime::now(",
    "tokio::",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::fs::",
    "rand::rng(",
    "thread_rng(",
    "from_os_rng(",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, exempt) in PURE {
        if exempt.is_none() {
            findings.extend(dependencies(workspace, name));
        }
        findings.extend(calls(workspace, name, *exempt));
    }
    findings
}

fn dependencies(workspace: &Workspace, name: &str) -> Vec<Finding> {
    let packages = workspace.metadata["packages"].as_array();
    let package = packages.into_iter().flatten().find(|p| p["name"] == name);
    let list = package.and_then(|p| p["dependencies"].as_array());
    list.into_iter()
        .flatten()
        .filter(|d| d["kind"] != "dev")
        .filter_map(|d| d["name"].as_str())
        .filter(|d| ACTING_CRATES.contains(d))
        .map(|d| format!("{name} depends on {d}; what decides must be plain code on values"))
        .collect()
}

fn calls(workspace: &Workspace, name: &str, exempt: Option<&str>) -> Vec<Finding> {
    let sources = format!("crates/{name}/src");
    let exempt = exempt.map(|folder| format!("{sources}/{folder}"));
    let mut findings = Vec::new();
    for (path, text) in workspace.sources.iter().filter(|(path, _)| path.starts_with(&sources)) {
        let shown = path.to_string_lossy();
        if exempt.as_ref().is_some_and(|e| shown.starts_with(e.as_str())) || is_test_file(&shown) {
            continue;
        }
        for (number, line) in code_lines(text) {
            if let Some(call) = ACTING_CALLS.iter().find(|call| line.contains(**call)) {
                findings.push(format!("{shown}:{number}: `{call}` in a crate that decides; pass the value in instead"));
            }
        }
    }
    findings
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// Lines that are code, with their numbers: neither comments nor the test module that ends a file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}
