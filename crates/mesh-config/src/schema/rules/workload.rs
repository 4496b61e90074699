//! WorkloadEntry, the endpoints of a ServiceEntry, and WorkloadGroup.

use std::collections::HashSet;

use super::text::UNIX;
use super::{Report, text};
use crate::schema::At;

/// One workload. `ports`: the names that its service has, if it stands in one;
/// `may_be_name`: its address may be a host name.
pub(super) fn entry(at: &At<'_>, ports: Option<&HashSet<&str>>, may_be_name: bool, report: &Report<'_>) {
    let address = at.get("address");
    if address.text().is_empty() {
        if at.get("network").text().is_empty() {
            return report.missing(&address, "an address, or a network: an address is required");
        }
        report.warn(&address, "found no address, so the workload is reached through its network's gateway only");
    }
    match address.text().strip_prefix(UNIX) {
        Some(path) => socket(at, &address, path, ports, report),
        None if address.text().is_empty() || text::is_ip(address.text()) => {}
        None if may_be_name && text::is_fqdn(address.text()) => {}
        None if may_be_name => report.invalid(&address, "an IP address or a host name"),
        None => report.invalid(&address, "an IP address"),
    }
    entry_ports(at, ports, report);
    report.label_map(&at.get("labels"));
}

/// An endpoint whose address is looked up unless it is an IP address.
pub(super) fn looked_up(at: &At<'_>, ports: &HashSet<&str>, report: &Report<'_>) {
    let address = at.get("address");
    if !address.exists() && at.get("network").text().is_empty() {
        return report.missing(&address, "an address, or a network: an address is required");
    }
    if let Some(path) = address.text().strip_prefix(UNIX) {
        socket(at, &address, path, None, report);
    }
    if !text::is_ip(address.text()) && !text::is_fqdn(address.text()) {
        report.invalid(&address, "an IP address or a host name");
    }
    entry_ports(at, Some(ports), report);
    report.label_map(&at.get("labels"));
}

fn socket(at: &At<'_>, address: &At<'_>, path: &str, ports: Option<&HashSet<&str>>, report: &Report<'_>) {
    if path.ends_with('/') {
        report.invalid(address, "a socket's path, not a directory");
    } else if !text::is_unix_address(path) {
        report.invalid(address, "an absolute path, or @ and the name of an abstract socket, after unix://");
    }
    if at.get("ports").exists() {
        report.error(&at.get("ports"), "found ports with a Unix domain socket, expected none");
    }
    if ports.is_some_and(|ports| ports.len() != 1) {
        report.error(address, "found a Unix domain socket in a service of several ports, expected exactly one port");
    }
}

fn entry_ports(at: &At<'_>, ports: Option<&HashSet<&str>>, report: &Report<'_>) {
    for (name, port) in at.get("ports").entries() {
        if !text::is_dns_label(name) {
            report.error(&port, format!("found port name {name:?}, expected letters, digits and -"));
        }
        if ports.is_some_and(|ports| !ports.contains(name)) {
            report.error(&port, format!("found port name {name:?}, expected the name of a port of the service"));
        }
    }
}

pub(super) fn group(spec: &At<'_>, report: &Report<'_>) {
    let template = spec.get("template");
    if let Some(path) = template.get("address").text().strip_prefix(UNIX) {
        socket(&template, &template.get("address"), path, None, report);
    }
    entry_ports(&template, None, report);
    report.label_map(&spec.path(&["metadata", "labels"]));
    let probe = spec.get("probe");
    if probe.exists() && ["httpGet", "tcpSocket", "exec", "grpc"].iter().all(|name| !probe.get(name).exists()) {
        report.missing(&probe, "one of httpGet, tcpSocket, exec and grpc");
    }
    if probe.get("exec").exists() && probe.path(&["exec", "command"]).is_empty() {
        report.missing(&probe.path(&["exec", "command"]), "a command");
    }
}
