//! Services that differ from one cluster to another.

use std::collections::{BTreeMap, BTreeSet};

use super::Shared;
use super::codes::INCONSISTENT_SERVICE;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::SERVICE;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut by_name: BTreeMap<String, Vec<&Shared>> = BTreeMap::new();
    for service in mesh.all(SERVICE).iter().filter(|service| !service.cluster.is_empty()) {
        by_name.entry(service.full_name()).or_default().push(service);
    }
    for (name, services) in by_name {
        let Some((first, others)) = services.split_first() else { continue };
        let reasons: BTreeSet<&str> = others.iter().flat_map(|other| differences(first, other)).collect();
        if reasons.is_empty() {
            continue;
        }
        let clusters: BTreeSet<&str> = services.iter().map(|service| &*service.cluster).collect();
        let message = format!(
            "The service {name} is not the same in the clusters {}: {}",
            clusters.into_iter().collect::<Vec<_>>().join(", "),
            reasons.into_iter().collect::<Vec<_>>().join("; ")
        );
        findings.push(&INCONSISTENT_SERVICE, first, message);
    }
}

fn differences(a: &Shared, b: &Shared) -> Vec<&'static str> {
    let text = |service: &Shared, name: &str| service.spec().get(name).text().to_owned();
    let headless = |service: &Shared| text(service, "clusterIP") == "None";
    let ports = |service: &Shared| {
        let mut ports: Vec<String> = service
            .spec()
            .get("ports")
            .items()
            .iter()
            .filter_map(|port| Some(port.node()?.to_json().to_string()))
            .collect();
        ports.sort_unstable();
        ports
    };
    let mut found = Vec::new();
    if headless(a) != headless(b) {
        found.push("it is headless in some");
    }
    if text(a, "type") != text(b, "type") {
        found.push("its types differ");
    }
    if ports(a) != ports(b) {
        found.push("its ports differ");
    }
    found
}
