//! Istio's own cases of the Kubernetes Gateway API, read in place where they lie
//! beside the workspace, and skipped where they do not: objects in, and compared
//! by meaning what Istio makes of them (Gateways, VirtualServices,
//! DestinationRules) and what it tells their authors (conditions by type, status
//! and reason; kinds and numbers of routes).

#![allow(clippy::unwrap_used)]

use std::path::Path;

mod gateway_api {
    pub(crate) mod expected;
    pub(crate) mod preset;
    pub(crate) mod statuses;
}

use gateway_api::{expected, preset, statuses};

#[test]
fn istios_cases_of_the_gateway_api_mean_here_what_they_mean_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio/gateway-api");
    if !root.is_dir() {
        eprintln!("skipped: {} is not there", root.display());
        return;
    }
    let mut names: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    let (mut failures, mut held) = (Vec::new(), 0);
    for name in &names {
        if let Some((_, why)) = SKIPPED.iter().find(|(skipped, _)| skipped == name) {
            eprintln!("skipped: {name}: {why}");
            continue;
        }
        let text = |suffix: &str| std::fs::read_to_string(root.join(format!("{name}{suffix}"))).unwrap();
        let found = check(&text(".yaml"), &text(".yaml.golden"), &text(".status.yaml.golden"));
        let found: Vec<String> = found.into_iter().filter(|problem| !is_known(name, problem)).collect();
        held += usize::from(found.is_empty());
        failures.extend(found.into_iter().map(|text| format!("{name}: {text}")));
    }
    assert!(failures.is_empty(), "{held} of {} hold\n{}", names.len(), failures.join("\n"));
    assert!(held >= CASES_MIN, "only {held} cases were found");
}

fn check(input: &str, rules: &str, status: &str) -> Vec<String> {
    let (world, mut problems) = preset::world(input);
    problems.extend(expected::compare(&world, rules));
    problems.extend(statuses::compare(&world, status));
    problems
}

fn is_known(name: &str, problem: &str) -> bool {
    DIFFERENCES.iter().any(|(case, part, _)| *case == name && problem.contains(part))
}

/// Where we say something else, and why.
const DIFFERENCES: [(&str, &str, &str); 1] = [(
    "mix-backend-policy",
    "BackendTLSPolicy default/tls-upstream-echo-extra",
    "the API demands Conflicted of the younger policy; Istio tells policies apart by uid, which the case leaves out",
)];

/// Cases about what the mesh does not have.
const SKIPPED: [(&str, &str); 3] = [
    ("east-west-ambient", "gateways between networks of the ambient mode"),
    ("waypoint", "waypoints"),
    ("xbackend", "XBackend, an experiment of the Gateway API"),
];

/// Fewer cases than this were lost, not removed.
const CASES_MIN: usize = 30;
