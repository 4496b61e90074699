//! The kinds that are read, with their groups and served versions.

use mesh_model::Kind;

/// What an `apiVersion` and `kind` mean.
pub(super) enum Found {
    /// A kind that is read.
    Served(Kind),
    /// A kind that is read, in other versions only; these.
    OtherVersion(Kind, String),
    /// Nothing that is read.
    Unknown,
}

pub(super) fn find(api_version: &str, kind: &str) -> Found {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some((_, kind, versions)) = KINDS.iter().find(|(g, k, _)| *g == group && k.as_str() == kind) else {
        return Found::Unknown;
    };
    if versions.contains(&version) {
        return Found::Served(*kind);
    }
    let served: Vec<String> =
        versions.iter().map(|v| if group.is_empty() { (*v).to_owned() } else { format!("{group}/{v}") }).collect();
    Found::OtherVersion(*kind, served.join(" or "))
}

/// Whether objects of this kind live in a namespace.
pub fn is_namespaced(kind: Kind) -> bool {
    !matches!(kind, Kind::GatewayClass | Kind::IngressClass | Kind::Namespace | Kind::Node)
}

/// Group, kind, served versions.
///
/// Source: the CRDs of Istio 1.32 and of Gateway API 1.6, and Kubernetes' API.
const KINDS: [(&str, Kind, &[&str]); 37] = [
    ("", Kind::ConfigMap, &["v1"]),
    ("", Kind::Endpoints, &["v1"]),
    ("", Kind::Namespace, &["v1"]),
    ("", Kind::Node, &["v1"]),
    ("", Kind::Pod, &["v1"]),
    ("", Kind::Secret, &["v1"]),
    ("", Kind::Service, &["v1"]),
    ("", Kind::ServiceAccount, &["v1"]),
    ("discovery.k8s.io", Kind::EndpointSlice, &["v1"]),
    (EXTENSIONS, Kind::TrafficExtension, &["v1alpha1"]),
    (EXTENSIONS, Kind::WasmPlugin, &["v1alpha1"]),
    (NETWORKING, Kind::DestinationRule, NETWORKING_VERSIONS),
    (NETWORKING, Kind::EnvoyFilter, &["v1alpha3"]),
    (NETWORKING, Kind::Gateway, NETWORKING_VERSIONS),
    (NETWORKING, Kind::ProxyConfig, &["v1beta1"]),
    (NETWORKING, Kind::ServiceEntry, NETWORKING_VERSIONS),
    (NETWORKING, Kind::Sidecar, NETWORKING_VERSIONS),
    (NETWORKING, Kind::VirtualService, NETWORKING_VERSIONS),
    (NETWORKING, Kind::WorkloadEntry, NETWORKING_VERSIONS),
    (NETWORKING, Kind::WorkloadGroup, NETWORKING_VERSIONS),
    (SECURITY, Kind::AuthorizationPolicy, SECURITY_VERSIONS),
    (SECURITY, Kind::PeerAuthentication, SECURITY_VERSIONS),
    (SECURITY, Kind::RequestAuthentication, SECURITY_VERSIONS),
    ("telemetry.istio.io", Kind::Telemetry, &["v1", "v1alpha1"]),
    (GATEWAY_API, Kind::BackendTlsPolicy, &["v1", "v1alpha3"]),
    (GATEWAY_API, Kind::GatewayClass, &["v1", "v1beta1"]),
    (GATEWAY_API, Kind::GrpcRoute, &["v1"]),
    (GATEWAY_API, Kind::HttpRoute, &["v1", "v1beta1"]),
    (GATEWAY_API, Kind::KubernetesGateway, &["v1", "v1beta1"]),
    (GATEWAY_API, Kind::ListenerSet, &["v1"]),
    (GATEWAY_API, Kind::ReferenceGrant, &["v1", "v1beta1"]),
    (GATEWAY_API, Kind::TcpRoute, &["v1", "v1alpha2"]),
    (GATEWAY_API, Kind::TlsRoute, &["v1", "v1alpha3", "v1alpha2"]),
    (GATEWAY_API_EXPERIMENTS, Kind::XBackendTrafficPolicy, &["v1alpha1"]),
    (GATEWAY_API_EXPERIMENTS, Kind::XListenerSet, &["v1alpha1"]),
    ("networking.k8s.io", Kind::Ingress, &["v1"]),
    ("networking.k8s.io", Kind::IngressClass, &["v1"]),
];
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_API_EXPERIMENTS: &str = "gateway.networking.x-k8s.io";
const EXTENSIONS: &str = "extensions.istio.io";
const NETWORKING: &str = "networking.istio.io";
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &str = "security.istio.io";
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_model_can_be_read_but_the_one_inside_a_config_map() {
        let read: Vec<Kind> = KINDS.iter().map(|(_, kind, _)| *kind).collect();
        let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !read.contains(kind)).collect();
        assert_eq!(missing, [Kind::MeshConfig]);
    }
}
