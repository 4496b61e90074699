//! ServiceEntries that name different protocols for one host's port.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Shared;
use super::codes::PROTOCOL_CONFLICT;
use super::finding::Findings;
use super::hosts::scopes;
use super::mesh::Mesh;
use super::object::SERVICE_ENTRY;

/// By who sees it, host and port.
type Ports<'a> = BTreeMap<(String, &'a str, i64), Vec<(String, &'a Shared)>>;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut ports: Ports<'_> = BTreeMap::new();
    for entry in mesh.all(SERVICE_ENTRY) {
        let spec = entry.spec();
        for scope in scopes(&spec.get("exportTo").texts(), &entry.namespace) {
            for (host, port) in spec
                .get("hosts")
                .texts()
                .iter()
                .flat_map(|host| spec.get("ports").items().into_iter().map(move |port| (*host, port)))
            {
                let key = (scope.clone(), host, port.get("number").int().unwrap_or(0));
                ports.entry(key).or_default().push((port.get("protocol").text().to_ascii_uppercase(), entry));
            }
        }
    }
    let mut told = HashSet::new();
    for ((scope, host, port), entries) in &ports {
        let mut all: Vec<&(String, &Shared)> = entries.iter().collect();
        if scope != "*" {
            all.extend(ports.get(&("*".to_owned(), *host, *port)).into_iter().flatten());
        }
        let protocols: BTreeSet<&str> = all.iter().map(|(protocol, _)| &**protocol).collect();
        if protocols.len() < 2 {
            continue;
        }
        let names: BTreeSet<String> = all.iter().map(|(_, entry)| entry.full_name()).collect();
        let (names, protocols) = (join(names.iter().map(String::as_str)), join(protocols.into_iter()));
        for (_, entry) in all {
            if told.insert(entry.full_name()) {
                let message = format!(
                    "The ServiceEntries {names} name different protocols ({protocols}) for port {port} of {host}"
                );
                findings.push_at(&PROTOCOL_CONFLICT, entry, &entry.at(&["metadata", "name"]), message);
            }
        }
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
