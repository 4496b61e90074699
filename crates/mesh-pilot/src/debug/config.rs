//! Objects as they were written: `configz`, `resourcesz`, `objectz`.

use mesh_model::Kind;
use serde_json::{Map, Value, json};

use super::{Query, Reply, View};
use crate::objects;

pub(super) fn configz(view: &View, _: &Query) -> Reply {
    Reply::Json(view.mesh.rules.all().iter().map(|rule| (*rule.document).clone()).collect())
}

pub(super) fn resourcesz(_: &View, _: &Query) -> Reply {
    let row = |kind: Kind| {
        let (group, version) = group_version(kind);
        json!({ "group": group, "version": version, "kind": kind.as_str() })
    };
    Reply::Json(Kind::ALL.into_iter().map(row).collect())
}

pub(super) fn objectz(view: &View, _: &Query) -> Reply {
    let places = objects::locations(&view.mesh);
    let place = |(object, location): (_, mesh_model::SourceLocation)| {
        (objects::key(&object), json!({ "file": &*location.file, "line": location.line }))
    };
    Reply::Json(Value::Object(places.into_iter().map(place).collect::<Map<_, _>>()))
}

/// API group and the version that is stored.
///
/// Source: istio `manifests/charts/base/files/crd-all.gen.yaml`.
fn group_version(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Gateway
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::Sidecar
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup => ("networking.istio.io", "v1"),
        Kind::EnvoyFilter => ("networking.istio.io", "v1alpha3"),
        Kind::ProxyConfig => ("networking.istio.io", "v1beta1"),
        Kind::AuthorizationPolicy | Kind::PeerAuthentication | Kind::RequestAuthentication => {
            ("security.istio.io", "v1")
        }
        Kind::Telemetry => ("telemetry.istio.io", "v1"),
        Kind::WasmPlugin | Kind::TrafficExtension => ("extensions.istio.io", "v1alpha1"),
        Kind::BackendTlsPolicy
        | Kind::GatewayClass
        | Kind::GrpcRoute
        | Kind::HttpRoute
        | Kind::KubernetesGateway
        | Kind::ListenerSet
        | Kind::ReferenceGrant
        | Kind::TcpRoute
        | Kind::TlsRoute => ("gateway.networking.k8s.io", "v1"),
        Kind::XBackendTrafficPolicy | Kind::XListenerSet => ("gateway.networking.x-k8s.io", "v1alpha1"),
        Kind::Ingress | Kind::IngressClass => ("networking.k8s.io", "v1"),
        Kind::MeshConfig => ("", "v1alpha1"),
        Kind::EndpointSlice => ("discovery.k8s.io", "v1"),
        Kind::ConfigMap
        | Kind::Endpoints
        | Kind::Namespace
        | Kind::Node
        | Kind::Pod
        | Kind::Secret
        | Kind::Service
        | Kind::ServiceAccount => ("", "v1"),
    }
}
