//! VirtualService.

mod route;

use std::collections::HashMap;

use super::selectors::{self, Exports};
use super::unreachable::{self, Finding};
use super::{Report, text};
use crate::schema::At;

const MESH: &str = "mesh";
/// Wildcards of one rule that every host of it is compared with.
const WILDCARDS_MAX: usize = 1_000;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    let hosts = spec.get("hosts");
    let is_delegate = hosts.is_empty();
    let gateways = spec.get("gateways");
    if is_delegate {
        for name in ["gateways", "tls", "tcp"] {
            if !spec.get(name).is_empty() {
                report.error(
                    &spec.get(name),
                    format!("found {name} in a delegate (it has no hosts), expected http only"),
                );
            }
        }
    }
    gateway_names(&gateways, report);
    let for_gateway = !gateways.is_empty() && !gateways.texts().contains(&MESH);
    if !for_gateway {
        no_claims(spec, report);
    }
    check_hosts(spec, for_gateway, report);
    if ["http", "tcp", "tls"].iter().all(|name| spec.get(name).is_empty()) {
        report.missing(spec, "one of http, tcp and tls");
    }
    for http in spec.get("http").items() {
        route::http(&http, is_delegate, report);
    }
    for tls in spec.get("tls").items() {
        check_tls(&tls, &hosts.texts(), for_gateway, report);
    }
    for tcp in spec.get("tcp").items() {
        for matched in tcp.get("match").items() {
            l4_match(&matched, report);
        }
        l4_routes(&tcp, report);
    }
    selectors::exports(&spec.get("exportTo"), Exports::Rule, report);
    for finding in unreachable::find(spec) {
        match finding {
            Finding::Rule { at, rule, reason } => report.warn(&at, format!("rule {rule} is never used: {reason}")),
            Finding::Match { at, rule, name, before } => {
                report.warn(
                    &at,
                    format!("match {name} of rule {rule} is never used: {before} takes all that it matches"),
                );
            }
        }
    }
}

/// Names of gateways: `mesh`, `name`, or `namespace/name`.
pub(super) fn gateway_names(gateways: &At<'_>, report: &Report<'_>) {
    for item in gateways.items() {
        match item.text().split_once('/') {
            None => {
                if let Some((name, rest)) = item.text().split_once('.') {
                    let namespace = rest.split('.').next().unwrap_or_default();
                    report
                        .warn(&item, format!("found the older form of a gateway's name, expected {namespace}/{name}"));
                }
                if !text::is_fqdn(item.text()) {
                    report.invalid(&item, "mesh, a gateway's name, or namespace/name");
                }
            }
            Some((namespace, name)) => {
                if !text::is_dns_label(namespace) || !text::is_dns_label(name) {
                    report.invalid(&item, "mesh, a gateway's name, or namespace/name");
                }
            }
        }
    }
}

/// Claims of a token are known to gateways only.
fn no_claims(spec: &At<'_>, report: &Report<'_>) {
    for matched in spec.get("http").items().iter().flat_map(|http| http.get("match").items()) {
        for (name, at) in ["headers", "withoutHeaders"].iter().flat_map(|field| matched.get(field).entries()) {
            if text::is_jwt_claim(name) {
                report.error(
                    &at,
                    format!("found {name}, expected it in a rule for gateways only: the mesh does not route by claims"),
                );
            }
        }
    }
}

fn check_hosts(spec: &At<'_>, for_gateway: bool, report: &Report<'_>) {
    let items = spec.get("hosts").items();
    let by_sni =
        spec.get("tls").items().iter().flat_map(|tls| tls.get("match").items()).any(|m| !m.get("sniHosts").is_empty());
    let mut all_right = true;
    for item in &items {
        let right = text::is_wildcard_domain(item.text())
            || text::is_ip(item.text())
            || (for_gateway && by_sni && is_generated_sni(item.text()));
        if !right {
            report.invalid(item, "a host name such as reviews, a.example.com or *.example.com, or an IP address");
        } else if item.text() == "*" && !for_gateway {
            report.invalid(item, "a narrower host: * is not allowed for the gateway mesh");
        }
        all_right &= right && (for_gateway || item.text() != "*");
    }
    if all_right {
        overlaps(&items, report);
    }
}

/// Reports hosts that stand twice and hosts that a wildcard takes in. Linear but
/// for the wildcards, which are bounded.
fn overlaps(items: &[At<'_>], report: &Report<'_>) {
    let mut exact: HashMap<&str, &At<'_>> = HashMap::new();
    let wildcards: Vec<&At<'_>> =
        items.iter().filter(|item| item.text().starts_with('*')).take(WILDCARDS_MAX).collect();
    let say = |item: &At<'_>, other: &str| {
        report.error(item, format!("found {} beside {other}, expected hosts that do not overlap", item.text()));
    };
    for item in items {
        let covers = |other: &&&At<'_>| other.field() != item.field() && overlap(item.text(), other.text());
        match wildcards.iter().find(covers) {
            Some(other) => say(item, other.text()),
            None if exact.insert(item.text(), item).is_some() => say(item, item.text()),
            None => {}
        }
    }
}

