//! Destinations of VirtualServices: services that exist, with a port that is
//! clear, and subsets that an ingress bypasses.

use super::Shared;
use super::codes::{NO_EFFECT_ON_INGRESS, NOT_FOUND, PORT_REQUIRED};
use super::finding::Findings;
use super::hosts::Services;
use super::mesh::Mesh;
use super::object::VIRTUAL_SERVICE;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let services = Services::of(mesh);
    let by_subset = by_subset(mesh);
    for rule in mesh.all(VIRTUAL_SERVICE) {
        for (destination, is_mirror) in destinations(rule) {
            check(rule, &destination, is_mirror, &services, findings);
        }
        bypassed(rule, &by_subset, findings);
    }
}

/// All destinations of a rule, and whether each is a mirror.
pub(super) fn destinations(rule: &Shared) -> Vec<(At<'_>, bool)> {
    let spec = rule.spec();
    let rules = ["tcp", "tls", "http"].iter().flat_map(|name| spec.get(name).items());
    let routes = rules.flat_map(|rule| rule.get("route").items()).map(|route| (route.get("destination"), false));
    let mirrors = spec.get("http").items().into_iter().flat_map(|http| {
        let one = Some(http.get("mirror")).filter(At::exists);
        one.into_iter().chain(http.get("mirrors").items().into_iter().map(|mirror| mirror.get("destination")))
    });
    routes.chain(mirrors.map(|mirror| (mirror, true))).collect()
}

fn check(rule: &Shared, destination: &At<'_>, is_mirror: bool, services: &Services, findings: &mut Findings) {
    let host = destination.get("host");
    let export_to = rule.spec().get("exportTo").texts();
    let Some(service) = services.find(&rule.namespace, &export_to, host.text()) else {
        let what = if is_mirror { "mirror host" } else { "host" };
        return findings.push_at(&NOT_FOUND, rule, &host, format!("Referenced {what} not found: {:?}", host.text()));
    };
    let port = destination.get("port");
    if !port.exists() {
        if service.ports.len() > 1 {
            let ports: Vec<String> = service.ports.iter().map(i64::to_string).collect();
            let message = format!(
                "The service {} has several ports ({}); name the one that is meant",
                host.text(),
                ports.join(", ")
            );
            findings.push_at(&PORT_REQUIRED, rule, &host, message);
        }
        return;
    }
    let number = port.get("number").int().unwrap_or(0);
    if !service.ports.contains(&number) {
        let message = format!("Referenced host:port not found: \"{}:{number}\"", host.text());
        findings.push_at(&NOT_FOUND, rule, &port, message);
    }
}

/// Hosts that a rule for this very host sends to a subset, with the rule.
fn by_subset(mesh: &Mesh) -> Vec<(&Shared, String)> {
    let mut found = Vec::new();
    for rule in mesh.all(VIRTUAL_SERVICE) {
        let hosts = rule.spec().get("hosts").texts();
        for route in rule.spec().get("http").items().iter().flat_map(|http| http.get("route").items()) {
            let destination = route.get("destination");
            let host = destination.get("host").text();
            if !destination.get("subset").text().is_empty() && hosts.contains(&host) {
                found.push((rule, host.to_owned()));
            }
        }
    }
    found
}

/// A gateway goes to the host itself, past the rule that spreads its subsets.
fn bypassed(rule: &Shared, by_subset: &[(&Shared, String)], findings: &mut Findings) {
    if rule.spec().get("gateways").is_empty() {
        return;
    }
    for route in rule.spec().get("http").items().iter().flat_map(|http| http.get("route").items()) {
        let destination = route.get("destination");
        if !destination.get("subset").text().is_empty() {
            continue;
        }
        let host = destination.get("host");
        for (other, _) in by_subset.iter().filter(|(_, of)| of == host.text()) {
            let message = format!(
                "The subsets of VirtualService {} have no effect on requests through the gateway of {}",
                other.full_name(),
                rule.full_name()
            );
            findings.push_at(&NO_EFFECT_ON_INGRESS, rule, &host, message);
        }
    }
}
