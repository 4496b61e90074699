//! Deployments whose Services disagree about a port.

use std::collections::BTreeMap;

use mesh_model::Labels;

use super::codes::{PORTS_OF_DEPLOYMENT, PROTOCOLS_OF_DEPLOYMENT};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, SERVICE};
use super::{Shared, injected, selector};
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for deployment in mesh.all(DEPLOYMENT) {
        let is_waypoint = deployment.labels.get("gateway.istio.io/managed") == Some("istio.io-mesh-controller");
        if !is_waypoint && injected::deployment(deployment, mesh) {
            let services = services(deployment, mesh);
            protocols(deployment, &services, findings);
            targets(deployment, &services, findings);
        }
    }
}

/// The Services that select the Deployment's Pods.
fn services<'a>(deployment: &Shared, mesh: &'a Mesh) -> Vec<&'a Shared> {
    let pods: Labels = deployment.at(&["spec", "template", "metadata", "labels"]).pairs().into_iter().collect();
    let selects = |service: &&Shared| {
        let selector = selector::labels(&service.spec().get("selector"));
        service.namespace == deployment.namespace && !selector.is_empty() && selector.selects(&pods)
    };
    mesh.all(SERVICE).iter().filter(selects).collect()
}

fn ports<'a>(services: &[&'a Shared]) -> Vec<(&'a Shared, At<'a>)> {
    let of = |service: &'a Shared| service.spec().get("ports").items().into_iter().map(move |port| (service, port));
    services.iter().flat_map(|service| of(service)).collect()
}

fn protocols(deployment: &Shared, services: &[&Shared], findings: &mut Findings) {
    let mut by_port: BTreeMap<i64, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for (service, port) in ports(services) {
        let protocol = Some(port.get("protocol").text()).filter(|p| !p.is_empty()).unwrap_or("TCP");
        let number = port.get("port").int().unwrap_or(0);
        by_port.entry(number).or_default().entry(protocol).or_default().push(service.full_name());
    }
    for (port, protocols) in by_port.iter().filter(|(_, protocols)| protocols.len() > 1) {
        let mut names: Vec<&str> = protocols.values().flatten().map(String::as_str).collect();
        names.sort_unstable();
        let kinds: Vec<&str> = protocols.keys().copied().collect();
        let message = format!(
            "Deployment {} has services that use port {port} with different protocols ({}): {}",
            deployment.name,
            kinds.join(", "),
            names.join(", ")
        );
        findings.push_at(&PROTOCOLS_OF_DEPLOYMENT, deployment, &deployment.at(&["metadata", "name"]), message);
    }
}

fn targets(deployment: &Shared, services: &[&Shared], findings: &mut Findings) {
    let mut by_target: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for (service, port) in ports(services) {
        let number = port.get("port").int().unwrap_or(0);
        let target = port.get("targetPort");
        let target = match target.int() {
            Some(0) => number.to_string(),
            Some(target) => target.to_string(),
            None if target.text().is_empty() => number.to_string(),
            None => target.text().to_owned(),
        };
        by_target.entry(target).or_default().insert(number, service.full_name());
    }
    for (target, ports) in by_target.iter().filter(|(_, ports)| ports.len() > 1) {
        let mut names: Vec<&str> = ports.values().map(String::as_str).collect();
        names.sort_unstable();
        let numbers: Vec<String> = ports.keys().map(i64::to_string).collect();
        let message = format!(
            "Deployment {} has services {} that lead to target port {target:?} by different ports: {}",
            deployment.name,
            names.join(", "),
            numbers.join(", ")
        );
        findings.push_at(&PORTS_OF_DEPLOYMENT, deployment, &deployment.at(&["metadata", "name"]), message);
    }
}
