//! Gateway: servers, their hosts, ports and TLS.

use std::collections::HashSet;

use super::text::{Layer, UNIX};
use super::{Report, server_tls, text};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    if !text::is_dns_label(report.name) {
        report.error(spec, format!("found the name {:?}, expected one of letters, digits and - only", report.name));
    }
    let servers = spec.get("servers").items();
    if servers.is_empty() {
        report.missing(&spec.get("servers"), "at least one server");
    }
    let mut names = HashSet::new();
    for server in &servers {
        check_server(server, report);
        let name = server.path(&["port", "name"]);
        if server.get("port").exists() && !names.insert(name.text()) {
            report.error(&name, format!("found port name {:?} a second time, expected each once", name.text()));
        }
        let is_http = text::protocol(server.path(&["port", "protocol"]).text()).is_some_and(Layer::is_http);
        let redirect = server.path(&["tls", "httpsRedirect"]);
        if redirect.is_true() && !is_http {
            report.warn(&redirect, "found true on a server that is not HTTP, which redirects nothing");
        }
    }
}

fn check_server(server: &At<'_>, report: &Report<'_>) {
    let hosts = server.get("hosts");
    if hosts.is_empty() {
        report.missing(&hosts, "at least one host");
    }
    hosts.items().iter().for_each(|host| namespaced_host(host, true, report));
    let (port, bind, tls) = (server.get("port"), server.get("bind"), server.get("tls"));
    check_port(&port, bind.text(), report);
    check_bind(&port, &bind, report);
    server_tls::check(&tls, report);
    let Some(layer) = text::protocol(port.get("protocol").text()) else { return };
    if layer.is_tls() && !tls.exists() {
        report.missing(&tls, &format!("tls: the port's protocol is {}", port.get("protocol").text()));
    } else if !layer.is_tls() && tls.exists() && !(layer.is_http() && only_redirects(&tls)) {
        report.error(
            &tls,
            format!(
                "found tls on a port of protocol {}, expected it on HTTPS and TLS only",
                port.get("protocol").text()
            ),
        );
    }
}

/// `tls` of a plain HTTP server may say `httpsRedirect` and nothing that needs
/// TLS.
fn only_redirects(tls: &At<'_>) -> bool {
    matches!(tls.get("mode").text(), "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH")
        && ["caCertificates", "privateKey", "serverCertificate"].iter().all(|name| tls.get(name).text().is_empty())
}

fn check_port(port: &At<'_>, bind: &str, report: &Report<'_>) {
    if text::protocol(port.get("protocol").text()).is_none() {
        report.invalid(&port.get("protocol"), "HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS");
    }
    let number = port.get("number");
    if number.int().is_some_and(|number| number > 0) || !bind.starts_with(UNIX) {
        report.port(&number);
    }
    if port.get("targetPort").int().is_some_and(|target| target > 0) {
        report.error(&port.get("targetPort"), "found targetPort, expected none: it means nothing in a Gateway");
    }
    if port.get("name").text().is_empty() {
        report.invalid(&port.get("name"), "the port's name");
    }
}

fn check_bind(port: &At<'_>, bind: &At<'_>, report: &Report<'_>) {
    match bind.text().strip_prefix(UNIX) {
        Some(path) => {
            if !text::is_unix_address(path) {
                report.invalid(bind, "an absolute path after unix://");
            }
            if port.get("number").int().is_some_and(|number| number != 0) {
                report.invalid(&port.get("number"), "0: the server listens on a Unix domain socket");
            }
        }
        None if bind.text().is_empty() || text::is_ip(bind.text()) => {}
        None => report.invalid(bind, "an IP address, or unix:// and a path"),
    }
}

/// A host with its namespace in front, as Gateways (where it may be left out)
/// and Sidecars have them.
pub(super) fn namespaced_host(at: &At<'_>, in_gateway: bool, report: &Report<'_>) {
    let (namespace, host) = match at.text().split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None if in_gateway => (None, at.text()),
        None => return report.invalid(at, "namespace/host, such as ./*, */* or shop/reviews.shop.svc.cluster.local"),
    };
    let namespace_is_right = match namespace {
        None | Some("*" | ".") => true,
        Some(name) if in_gateway => text::is_dns_label(name),
        // `~/*` takes everything away, `~ns/*` what one namespace has.
        Some(name) => {
            let plain = name.strip_prefix('~').unwrap_or(name);
            matches!(plain, "*" | ".") || (plain.is_empty() && name == "~") || text::is_dns_label(plain)
        }
    };
    if !namespace_is_right {
        return report.invalid(at, "a namespace, . or * before the slash");
    }
    if host != "*" && !host.contains('.') && !text::is_ip(host) {
        return report.invalid(at, "a full host name: short names are not allowed here");
    }
    let is_host = text::is_wildcard_domain(host) || (in_gateway && text::is_ip(host));
    if !is_host {
        return report.invalid(at, "a host name such as a.example.com or *.example.com");
    }
    if text::is_partial_wildcard(host) {
        report.invalid(at, "a wildcard for a whole label: *.example.com, not *a.example.com");
    }
}
