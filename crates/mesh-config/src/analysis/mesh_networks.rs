//! Registries of MeshNetworks that do not exist.

use std::collections::HashSet;
use std::sync::Arc;

use super::Object;
use super::codes::UNKNOWN_REGISTRY;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::SECRET;
use crate::yaml::{self, Node};

/// Secrets with this label hold the keys of further clusters, by their names.
const CLUSTERS: &str = "istio/multiCluster";
/// Registries that are always there.
const BUILT_IN: [&str; 3] = ["Kubernetes", "External", "Mock"];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let secrets = mesh.all(SECRET).iter().filter(|secret| secret.labels.get(CLUSTERS) == Some("true"));
    let mut known: HashSet<&str> = BUILT_IN.into_iter().collect();
    let data: Vec<_> = secrets.flat_map(|secret| [secret.at(&["data"]), secret.at(&["stringData"])]).collect();
    known.extend(data.iter().flat_map(|data| data.entries()).map(|(cluster, _)| cluster));
    let networks = mesh.networks();
    let object = Arc::new(object(mesh));
    for (name, network) in networks.get("networks").entries() {
        for endpoint in network.get("endpoints").items() {
            let registry = endpoint.get("fromRegistry");
            if registry.exists() && !known.contains(registry.text()) {
                let message = format!("Unknown service registry {} in network {name}", registry.text());
                findings.push_at(&UNKNOWN_REGISTRY, &object, &registry, message);
            }
        }
    }
}

/// MeshNetworks has no object of its own: it stands for itself.
fn object(mesh: &Mesh) -> Object {
    Object {
        group: "".into(),
        kind: "MeshNetworks".into(),
        api_version: "".into(),
        namespace: mesh.system_namespace().clone(),
        name: "meshnetworks".into(),
        labels: Default::default(),
        annotations: Default::default(),
        created: 0,
        file: "".into(),
        cluster: "".into(),
        root: mesh.networks().node().cloned().unwrap_or(Node { value: yaml::Value::Null, line: 1, column: 1 }),
    }
}
