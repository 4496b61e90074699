//! DestinationRule: traffic policies of a host, its subsets and its ports.

use std::collections::HashSet;

use super::selectors::{self, Exports};
use super::{Report, load_balancer, text};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    if !text::is_wildcard_domain(spec.get("host").text()) {
        report.invalid(&spec.get("host"), "a host name such as reviews, a.example.com or *.example.com");
    }
    traffic_policy(&spec.get("trafficPolicy"), report);
    let mut names = HashSet::new();
    for subset in spec.get("subsets").items() {
        let name = subset.get("name");
        if !text::is_dns_label(name.text()) {
            report.invalid(&name, "the name of a subset: letters, digits and -");
        } else if !names.insert(name.text()) {
            report.error(&name, format!("found subset {} a second time, expected each name once", name.text()));
        }
        report.label_map(&subset.get("labels"));
        traffic_policy(&subset.get("trafficPolicy"), report);
    }
    let selector = spec.get("workloadSelector");
    let scope = if selector.exists() { Exports::Local } else { Exports::Rule };
    selectors::exports(&spec.get("exportTo"), scope, report);
    selectors::workload(&selector, report);
}

fn traffic_policy(policy: &At<'_>, report: &Report<'_>) {
    if !policy.exists() {
        return;
    }
    if policy.is_empty() {
        report.missing(policy, "at least one setting");
    }
    if policy.get("tunnel").exists() && policy.get("proxyProtocol").exists() {
        report.error(policy, "found tunnel and proxyProtocol, expected only one of them");
    }
    settings(policy, report);
    for port in policy.get("portLevelSettings").items() {
        if !port.get("port").exists() {
            report.missing(&port.get("port"), "a port with its number");
        }
        if ["outlierDetection", "connectionPool", "loadBalancer", "tls"].iter().all(|name| !port.get(name).exists()) {
            report.missing(&port, "at least one setting beside the port");
        }
        settings(&port, report);
    }
    tunnel(&policy.get("tunnel"), report);
}

/// What a policy and a port of it have in common.
fn settings(policy: &At<'_>, report: &Report<'_>) {
    outlier_detection(&policy.get("outlierDetection"), report);
    connection_pool(&policy.get("connectionPool"), report);
    load_balancer::check(&policy.get("loadBalancer"), policy.get("outlierDetection").exists(), report);
    client_tls(&policy.get("tls"), report);
}

fn tunnel(tunnel: &At<'_>, report: &Report<'_>) {
    if !tunnel.exists() {
        return;
    }
    if !matches!(tunnel.get("protocol").text(), "" | "CONNECT" | "POST") {
        report.invalid(&tunnel.get("protocol"), "CONNECT or POST");
    }
    let host = tunnel.get("targetHost");
    if !text::is_fqdn(host.text()) && !text::is_ip(host.text()) {
        report.invalid(&host, "a host name or an IP address");
    }
    report.port(&tunnel.get("targetPort"));
}

fn outlier_detection(outlier: &At<'_>, report: &Report<'_>) {
    let local = outlier.get("consecutiveLocalOriginFailures");
    if local.int().is_some_and(|count| count > 0) && !outlier.get("splitExternalLocalOriginErrors").is_true() {
        report.error(
            &local,
            "found it without splitExternalLocalOriginErrors, expected that to be true: else nothing counts it",
        );
    }
    for name in ["maxEjectionPercent", "minHealthPercent"] {
        if outlier.get(name).int().is_some_and(|percent| !(0..=100).contains(&percent)) {
            report.invalid(&outlier.get(name), "a percentage from 0 to 100");
        }
    }
}

/// `connectionPool`, of a DestinationRule or a Sidecar.
pub(super) fn connection_pool(pool: &At<'_>, report: &Report<'_>) {
    let (http, tcp) = (pool.get("http"), pool.get("tcp"));
    if pool.exists() && !http.exists() && !tcp.exists() {
        report.missing(pool, "http, tcp, or both");
    }
    let counts = [
        (&http, "http1MaxPendingRequests"),
        (&http, "http2MaxRequests"),
        (&http, "maxRequestsPerConnection"),
        (&http, "maxRetries"),
        (&http, "maxConcurrentStreams"),
        (&tcp, "maxConnections"),
    ];
    for (part, name) in counts {
        if part.get(name).int().is_some_and(|count| count < 0) {
            report.invalid(&part.get(name), "0 or more");
        }
    }
    if http.get("h2UpgradePolicy").text() == "UPGRADE" && http.get("useClientProtocol").is_true() {
        report.error(
            &http.get("useClientProtocol"),
            "found true beside h2UpgradePolicy UPGRADE, expected only one of them",
        );
    }
    let keep_alive = http.get("http2KeepAlive");
    for name in ["interval", "timeout"] {
        if keep_alive.exists() && !keep_alive.get(name).exists() {
            report.missing(&keep_alive.get(name), "a duration");
        }
    }
}

fn client_tls(tls: &At<'_>, report: &Report<'_>) {
    let has = |name: &str| !tls.get(name).text().is_empty();
    let mode = tls.get("mode").text();
    let credential = tls.get("credentialName");
    if let Some(reference) = credential.text().strip_prefix("configmap://") {
        let namespace = reference.split_once('/').map_or(report.namespace, |(namespace, _)| namespace);
        if namespace != report.namespace || reference.is_empty() {
            report.invalid(&credential, &format!("a ConfigMap of namespace {}", report.namespace));
        }
    }
    if tls.get("insecureSkipVerify").is_true() {
        let forbidden: &[&str] = match mode {
            "SIMPLE" => &["caCertificates", "credentialName", "subjectAltNames"],
            "MUTUAL" => &["caCertificates", "subjectAltNames"],
            _ => &[],
        };
        for name in forbidden.iter().filter(|name| has(name) || !tls.get(name).is_empty()) {
            report.error(&tls.get(name), format!("found {name} beside insecureSkipVerify, expected only one of them"));
        }
    }
    if matches!(mode, "SIMPLE" | "MUTUAL") && has("credentialName") {
        for name in ["clientCertificate", "privateKey", "caCertificates", "caCrl"] {
            if has(name) {
                report.error(&tls.get(name), format!("found {name} beside credentialName, expected only one of them"));
            }
        }
        return;
    }
    for name in ["clientCertificate", "privateKey"] {
        if mode == "MUTUAL" && !has(name) {
            report.missing(&tls.get(name), "a file's path: mode MUTUAL presents a certificate");
        }
    }
}
