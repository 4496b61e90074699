//! What must hold between the fields of one object, kind by kind.
//!
//! These are the rules of the CRDs' validations and of Istio's admission
//! webhook, in our own words.
//!
//! Source: istio `pkg/config/validation`, and the CRDs of Istio 1.32.

mod annotations;
mod authorization_policy;
mod destination_rule;
mod envoy_filter;
mod extensions;
mod gateway;
mod headers;
mod load_balancer;
mod peer_authentication;
mod request_authentication;
mod selectors;
mod server_tls;
mod service_entry;
mod sidecar;
mod telemetry;
pub(crate) mod text;
pub(crate) mod unreachable;
mod virtual_service;
mod workload;

use mesh_model::{Code, Kind, Severity};

use super::At;
use crate::document::Object;
use crate::reader::Log;

/// Reports what is wrong with an object whose structure is right.
pub(super) fn check(object: &Object, log: &Log) {
    let report = Report { log, namespace: object.meta.namespace(), name: object.meta.name() };
    let root = At::root(&object.root);
    annotations::check(&root, object.kind(), &report);
    let spec = root.get("spec");
    match object.kind() {
        Kind::AuthorizationPolicy => authorization_policy::check(&spec, &report),
        Kind::DestinationRule => destination_rule::check(&spec, &report),
        Kind::EnvoyFilter => envoy_filter::check(&spec, &report),
        Kind::Gateway => gateway::check(&spec, &report),
        Kind::PeerAuthentication => peer_authentication::check(&spec, &report),
        Kind::ProxyConfig => selectors::workload(&spec.get("selector"), &report),
        Kind::RequestAuthentication => request_authentication::check(&spec, &report),
        Kind::ServiceEntry => service_entry::check(&root, &report),
        Kind::Sidecar => sidecar::check(&spec, &report),
        Kind::Telemetry => telemetry::check(&spec, &report),
        Kind::TrafficExtension => extensions::traffic_extension(&spec, &report),
        Kind::VirtualService => virtual_service::check(&spec, &report),
        Kind::WasmPlugin => extensions::wasm_plugin(&spec, &report),
        Kind::WorkloadEntry => workload::entry(&spec, None, true, &report),
        Kind::WorkloadGroup => workload::group(&spec, &report),
        _ => {}
    }
}

/// Where the rules of one object put what they find.
pub(crate) struct Report<'a> {
    log: &'a Log,
    /// The object's namespace.
    namespace: &'a str,
    /// The object's name.
    name: &'a str,
}

impl Report<'_> {
    /// The object is refused: `at` is not what was `expected`.
    fn invalid(&self, at: &At<'_>, expected: &str) {
        let found = at.node().map_or_else(|| "nothing".to_owned(), |node| node.describe());
        self.error(at, format!("found {found}, expected {expected}"));
    }

    /// The object is refused.
    fn error(&self, at: &At<'_>, message: impl Into<String>) {
        self.log.error(at.line(), Code::InvalidValue, at.field(), message.into());
    }

    /// The object is refused: something is missing.
    fn missing(&self, at: &At<'_>, expected: &str) {
        let message = format!("found nothing, expected {expected}");
        self.log.error(at.line(), Code::MissingField, at.field(), message);
    }

    /// The object is taken, and the author should look again.
    fn warn(&self, at: &At<'_>, message: impl Into<String>) {
        self.log.push(at.line(), Severity::Warning, Code::InvalidValue, at.field(), message.into(), "");
    }

    /// The regular expression at `at` compiles within bounds.
    fn regex(&self, at: &At<'_>) {
        if let Some(node) = at.node() {
            self.log.root(node, at.field()).regex();
        }
    }

    fn port(&self, at: &At<'_>) {
        if !at.int().is_some_and(|port| (1..=65535).contains(&port)) {
            self.invalid(at, "a port from 1 to 65535");
        }
    }

    fn label_map(&self, at: &At<'_>) {
        for (key, value) in at.entries() {
            if !text::is_label_key(key) {
                self.error(
                    &value,
                    format!("found key {key:?}, expected a label's name such as app or example.com/app"),
                );
            }
            if !text::is_label_value(value.text()) {
                self.invalid(&value, "a label's value: at most 63 letters, digits, -, _ and .");
            }
        }
    }
}