/// Whether some name is meant by both hosts; a wildcard is `*` and a suffix.
fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(a), None) => b.ends_with(a),
        (None, Some(b)) => a.ends_with(b),
        (None, None) => a == b,
    }
}

/// `outbound_.80_._.host`: what sidecars put into SNI towards an east-west
/// gateway.
fn is_generated_sni(text: &str) -> bool {
    let parts: Vec<&str> = text.split('_').collect();
    parts.len() >= 4
        && parts[0] == "outbound"
        && parts[1].contains(|c: char| c.is_ascii_digit())
        && parts[3].contains(|c: char| c.is_ascii_alphabetic())
}

fn check_tls(tls: &At<'_>, hosts: &[&str], for_gateway: bool, report: &Report<'_>) {
    if tls.get("match").is_empty() {
        report.missing(&tls.get("match"), "at least one match");
    }
    for matched in tls.get("match").items() {
        if matched.get("sniHosts").is_empty() {
            report.missing(&matched.get("sniHosts"), "at least one host");
        }
        for sni in matched.get("sniHosts").items() {
            sni_host(&sni, hosts, for_gateway, report);
        }
        l4_match(&matched, report);
    }
    l4_routes(tls, report);
}

fn sni_host(sni: &At<'_>, hosts: &[&str], for_gateway: bool, report: &Report<'_>) {
    let host = sni.text();
    let is_host = text::is_wildcard_domain(host) || (for_gateway && is_generated_sni(host));
    if !is_host {
        match text::is_ip(host) {
            true => report.warn(sni, "found an IP address, expected a name: clients send no addresses as SNI"),
            false => report.invalid(sni, "a host name"),
        }
        return;
    }
    let covers = |of: &&str| match of.strip_prefix('*') {
        Some(suffix) => host.strip_prefix('*').unwrap_or(host).ends_with(suffix),
        None => *of == host,
    };
    if !hosts.iter().any(covers) {
        report.invalid(sni, &format!("a host that one of the rule's hosts covers: {}", shown(hosts)));
    }
}

fn shown(hosts: &[&str]) -> String {
    let rest = if hosts.len() > HOSTS_SHOWN { ", ..." } else { "" };
    format!("{}{rest}", hosts[..hosts.len().min(HOSTS_SHOWN)].join(", "))
}
const HOSTS_SHOWN: usize = 5;

fn l4_match(matched: &At<'_>, report: &Report<'_>) {
    for subnet in matched.get("destinationSubnets").items() {
        if !text::is_subnet(subnet.text()) {
            report.invalid(&subnet, "an IP address or a range such as 10.0.0.0/8");
        }
    }
    match_scope(matched, report);
}

/// Conditions that all kinds of match have.
pub(super) fn match_scope(matched: &At<'_>, report: &Report<'_>) {
    let port = matched.get("port");
    if port.int().is_some_and(|port| port != 0) {
        report.port(&port);
    }
    report.label_map(&matched.get("sourceLabels"));
    gateway_names(&matched.get("gateways"), report);
}

fn l4_routes(rule: &At<'_>, report: &Report<'_>) {
    let routes = rule.get("route").items();
    if routes.is_empty() {
        report.missing(&rule.get("route"), "at least one destination");
    }
    for route in &routes {
        destination(&route.get("destination"), report);
    }
    weights(&rule.get("route"), report);
}

/// A destination: host, subset and port.
pub(super) fn destination(at: &At<'_>, report: &Report<'_>) {
    if !at.exists() {
        return;
    }
    let host = at.get("host");
    if host.text() == "*" || !text::is_wildcard_domain(host.text()) {
        report.invalid(&host, "a host name such as reviews or a.example.com");
    }
    let subset = at.get("subset");
    if !subset.text().is_empty() && !text::is_dns_label(subset.text()) {
        report.invalid(&subset, "the name of a subset: letters, digits and -");
    }
    if at.get("port").exists() {
        report.port(&at.path(&["port", "number"]));
    }
}

/// Weights are not negative, and something is left to choose.
pub(super) fn weights(routes: &At<'_>, report: &Report<'_>) {
    let items = routes.items();
    let mut total: i64 = 0;
    for weight in items.iter().map(|route| route.get("weight")) {
        let value = weight.int().unwrap_or(0);
        if value < 0 {
            report.invalid(&weight, "a weight of 0 or more");
        }
        total += value;
    }
    if items.len() > 1 && total == 0 {
        report.error(routes, "found weights that add up to 0, expected some weight");
    }
    if total > i64::from(i32::MAX) {
        report.error(routes, format!("found weights that add up to {total}, expected at most {}", i32::MAX));
    }
}
