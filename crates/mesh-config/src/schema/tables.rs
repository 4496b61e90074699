//! What each of Istio's kinds consists of: its fields, their types and bounds.
//!
//! A new field of a kind is one row here. The test `every_field_of_istios_schemas`
//! in `tests/schema.rs` compares the tables with Istio's CRDs where those lie
//! beside the project.

mod common;
mod destination_rule;
mod envoy_filter;
mod extensions;
mod gateway;
mod security;
mod service_entry;
mod telemetry;
mod virtual_service;

use mesh_model::Kind;

use super::shape::Shape;

/// A kind's `spec`.
pub(super) struct Spec {
    pub(super) shape: &'static Shape,
    /// Whether an object without `spec` is refused.
    pub(super) required: bool,
}

/// The table of `kind`; `None` if it is not one of Istio's.
pub(super) fn of(kind: Kind) -> Option<Spec> {
    let (shape, required) = match kind {
        Kind::AuthorizationPolicy => (&security::AUTHORIZATION_POLICY, false),
        Kind::DestinationRule => (&destination_rule::DESTINATION_RULE, false),
        Kind::EnvoyFilter => (&envoy_filter::ENVOY_FILTER, false),
        Kind::Gateway => (&gateway::GATEWAY, false),
        Kind::PeerAuthentication => (&security::PEER_AUTHENTICATION, false),
        Kind::ProxyConfig => (&telemetry::PROXY_CONFIG, false),
        Kind::RequestAuthentication => (&security::REQUEST_AUTHENTICATION, false),
        Kind::ServiceEntry => (&service_entry::SERVICE_ENTRY, true),
        Kind::Sidecar => (&gateway::SIDECAR, false),
        Kind::Telemetry => (&telemetry::TELEMETRY, false),
        Kind::TrafficExtension => (&extensions::TRAFFIC_EXTENSION, true),
        Kind::VirtualService => (&virtual_service::VIRTUAL_SERVICE, false),
        Kind::WasmPlugin => (&extensions::WASM_PLUGIN, true),
        Kind::WorkloadEntry => (&service_entry::WORKLOAD_ENTRY, true),
        Kind::WorkloadGroup => (&service_entry::WORKLOAD_GROUP, true),
        _ => return None,
    };
    Some(Spec { shape, required })
}
