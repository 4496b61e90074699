//! Mesh-wide settings.
//!
//! Source: <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>

use std::time::Duration;

use crate::rules::destination_rule::{LocalityBalancing, ZoneAware};
use crate::{Name, Visibility};

/// What is done with traffic to hosts that the mesh does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboundTrafficPolicy {
    /// It is passed on.
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

/// What is done with inbound traffic to ports that no service declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InboundTrafficPolicy {
    /// It is passed on to the application's own address.
    Passthrough,
    /// It is passed on to 127.0.0.1.
    Localhost,
}

/// Settings that hold for the whole mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshConfig {
    /// Port that captured outbound connections arrive at.
    pub proxy_listen_port: u16,
    /// Port that captured inbound connections arrive at.
    pub proxy_inbound_listen_port: u16,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// Trust domain of workload identities.
    pub trust_domain: Name,
    /// DNS domain of the platform's services.
    pub domain: Name,
    /// Namespace whose objects hold for the whole mesh.
    pub root_namespace: Name,
    /// What is done with traffic to unknown hosts.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// What is done with inbound traffic to undeclared ports.
    pub inbound_traffic_policy: InboundTrafficPolicy,
    /// Where services without `exportTo` are seen.
    pub default_service_export_to: Visibility,
    /// Where VirtualServices without `exportTo` are seen.
    pub default_virtual_service_export_to: Visibility,
    /// Where DestinationRules without `exportTo` are seen.
    pub default_destination_rule_export_to: Visibility,
    /// How often names are resolved again.
    pub dns_refresh_rate: Duration,
    /// How long a listener waits for the first bytes to tell the protocol;
    /// zero: without limit.
    pub protocol_detection_timeout: Duration,
    /// File that access logs go to; empty: none.
    pub access_log_file: Name,
    /// Format of access logs; empty: Istio's default. For JSON: an object.
    pub access_log_format: Name,
    /// Whether access logs are JSON.
    pub access_log_json: bool,
    /// Retry policy of routes that set none; `None`: Istio's default.
    pub default_http_retry_policy: Option<crate::rules::virtual_service::Retries>,
    /// How place counts where a rule does not say.
    pub locality_balancing: LocalityBalancing,
    /// The same by zone; stands before `locality_balancing`.
    pub zone_aware: Option<ZoneAware>,
    /// Defaults of the agent and its proxy.
    pub default_config: ProxyDefaults,
}

/// The part of `defaultConfig` (ProxyConfig) that the control plane and the
/// agent use.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyDefaults {
    /// `host:port` of the control plane.
    pub discovery_address: Name,
    /// Address of the Zipkin collector; empty: none.
    pub zipkin_address: Name,
    /// Number of worker threads; `None`: the machine's.
    pub concurrency: Option<u32>,
    /// How long a listener drains.
    pub drain_duration: Duration,
    /// How long a proxy waits for connections to end when it is told to stop.
    pub termination_drain_duration: Duration,
    /// Port of the proxy's admin interface.
    pub admin_port: u16,
    /// Port of the agent's status server.
    pub status_port: u16,
}

impl Default for MeshConfig {
    /// Istio's defaults.
    ///
    /// Source: `DefaultMeshConfig`, istio `pkg/config/mesh/mesh.go`.
    fn default() -> Self {
        Self {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            connect_timeout: Duration::from_secs(10),
            trust_domain: "cluster.local".into(),
            domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            inbound_traffic_policy: InboundTrafficPolicy::Passthrough,
            default_service_export_to: Visibility::Public,
            default_virtual_service_export_to: Visibility::Public,
            default_destination_rule_export_to: Visibility::Public,
            dns_refresh_rate: Duration::from_secs(60),
            protocol_detection_timeout: Duration::ZERO,
            access_log_file: "".into(),
            access_log_format: "".into(),
            access_log_json: false,
            default_http_retry_policy: None,
            locality_balancing: LocalityBalancing::default(),
            zone_aware: None,
            default_config: ProxyDefaults::default(),
        }
    }
}

impl Default for ProxyDefaults {
    fn default() -> Self {
        Self {
            discovery_address: "istiod.istio-system.svc:15012".into(),
            zipkin_address: "".into(),
            concurrency: None,
            drain_duration: Duration::from_secs(45),
            termination_drain_duration: Duration::from_secs(5),
            admin_port: 15000,
            status_port: 15020,
        }
    }
}
