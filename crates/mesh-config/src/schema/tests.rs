//! Verdicts of single documents, one fact each.
#![allow(clippy::unwrap_used)]

use mesh_model::{Diagnostic, Severity};

use super::*;
use crate::document;

fn findings(kind: &str, spec: &str) -> Vec<Diagnostic> {
    let group = match kind {
        "AuthorizationPolicy" | "PeerAuthentication" | "RequestAuthentication" => "security.istio.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        "WasmPlugin" | "TrafficExtension" => "extensions.istio.io/v1alpha1",
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        "ProxyConfig" => "networking.istio.io/v1beta1",
        _ => "networking.istio.io/v1",
    };
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\nspec:\n{indented}");
    let contents = document::read(&"f.yaml".into(), text.as_bytes());
    assert_eq!(contents.diagnostics, [], "{text}");
    check(&contents.objects[0], Fallback::Ignored)
}

/// The errors of `spec`, each as `field: message`, are `wanted`.
fn check_errors(kind: &str, spec: &str, wanted: &[&str]) {
    let found: Vec<String> = findings(kind, spec)
        .into_iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| format!("{}: {}", d.field, d.message))
        .collect();
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "{found}\n{wanted}");
    }
}

#[test]
fn wrong_types_and_bounds_are_named_with_their_place() {
    check_errors(
        "DestinationRule",
        "host: a\ntrafficPolicy: {connectionPool: {tcp: {maxConnections: many, connectTimeout: 0s}}}",
        &[
            "spec.trafficPolicy.connectionPool.tcp.maxConnections: found \"many\", expected a whole number from",
            "spec.trafficPolicy.connectionPool.tcp.connectTimeout: found \"0s\", expected a duration of at least 1ms",
        ],
    );
    check_errors(
        "PeerAuthentication",
        "mtls: {mode: STRCT}",
        &["spec.mtls.mode: found \"STRCT\", expected one of UNSET"],
    );
    check_errors("WasmPlugin", "url: null", &["spec.url: found null, expected text"]);
}

#[test]
fn a_field_that_is_not_known_is_a_warning_with_a_guess() {
    let found = findings("AuthorizationPolicy", "actoin: DENY\nrules: [{}]");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Warning);
    assert!(found[0].message.contains("did you mean action?"), "{}", found[0]);
}

#[test]
fn rules_run_only_where_the_structure_is_right() {
    check_errors(
        "Gateway",
        "servers: [{hosts: [], port: {name: a, number: 80, protocol: 7}}]",
        &["spec.servers[0].port.protocol: found 7"],
    );
}

#[test]
fn a_route_needs_one_action_and_weights_that_are_not_all_zero() {
    check_errors(
        "VirtualService",
        "hosts: [a]\nhttp: [{match: [{uri: {prefix: /}}]}]",
        &["spec.http[0]: found nothing"],
    );
    check_errors(
        "VirtualService",
        "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}]",
        &["spec.http[0].route: found weights that add up to 0"],
    );
}

#[test]
fn ports_of_mutual_tls_need_a_selector() {
    check_errors(
        "PeerAuthentication",
        "portLevelMtls: {8080: {mode: STRICT}}",
        &["spec.portLevelMtls: found portLevelMtls without"],
    );
    check_errors(
        "PeerAuthentication",
        "selector: {matchLabels: {a: b}}\nportLevelMtls: {99999: {}}",
        &["spec.portLevelMtls[99999]: found key"],
    );
}

#[test]
fn path_templates_are_whole_segments_and_the_open_one_is_last() {
    let paths = |path: &str| format!("rules: [{{to: [{{operation: {{paths: [{path:?}]}}}}]}}]");
    for right in ["/a/*", "/a/{*}/b", "/{*}/{**}", "*"] {
        check_errors("AuthorizationPolicy", &paths(right), &[]);
    }
    for wrong in ["/a/{**}/{*}", "/a{*}", "/{*}/*", "/{a}"] {
        check_errors("AuthorizationPolicy", &paths(wrong), &["spec.rules[0].to[0].operation.paths[0]: found"]);
    }
}

#[test]
fn ten_thousand_hosts_and_a_megabyte_of_regex_end_quickly() {
    let hosts: String = (0..10_000).map(|i| format!("- h{i}.example.com\n")).collect();
    check_errors("VirtualService", &format!("hosts:\n{hosts}http: [{{route: [{{destination: {{host: a}}}}]}}]"), &[]);
    let regex = "a".repeat(1 << 20);
    check_errors(
        "VirtualService",
        &format!("hosts: [a]\nhttp: [{{match: [{{uri: {{regex: {regex}}}}}], route: [{{destination: {{host: a}}}}]}}]"),
        &["spec.http[0].match[0].uri.regex: found a regular expression of 1048576 bytes"],
    );
}
