//! Subsets that no DestinationRule defines.

use std::collections::HashSet;

use super::codes::NOT_FOUND;
use super::destination_hosts::destinations;
use super::finding::Findings;
use super::hosts::resource;
use super::mesh::Mesh;
use super::object::{DESTINATION_RULE, VIRTUAL_SERVICE};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut defined: HashSet<(&str, &str, &str)> = HashSet::new();
    for rule in mesh.all(DESTINATION_RULE) {
        let spec = rule.spec();
        let (namespace, name) = resource(&rule.namespace, spec.get("host").text());
        defined.extend(spec.get("subsets").items().iter().map(|subset| (namespace, name, subset.get("name").text())));
    }
    for rule in mesh.all(VIRTUAL_SERVICE) {
        for (destination, is_mirror) in destinations(rule) {
            let (host, subset) = (destination.get("host"), destination.get("subset"));
            let (namespace, name) = resource(&rule.namespace, host.text());
            if !subset.text().is_empty() && !defined.contains(&(namespace, name, subset.text())) {
                let what = if is_mirror { "mirror+subset" } else { "host+subset" };
                let message =
                    format!("Referenced {what} in destinationrule not found: \"{}+{}\"", host.text(), subset.text());
                findings.push_at(&NOT_FOUND, rule, &subset, message);
            }
        }
    }
}
