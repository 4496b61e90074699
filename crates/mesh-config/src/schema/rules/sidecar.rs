//! Sidecar: listeners of one workload and what it may reach.

use std::collections::{HashMap, HashSet};

use super::destination_rule::connection_pool;
use super::gateway::namespaced_host;
use super::text::{Layer, UNIX};
use super::{Report, selectors, server_tls, text, virtual_service};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    selectors::older(&spec.get("workloadSelector"), report);
    let (ingress, egress) = (spec.get("ingress"), spec.get("egress"));
    let outbound = spec.get("outboundTrafficPolicy");
    let pool = spec.get("inboundConnectionPool");
    if ingress.is_empty() && egress.is_empty() && !outbound.exists() && !pool.exists() {
        report.missing(spec, "one of ingress, egress, outboundTrafficPolicy and inboundConnectionPool");
    }
    let mut ports = HashSet::new();
    for listener in ingress.items() {
        check_ingress(&listener, report);
        unique_port(&listener, &mut ports, report);
    }
    connection_pool(&pool, report);
    check_egress(&egress, report);
    check_outbound(&outbound, report);
}

fn unique_port(listener: &At<'_>, ports: &mut HashSet<i64>, report: &Report<'_>) {
    let number = listener.path(&["port", "number"]);
    if number.int().is_some_and(|port| !ports.insert(port)) {
        report.invalid(&number, "a port that no other listener has");
    }
}

fn check_ingress(listener: &At<'_>, report: &Report<'_>) {
    let (port, bind, tls) = (listener.get("port"), listener.get("bind"), listener.get("tls"));
    no_target_port(&port, report);
    name_and_protocol(&port, report);
    report.port(&port.get("number"));
    if !bind.text().is_empty() && !text::is_ip(bind.text()) {
        report.invalid(&bind, "an IP address");
    }
    default_endpoint(&listener.get("defaultEndpoint"), report);
    let layer = text::protocol(port.get("protocol").text());
    if tls.exists() {
        for name in ["subjectAltNames", "credentialName", "credentialNames", "tlsCertificates"] {
            if !tls.get(name).text().is_empty() || !tls.get(name).is_empty() {
                report.error(&tls.get(name), format!("found {name}, expected none: it is not supported in a Sidecar"));
            }
        }
        if tls.get("httpsRedirect").is_true() {
            report.error(
                &tls.get("httpsRedirect"),
                "found httpsRedirect, expected none: it is not supported in a Sidecar",
            );
        }
        if matches!(tls.get("mode").text(), "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH") {
            report.invalid(&tls.get("mode"), "SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH");
        }
        if !layer.is_some_and(Layer::is_tls) {
            report.error(&tls, "found tls on a port that is neither HTTPS nor TLS, expected none");
        }
        server_tls::check(&tls, report);
    }
    let pool = listener.get("connectionPool");
    connection_pool(&pool, report);
    if pool.get("http").exists() && !layer.is_some_and(Layer::is_http) {
        report.warn(&pool.get("http"), "found settings for HTTP on a port of another protocol, which do nothing");
    }
}

fn no_target_port(port: &At<'_>, report: &Report<'_>) {
    if port.get("targetPort").int().is_some_and(|target| target > 0) {
        report.error(&port.get("targetPort"), "found targetPort, expected none: it means nothing in a Sidecar");
    }
}

fn name_and_protocol(port: &At<'_>, report: &Report<'_>) {
    let (name, protocol) = (port.get("name"), port.get("protocol"));
    if !name.text().is_empty() && !text::is_dns_label(name.text()) {
        report.invalid(&name, "a port's name: letters, digits and -");
    }
    if !protocol.text().is_empty() && text::protocol(protocol.text()).is_none() {
        report.invalid(&protocol, "a protocol such as HTTP, HTTPS, HTTP2, GRPC, TCP or TLS");
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `:8080`, `unix:///path`.
fn default_endpoint(at: &At<'_>, report: &Report<'_>) {
    let expected = "127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///PATH";
    if at.text().is_empty() {
        return;
    }
    let right = match at.text().strip_prefix(UNIX) {
        Some(path) => text::is_unix_address(path),
        None => at.text().rsplit_once(':').is_some_and(|(host, port)| {
            matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]") && port.parse::<u16>().is_ok_and(|p| p > 0)
        }),
    };
    if !right {
        report.invalid(at, expected);
    }
}

fn check_egress(egress: &At<'_>, report: &Report<'_>) {
    let listeners = egress.items();
    let mut ports = HashSet::new();
    let mut sockets = HashSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        if !listener.get("port").exists() && index + 1 != listeners.len() {
            report.error(listener, "found a listener without port before others, expected it as the last one");
        }
        if listener.get("port").exists() {
            check_egress_port(listener, report);
            if listener.path(&["port", "number"]).int().unwrap_or(0) != 0 {
                unique_port(listener, &mut ports, report);
            } else if !sockets.insert(listener.get("bind").text()) {
                report.invalid(&listener.get("bind"), "a socket that no other listener has");
            }
        }
        check_hosts(&listener.get("hosts"), report);
    }
}

fn check_egress_port(listener: &At<'_>, report: &Report<'_>) {
    let (port, bind) = (listener.get("port"), listener.get("bind"));
    no_target_port(&port, report);
    name_and_protocol(&port, report);
    if port.get("number").int().unwrap_or(0) != 0 {
        report.port(&port.get("number"));
        if !bind.text().is_empty() && !text::is_ip(bind.text()) {
            report.invalid(&bind, "an IP address");
        }
        return;
    }
    if !bind.text().strip_prefix(UNIX).is_some_and(text::is_unix_address) {
        report.invalid(&bind, "unix:// and a path: the port is 0");
    }
    if listener.get("captureMode").text() == "IPTABLES" {
        report.invalid(&listener.get("captureMode"), "DEFAULT or NONE: nothing is captured for a socket");
    }
}

fn check_hosts(hosts: &At<'_>, report: &Report<'_>) {
    if hosts.is_empty() {
        report.missing(hosts, "at least one namespace/host");
    }
    let mut seen: HashMap<&str, HashSet<&str>> = HashMap::new();
    for item in hosts.items() {
        namespaced_host(&item, false, report);
        let Some((namespace, host)) = item.text().split_once('/').filter(|(ns, _)| !ns.starts_with('~')) else {
            continue;
        };
        let namespace = if namespace == "." { report.namespace } else { namespace };
        let of_namespace = seen.entry(namespace).or_default();
        let repeated = if host == "*" { !of_namespace.is_empty() } else { of_namespace.contains("*") };
        if !of_namespace.insert(host) || repeated {
            report.warn(&item, format!("found {}, which another host of the list takes in", item.text()));
        }
    }
    if seen.len() > 1 && seen.get("*").is_some_and(|hosts| hosts.contains("*")) {
        report.warn(hosts, "found */* beside others, which it takes in");
    }
}

fn check_outbound(outbound: &At<'_>, report: &Report<'_>) {
    let proxy = outbound.get("egressProxy");
    if !proxy.exists() {
        return;
    }
    if outbound.get("mode").text() != "ALLOW_ANY" {
        return report.error(&proxy, "found egressProxy with another mode, expected mode ALLOW_ANY");
    }
    if !text::is_fqdn(proxy.get("host").text()) {
        report.invalid(&proxy.get("host"), "a full host name");
    }
    if !proxy.get("port").exists() {
        return report.missing(&proxy.get("port"), "a port with its number");
    }
    virtual_service::destination(&proxy, report);
}
