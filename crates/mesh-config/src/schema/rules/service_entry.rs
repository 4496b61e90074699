//! ServiceEntry: hosts, addresses, ports, and what each resolution allows.

use std::collections::HashSet;

use super::selectors::{self, Exports};
use super::text::Layer;
use super::{Report, text, workload};
use crate::schema::At;

pub(super) fn check(root: &At<'_>, report: &Report<'_>) {
    let spec = root.get("spec");
    let (selector, endpoints) = (spec.get("workloadSelector"), spec.get("endpoints"));
    selectors::older(&selector, report);
    if selector.exists() && endpoints.exists() {
        report.error(&spec, "found workloadSelector and endpoints, expected only one of them");
    }
    let resolution = match spec.get("resolution").text() {
        "" => "NONE",
        resolution => resolution,
    };
    check_hosts(&spec, resolution, report);
    check_addresses(&spec, resolution, report);
    let names = check_ports(&spec, report);
    match resolution {
        "NONE" => {
            if endpoints.exists() {
                report.error(&endpoints, "found endpoints with resolution NONE, expected none, or another resolution");
            }
            if selector.exists() {
                report.warn(&selector, "found workloadSelector with resolution NONE, which selects nothing");
            }
        }
        "STATIC" => endpoints.items().iter().for_each(|at| workload::entry(at, Some(&names), false, report)),
        "DNS" | "DNS_ROUND_ROBIN" => check_dns(&spec, resolution, &names, report),
        _ => check_dynamic(root, report),
    }
    if resolution != "NONE" && spec.get("hosts").len() > 1 {
        let plain = |port: &At<'_>| {
            !text::protocol(port.get("protocol").text()).is_some_and(|layer| layer.is_http() || layer.is_tls())
        };
        if let Some(port) = spec.get("ports").items().iter().find(|port| plain(port)) {
            report.error(port, "found a port that is neither HTTP nor TLS with several hosts, expected one host: they cannot be told apart");
        }
    }
    selectors::exports(&spec.get("exportTo"), Exports::Service, report);
}

fn check_hosts(spec: &At<'_>, resolution: &str, report: &Report<'_>) {
    for host in spec.get("hosts").items() {
        if host.text() == "*" {
            report.invalid(&host, "a host name: the hostname cannot be a wildcard alone");
        } else if !text::is_wildcard_domain(host.text()) {
            report.invalid(&host, "a host name such as a.example.com or *.example.com");
        } else if text::is_partial_wildcard(host.text()) && resolution != "DYNAMIC_DNS" {
            report.warn(&host, "found a wildcard that is a part of a label, expected *.example.com");
        }
    }
}

fn check_addresses(spec: &At<'_>, resolution: &str, report: &Report<'_>) {
    for address in spec.get("addresses").items() {
        if !text::is_subnet(address.text()) && !is_bracketed(&address) {
            report.invalid(&address, "an IP address or a range such as 10.0.0.0/8");
        } else if address.text().contains('/') && !matches!(resolution, "NONE" | "STATIC") {
            report.invalid(
                &address,
                &format!("an address without range: ranges need resolution NONE or STATIC, not {resolution}"),
            );
        }
    }
}

/// `[2001:db8::]` without quotes is a map to YAML 1.2 and an address to its author.
fn is_bracketed(at: &At<'_>) -> bool {
    at.node().is_some_and(|node| node.text().is_none())
}

fn check_ports<'a>(spec: &At<'a>, report: &Report<'_>) -> HashSet<&'a str> {
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for port in spec.get("ports").items() {
        let (name, number, protocol) = (port.get("name"), port.get("number"), port.get("protocol"));
        if !text::is_dns_label(name.text()) {
            report.invalid(&name, "a port's name: letters, digits and -");
        }
        names.insert(name.text());
        if number.int().is_some_and(|number| !numbers.insert(number)) {
            report.invalid(&number, "a port number that no other port has: it cannot be duplicated");
        }
        if !protocol.text().is_empty() && text::protocol(protocol.text()).is_none() {
            report.invalid(&protocol, "a protocol such as HTTP, HTTPS, HTTP2, GRPC, TCP or TLS");
        }
    }
    names
}

fn check_dns(spec: &At<'_>, resolution: &str, ports: &HashSet<&str>, report: &Report<'_>) {
    let endpoints = spec.get("endpoints");
    if endpoints.is_empty()
        && let Some(host) = spec.get("hosts").items().iter().find(|host| !text::is_fqdn(host.text()))
    {
        report.invalid(
            host,
            &format!("a host without wildcard, or endpoints: resolution {resolution} looks its hosts up"),
        );
    }
    if resolution == "DNS_ROUND_ROBIN" && endpoints.len() > 1 {
        report.error(
            &endpoints,
            format!("found {} endpoints with resolution DNS_ROUND_ROBIN, expected at most one", endpoints.len()),
        );
    }
    for endpoint in endpoints.items() {
        workload::looked_up(&endpoint, ports, report);
    }
    let tcp = |port: &At<'_>| text::protocol(port.get("protocol").text()).is_some_and(Layer::is_tcp);
    if !spec.get("addresses").is_empty() && spec.get("hosts").len() > 1 && spec.get("ports").items().iter().any(tcp) {
        report.warn(&spec.get("hosts"), "found several hosts with addresses and a TCP port, expected one host");
    }
}

/// Waypoints are asked for by this label.
const USE_WAYPOINT: &str = "istio.io/use-waypoint";

fn check_dynamic(root: &At<'_>, report: &Report<'_>) {
    let spec = root.get("spec");
    for host in spec.get("hosts").items().iter().filter(|host| !host.text().starts_with('*')) {
        report.invalid(host, "a host with a wildcard in front: resolution DYNAMIC_DNS looks up what clients name");
    }
    for name in ["addresses", "endpoints"].into_iter().filter(|name| !spec.get(name).is_empty()) {
        report.error(
            &spec.get(name),
            format!("found {name} with resolution DYNAMIC_DNS, expected none: the client's host name decides"),
        );
    }
    for protocol in spec.get("ports").items().iter().map(|port| port.get("protocol")) {
        let known = ["HTTP", "TLS", "GRPC", "HTTP2"];
        if !known.iter().any(|name| protocol.text().eq_ignore_ascii_case(name)) {
            report.invalid(
                &protocol,
                "HTTP, HTTP2, GRPC or TLS: resolution DYNAMIC_DNS needs a host name in the traffic",
            );
        }
    }
    let waypoint = root.path(&["metadata", "labels", USE_WAYPOINT]).text();
    let uses_waypoint = !waypoint.is_empty() && !waypoint.eq_ignore_ascii_case("none");
    if spec.get("location").text() == "MESH_INTERNAL" && uses_waypoint {
        report.error(
            &spec.get("location"),
            "found MESH_INTERNAL with resolution DYNAMIC_DNS and a waypoint, expected MESH_EXTERNAL",
        );
    }
}
