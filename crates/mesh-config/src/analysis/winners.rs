//! Rules that compete for one thing: which wins, and why.
//!
//! Of two objects the older one wins, then the one whose name comes first. Only
//! objects that reach the same workloads are compared.

use std::collections::BTreeMap;

use super::Shared;
use super::codes::{
    Code, PEER_AUTHENTICATION_LOSES, POLICY_LOSES, ROUTE_HOST_LOSES, SERVER_LOSES, SIDECAR_LOSES, SUBSET_LOSES,
};
use super::finding::Findings;
use super::hosts::{full, scopes};
use super::mesh::Mesh;
use super::object::{DESTINATION_RULE, GATEWAY, PEER_AUTHENTICATION, SIDECAR, VIRTUAL_SERVICE};
use super::selector;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    mesh_hosts(mesh, findings);
    destination_rules(mesh, findings);
    gateways(mesh, findings);
    let whole =
        |object: &Shared, field: &str, labels: &str| selector::labels(&object.spec().path(&[field, labels])).is_empty();
    for_namespaces(mesh.all(SIDECAR), |o| whole(o, "workloadSelector", "labels"), &SIDECAR_LOSES, findings);
    for_namespaces(
        mesh.all(PEER_AUTHENTICATION),
        |o| whole(o, "selector", "matchLabels"),
        &PEER_AUTHENTICATION_LOSES,
        findings,
    );
}

/// One thing that an object claims.
struct Claim<'a> {
    object: &'a Shared,
    at: At<'a>,
}

/// The claims in the order in which they win.
fn ranked(mut claims: Vec<Claim<'_>>) -> Vec<Claim<'_>> {
    claims.sort_by(|a, b| a.object.age_order().cmp(&b.object.age_order()));
    claims
}

fn why(winner: &Shared, loser: &Shared) -> &'static str {
    if winner.created < loser.created { "it is older" } else { "both are equally old, and its name comes first" }
}

/// Reports all claims but the first.
fn report(claims: Vec<Claim<'_>>, code: &'static Code, what: &str, findings: &mut Findings) {
    let claims = ranked(claims);
    let Some((winner, losers)) = claims.split_first() else { return };
    for loser in losers.iter().filter(|loser| loser.object.full_name() != winner.object.full_name()) {
        let message = format!(
            "{what} is claimed by {} {} too, which wins: {}",
            winner.object.kind,
            winner.object.full_name(),
            why(winner.object, loser.object)
        );
        findings.push_at(code, loser.object, &loser.at, message);
    }
}

fn mesh_hosts(mesh: &Mesh, findings: &mut Findings) {
    let mut claims: BTreeMap<(String, String), Vec<Claim<'_>>> = BTreeMap::new();
    for object in mesh.all(VIRTUAL_SERVICE) {
        let spec = object.spec();
        let gateways = spec.get("gateways").texts();
        if !gateways.is_empty() && !gateways.contains(&"mesh") {
            continue;
        }
        for scope in scopes(&spec.get("exportTo").texts(), &object.namespace) {
            for at in spec.get("hosts").items() {
                let key = (scope.clone(), full(&object.namespace, at.text()));
                claims.entry(key).or_default().push(Claim { object, at });
            }
        }
    }
    for ((_, host), claims) in claims {
        report(claims, &ROUTE_HOST_LOSES, &format!("The host {host} in the mesh"), findings);
    }
}

/// Rules of one namespace for one host and all workloads are one rule: subsets
/// add up, and the first policy stays.
fn destination_rules(mesh: &Mesh, findings: &mut Findings) {
    let mut rules: BTreeMap<(String, String, Vec<String>), Vec<Claim<'_>>> = BTreeMap::new();
    for object in mesh.all(DESTINATION_RULE) {
        let spec = object.spec();
        if spec.get("workloadSelector").exists() {
            continue;
        }
        let scopes = scopes(&spec.get("exportTo").texts(), &object.namespace);
        let key = (object.namespace.to_string(), full(&object.namespace, spec.get("host").text()), scopes);
        rules.entry(key).or_default().push(Claim { object, at: spec });
    }
    for ((_, host, _), claims) in rules.into_iter().filter(|(_, claims)| claims.len() > 1) {
        let claims = ranked(claims);
        let policy = |claim: &Claim<'_>| claim.at.get("trafficPolicy").exists();
        let policies =
            claims.iter().filter(|c| policy(c)).map(|c| Claim { object: c.object, at: c.at.get("trafficPolicy") });
        report(policies.collect(), &POLICY_LOSES, &format!("The traffic policy of {host}"), findings);
        let mut subsets: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
        for (object, at) in claims.iter().flat_map(|c| c.at.get("subsets").items().into_iter().map(|at| (c.object, at)))
        {
            subsets.entry(at.get("name").text()).or_default().push(Claim { object, at });
        }
        for (name, claims) in subsets {
            report(claims, &SUBSET_LOSES, &format!("The subset {name} of {host}"), findings);
        }
    }
}

/// Servers of one workload, by selector, port, address and host.
fn gateways(mesh: &Mesh, findings: &mut Findings) {
    let mut claims: BTreeMap<(String, i64, &str, &str), Vec<Claim<'_>>> = BTreeMap::new();
    for object in mesh.all(GATEWAY) {
        let selector = selector::text(&selector::labels(&object.spec().get("selector")));
        for server in object.spec().get("servers").items() {
            let port = server.path(&["port", "number"]).int().unwrap_or(0);
            for at in server.get("hosts").items() {
                let key = (selector.clone(), port, server.get("bind").text(), at.text());
                claims.entry(key).or_default().push(Claim { object, at });
            }
        }
    }
    for ((_, port, _, host), claims) in claims {
        report(claims, &SERVER_LOSES, &format!("The host {host} on port {port} of these gateways"), findings);
    }
}

/// Objects for all workloads of a namespace, of which one is used.
fn for_namespaces(
    objects: &[Shared],
    is_whole: impl Fn(&Shared) -> bool,
    code: &'static Code,
    findings: &mut Findings,
) {
    let mut claims: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for object in objects.iter().filter(|object| is_whole(object)) {
        let at = object.at(&["metadata", "name"]);
        claims.entry(&object.namespace).or_default().push(Claim { object, at });
    }
    for (namespace, claims) in claims {
        report(claims, code, &format!("The whole of namespace {namespace}"), findings);
    }
}
