//! Mesh-wide settings.
//!
//! Source: <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::rules::destination_rule::{LocalityBalancing, ZoneAware};
use crate::rules::provider::{DefaultProviders, LogFormat, Provider, ProviderKind};
use crate::rules::telemetry::Tag;
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

/// Which Ingresses are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IngressControllerMode {
    /// None.
    Off,
    /// Those of the mesh's class, and those of no class.
    Default,
    /// Those of the mesh's class.
    Strict,
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
    /// Where logs, spans and metrics may go.
    pub extension_providers: Vec<Arc<Provider>>,
    /// Where they go unless a Telemetry object says otherwise.
    pub default_providers: DefaultProviders,
    /// Whether spans go to `defaultConfig.tracing` where neither Telemetry
    /// objects nor default providers say anything.
    pub enable_tracing: bool,
    /// Defaults of the agent and its proxy.
    pub default_config: ProxyDefaults,
    /// Class of the Ingresses that are served, as in the annotation
    /// `kubernetes.io/ingress.class`.
    pub ingress_class: Name,
    /// Which Ingresses are served.
    pub ingress_controller_mode: IngressControllerMode,
    /// Value of the label `istio` of the proxies that serve them; empty: as
    /// `ingress_service` says.
    pub ingress_selector: Name,
    /// Service of those proxies.
    pub ingress_service: Name,
}

/// The part of `defaultConfig` (ProxyConfig) that the control plane and the
/// agent use.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyDefaults {
    /// `host:port` of the control plane.
    pub discovery_address: Name,
    /// Address of the Zipkin collector; empty: none.
    pub zipkin_address: Name,
    /// Spans, where `enableTracing` asks for them; and what Telemetry objects
    /// leave open.
    pub tracing: TracingDefaults,
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

/// The part of `defaultConfig.tracing` that does not depend on the tracer.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingDefaults {
    /// Hundredths of a percent of requests that are traced.
    pub sampling: u32,
    /// Tags, by name.
    pub tags: BTreeMap<Name, Tag>,
    /// Bytes of the path that a span carries; 0: Envoy's default.
    pub max_path_tag_length: u32,
    /// Whether Istio's own tags are added.
    pub istio_tags: bool,
}

impl Default for TracingDefaults {
    /// One percent, as `PILOT_TRACE_SAMPLING` is.
    fn default() -> Self {
        Self { sampling: 100, tags: BTreeMap::new(), max_path_tag_length: 0, istio_tags: true }
    }
}

/// The provider `envoy`, which every mesh has.
fn file_log() -> Arc<Provider> {
    let kind = ProviderKind::FileLog { path: "/dev/stdout".into(), format: LogFormat::Mesh, omit_empty: false };
    Arc::new(Provider { name: "envoy".into(), kind })
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
            extension_providers: vec![
                Arc::new(Provider { name: "prometheus".into(), kind: ProviderKind::Prometheus }),
                file_log(),
            ],
            default_providers: DefaultProviders { metrics: vec!["prometheus".into()], ..Default::default() },
            enable_tracing: false,
            default_config: ProxyDefaults::default(),
            ingress_class: "istio".into(),
            ingress_controller_mode: IngressControllerMode::Strict,
            ingress_selector: "".into(),
            ingress_service: "istio-ingressgateway".into(),
        }
    }
}

impl Default for ProxyDefaults {
    fn default() -> Self {
        Self {
            discovery_address: "istiod.istio-system.svc:15012".into(),
            zipkin_address: "".into(),
            tracing: TracingDefaults::default(),
            concurrency: None,
            drain_duration: Duration::from_secs(45),
            termination_drain_duration: Duration::from_secs(5),
            admin_port: 15000,
            status_port: 15020,
        }
    }
}
