//! VirtualServices of the mesh that have one host.
//!
//! Source: istio `analyzers/virtualservice/conflictingmeshgatewayhosts.go`.

use std::collections::{BTreeMap, HashSet};

use super::Shared;
use super::codes::MESH_HOST_CONFLICT;
use super::finding::Findings;
use super::hosts::{full, overlap, scopes};
use super::mesh::Mesh;
use super::object::VIRTUAL_SERVICE;

/// By who sees it and host.
type Hosts<'a> = BTreeMap<(String, String), Vec<&'a Shared>>;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut hosts: Hosts<'_> = BTreeMap::new();
    for rule in mesh.all(VIRTUAL_SERVICE) {
        let spec = rule.spec();
        let gateways = spec.get("gateways").texts();
        if !gateways.is_empty() && !gateways.contains(&"mesh") {
            continue;
        }
        let scopes = scopes(&spec.get("exportTo").texts(), &rule.namespace);
        for (scope, host) in
            scopes.iter().flat_map(|scope| spec.get("hosts").texts().into_iter().map(move |host| (scope, host)))
        {
            hosts.entry((scope.clone(), full(&rule.namespace, host))).or_default().push(rule);
        }
    }
    let mut told = HashSet::new();
    for ((scope, host), rules) in &hosts {
        let mut all = rules.clone();
        if scope != "*" {
            let everyones = hosts.iter().filter(|((other, of), _)| other == "*" && overlap(host, of));
            all.extend(everyones.flat_map(|(_, rules)| rules));
        }
        if all.len() < 2 {
            continue;
        }
        let mut names: Vec<String> = all.iter().map(|rule| rule.full_name()).collect();
        names.sort_unstable();
        for rule in all {
            if told.insert(rule.full_name()) {
                let message = format!(
                    "The VirtualServices {} of the mesh have one host, {scope}/{host}; join them into one",
                    names.join(", ")
                );
                findings.push_at(&MESH_HOST_CONFLICT, rule, &rule.at(&["metadata", "name"]), message);
            }
        }
    }
}
