//! DestinationRules for services that are not there, and subsets of no Pod.

use std::collections::HashMap;

use mesh_model::Labels;

use super::codes::{SUBSET_WITHOUT_PODS, UNKNOWN_HOST};
use super::finding::Findings;
use super::hosts::Services;
use super::mesh::Mesh;
use super::object::{DESTINATION_RULE, NODE, Object, POD};
use super::selector;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let services = Services::of(mesh);
    let nodes: HashMap<&str, &Labels> = mesh.all(NODE).iter().map(|node| (&*node.name, &node.labels)).collect();
    let pods: Vec<Labels> = mesh.all(POD).iter().map(|pod| with_place(pod, &nodes)).collect();
    for rule in mesh.all(DESTINATION_RULE) {
        let spec = rule.spec();
        let host = spec.get("host");
        let Some(service) = services.find(&rule.namespace, &spec.get("exportTo").texts(), host.text()) else {
            let message = format!("The host {} matches no service of the mesh", host.text());
            findings.push_at(&UNKNOWN_HOST, rule, &host, message);
            continue;
        };
        for subset in spec.get("subsets").items() {
            let own = selector::labels(&subset.get("labels"));
            let wanted: Labels = service.selector.iter().chain(own.iter()).collect();
            if !pods.iter().any(|pod| wanted.selects(pod)) {
                let message =
                    format!("The subset {} selects no Pods, so its requests fail with 503", subset.get("name").text());
                findings.push_at(&SUBSET_WITHOUT_PODS, rule, &subset, message);
            }
        }
    }
}

/// A Pod's labels with those that say where it runs, which subsets may use.
fn with_place(pod: &Object, nodes: &HashMap<&str, &Labels>) -> Labels {
    let node = pod.spec().get("nodeName").text();
    let place = |name: &str| nodes.get(node).and_then(|labels| labels.get(name)).filter(|value| !value.is_empty());
    let mut pairs: Vec<(&str, &str)> = pod.labels.iter().collect();
    pairs.extend([REGION, ZONE, SUBZONE].into_iter().filter_map(|name| Some((name, place(name)?))));
    if !node.is_empty() {
        pairs.push((HOSTNAME, node));
    }
    pairs.into_iter().collect()
}
