//! Typed rules: what Istio's objects say, checked and with names resolved.
//!
//! A rule that exists here is valid. Fields that Pilothouse does not apply are
//! not in these types: the parser reports them, so nothing is silently kept.

use std::sync::Arc;

use crate::{Kind, Meta, ObjectRef};

pub mod delegation;
pub mod destination_rule;
pub mod envoy_filter;
pub mod gateway;
pub mod gateway_api;
pub mod mesh_config;
pub mod peer_authentication;
pub mod provider;
pub mod server_tls;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod virtual_service;

pub use destination_rule::DestinationRule;
pub use envoy_filter::EnvoyFilter;
pub use gateway::Gateway;
pub use gateway_api::GatewayApi;
pub use mesh_config::MeshConfig;
pub use peer_authentication::PeerAuthentication;
pub use service_entry::ServiceEntry;
pub use sidecar::Sidecar;
pub use telemetry::Telemetry;
pub use virtual_service::VirtualService;

/// One rule object with its original document.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// What it says.
    pub spec: Spec,
    /// The document as written, as JSON, for debug pages.
    pub document: Arc<serde_json::Value>,
}

impl Rule {
    /// Kind, namespace and name.
    pub fn object(&self) -> &ObjectRef {
        &self.meta.object
    }

    /// Whether it was derived from an object of another kind, which is a rule of
    /// its own.
    pub fn is_derived(&self) -> bool {
        let own = match &self.spec {
            Spec::VirtualService(_) => Kind::VirtualService,
            Spec::DestinationRule(_) => Kind::DestinationRule,
            Spec::Gateway(_) => Kind::Gateway,
            _ => return false,
        };
        self.meta.object.kind != own
    }
}

/// What a rule says, by kind.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the kinds' own names")]
pub enum Spec {
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    EnvoyFilter(Arc<EnvoyFilter>),
    ServiceEntry(Arc<ServiceEntry>),
    Sidecar(Arc<Sidecar>),
    PeerAuthentication(Arc<PeerAuthentication>),
    Gateway(Arc<Gateway>),
    Telemetry(Arc<Telemetry>),
    /// An object of the Kubernetes Gateway API, or an Ingress.
    GatewayApi(Arc<GatewayApi>),
    /// A kind that is kept for the debug pages and not applied.
    NotApplied,
}
