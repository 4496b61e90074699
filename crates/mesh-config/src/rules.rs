//! Istio's rules: from an object as written to a typed rule, or to the reasons
//! why not. One file per kind.
//!
//! Every field of a kind is either applied, or in the kind's list of fields that
//! are accepted and not yet applied, or unknown; the last two are warnings and
//! the rest of the object applies, as in Kubernetes. A bad value sets the whole
//! object aside. A condition that cannot be applied takes its match away, never
//! only itself: a rule must not catch more than its author wrote.

pub mod destination_rule;
pub mod envoy_filter;
mod exports;
pub mod gateway;
mod gateway_api;
pub mod mesh_config;
pub mod peer_authentication;
mod selector;
mod server_tls;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod virtual_service;
pub mod workload_entry;

use std::sync::Arc;

use mesh_model::rules::{MeshConfig, Spec};
use mesh_model::{Code, Diagnostic, Kind, Meta, Rule, Severity};

use crate::document::Object;
use crate::reader::{Fallback, Fields, Log, NOT_APPLIED};

/// What is read of one object, and all that is wrong with it.
#[derive(Debug, Clone)]
pub struct Parsed<T> {
    /// The typed value; `None` if the object cannot be used.
    pub value: Option<T>,
    /// What is wrong, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether objects of this kind become a [`Rule`]. The others describe the
/// platform, or (WorkloadEntry) a workload.
pub fn is_rule(kind: Kind) -> bool {
    match kind {
        Kind::AuthorizationPolicy
        | Kind::BackendTlsPolicy
        | Kind::DestinationRule
        | Kind::EnvoyFilter
        | Kind::Gateway
        | Kind::GatewayClass
        | Kind::GrpcRoute
        | Kind::HttpRoute
        | Kind::Ingress
        | Kind::IngressClass
        | Kind::KubernetesGateway
        | Kind::ListenerSet
        | Kind::PeerAuthentication
        | Kind::ProxyConfig
        | Kind::ReferenceGrant
        | Kind::RequestAuthentication
        | Kind::ServiceEntry
        | Kind::Sidecar
        | Kind::TcpRoute
        | Kind::Telemetry
        | Kind::TlsRoute
        | Kind::TrafficExtension
        | Kind::VirtualService
        | Kind::WasmPlugin
        | Kind::WorkloadGroup
        | Kind::XBackendTrafficPolicy
        | Kind::XListenerSet => true,
        Kind::ConfigMap
        | Kind::Endpoints
        | Kind::EndpointSlice
        | Kind::MeshConfig
        | Kind::Namespace
        | Kind::Node
        | Kind::Pod
        | Kind::Secret
        | Kind::Service
        | Kind::ServiceAccount
        | Kind::WorkloadEntry => false,
    }
}

/// Reads a rule. `mesh` gives the DNS domain that short names are in and the
/// defaults of `exportTo`; `fallback` is what the diagnostics say happens if the
/// object cannot be used.
pub fn parse(object: &Object, mesh: &MeshConfig, fallback: Fallback) -> Parsed<Rule> {
    let log = object.log(fallback);
    let spec = read(object, &log, mesh);
    let value = spec.filter(|_| !log.failed()).map(|spec| Rule {
        meta: object.meta.clone(),
        spec,
        document: Arc::new(object.root.to_json()),
    });
    Parsed { value, diagnostics: log.finish() }
}

/// What a rule's reader may look at besides the document.
struct Scope<'a> {
    meta: &'a Arc<Meta>,
    mesh: &'a MeshConfig,
}

fn read(object: &Object, log: &Log, mesh: &MeshConfig) -> Option<Spec> {
    let scope = Scope { meta: &object.meta, mesh };
    let root = log.root(&object.root, "").fields()?;
    root.ignore(&["apiVersion", "kind", "metadata", "status"]);
    let spec = match object.kind() {
        Kind::VirtualService => virtual_service::read(&spec_of(&root)?, &scope),
        Kind::DestinationRule => destination_rule::read(&spec_of(&root)?, &scope),
        Kind::EnvoyFilter => envoy_filter::read(&spec_of(&root)?, &scope),
        Kind::ServiceEntry => service_entry::read(&spec_of(&root)?, &scope),
        Kind::Sidecar => sidecar::read(&spec_of(&root)?, &scope),
        Kind::Telemetry => telemetry::read(&spec_of(&root)?, &scope),
        Kind::PeerAuthentication => peer_authentication::read(&spec_of(&root)?, &scope),
        Kind::Gateway => gateway::read(&spec_of(&root)?, &scope),
        kind if gateway_api::reads(kind) => gateway_api::read(kind, &spec_of(&root)?, &scope),
        _ => {
            // No reader knows the fields; the schema does.
            if !crate::schema::check_into(object, log) || log.failed() {
                return None;
            }
            let consequence = "traffic flows as if it did not exist";
            log.push(object.root.line, Severity::Warning, Code::NotApplied, "", NOT_APPLIED.to_owned(), consequence);
            return Some(Spec::NotApplied);
        }
    };
    root.finish();
    spec
}

/// The fields of `spec`, which must be there.
fn spec_of<'a>(root: &Fields<'a>) -> Option<Fields<'a>> {
    root.required("spec", "a map")?.fields()
}
