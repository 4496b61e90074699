//! Objects as their author knows them: kind, namespace, name, and the place in
//! a file where they stand.

use std::fmt;

use crate::{Labels, Name};

/// The kinds of object that a mesh is described with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Kubernetes' and Istio's own kind names")]
pub enum Kind {
    AuthorizationPolicy,
    BackendTlsPolicy,
    ConfigMap,
    DestinationRule,
    Endpoints,
    EndpointSlice,
    EnvoyFilter,
    Gateway,
    GatewayClass,
    GrpcRoute,
    HttpRoute,
    Ingress,
    IngressClass,
    /// `Gateway` of the group `gateway.networking.k8s.io`; Istio's own is
    /// [`Kind::Gateway`].
    KubernetesGateway,
    ListenerSet,
    MeshConfig,
    Namespace,
    Node,
    PeerAuthentication,
    Pod,
    ProxyConfig,
    ReferenceGrant,
    RequestAuthentication,
    Secret,
    Service,
    ServiceAccount,
    ServiceEntry,
    Sidecar,
    TcpRoute,
    Telemetry,
    TlsRoute,
    TrafficExtension,
    VirtualService,
    WasmPlugin,
    WorkloadEntry,
    WorkloadGroup,
    XBackendTrafficPolicy,
    XListenerSet,
}

impl Kind {
    /// All kinds, sorted by name.
    pub const ALL: [Kind; 38] = [
        Kind::AuthorizationPolicy,
        Kind::BackendTlsPolicy,
        Kind::ConfigMap,
        Kind::DestinationRule,
        Kind::EndpointSlice,
        Kind::Endpoints,
        Kind::EnvoyFilter,
        Kind::GrpcRoute,
        Kind::Gateway,
        Kind::KubernetesGateway,
        Kind::GatewayClass,
        Kind::HttpRoute,
        Kind::Ingress,
        Kind::IngressClass,
        Kind::ListenerSet,
        Kind::MeshConfig,
        Kind::Namespace,
        Kind::Node,
        Kind::PeerAuthentication,
        Kind::Pod,
        Kind::ProxyConfig,
        Kind::ReferenceGrant,
        Kind::RequestAuthentication,
        Kind::Secret,
        Kind::Service,
        Kind::ServiceAccount,
        Kind::ServiceEntry,
        Kind::Sidecar,
        Kind::TcpRoute,
        Kind::TlsRoute,
        Kind::Telemetry,
        Kind::TrafficExtension,
        Kind::VirtualService,
        Kind::WasmPlugin,
        Kind::WorkloadEntry,
        Kind::WorkloadGroup,
        Kind::XBackendTrafficPolicy,
        Kind::XListenerSet,
    ];

    /// The kind as it is written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::AuthorizationPolicy => "AuthorizationPolicy",
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
            Kind::ConfigMap => "ConfigMap",
            Kind::DestinationRule => "DestinationRule",
            Kind::Endpoints => "Endpoints",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::EnvoyFilter => "EnvoyFilter",
            Kind::Gateway => "Gateway",
            Kind::GatewayClass => "GatewayClass",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::HttpRoute => "HTTPRoute",
            Kind::Ingress => "Ingress",
            Kind::IngressClass => "IngressClass",
            Kind::KubernetesGateway => "Gateway",
            Kind::ListenerSet => "ListenerSet",
            Kind::MeshConfig => "MeshConfig",
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::PeerAuthentication => "PeerAuthentication",
            Kind::Pod => "Pod",
            Kind::ProxyConfig => "ProxyConfig",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::RequestAuthentication => "RequestAuthentication",
            Kind::Secret => "Secret",
            Kind::Service => "Service",
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::Sidecar => "Sidecar",
            Kind::TcpRoute => "TCPRoute",
            Kind::Telemetry => "Telemetry",
            Kind::TlsRoute => "TLSRoute",
            Kind::TrafficExtension => "TrafficExtension",
            Kind::VirtualService => "VirtualService",
            Kind::WasmPlugin => "WasmPlugin",
            Kind::WorkloadEntry => "WorkloadEntry",
            Kind::WorkloadGroup => "WorkloadGroup",
            Kind::XBackendTrafficPolicy => "XBackendTrafficPolicy",
            Kind::XListenerSet => "XListenerSet",
        }
    }
}

impl Kind {
    /// A name that no other kind has: as in a manifest, but with the group for
    /// the Gateway of the Kubernetes Gateway API, since Istio has a Gateway too.
    pub fn qualified(self) -> &'static str {
        match self {
            Kind::KubernetesGateway => "Gateway.gateway.networking.k8s.io",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names one object. `Display` writes `Kind namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Where it is; empty for cluster-scoped objects.
    pub namespace: Name,
    /// What it is called.
    pub name: Name,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.qualified(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.qualified(), self.name),
        }
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLocation {
    /// Path as the user gave it.
    pub file: Name,
    /// Line, counted from 1.
    pub line: u32,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What every object carries besides its specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Kind, namespace and name.
    pub object: ObjectRef,
    /// `apiVersion` as written, such as `networking.istio.io/v1`.
    pub api_version: Name,
    /// `metadata.labels`
    pub labels: Labels,
    /// `metadata.annotations`
    pub annotations: Labels,
    /// `metadata.creationTimestamp` in seconds since the Unix epoch; 0 if the
    /// object has none. Older objects win where two compete.
    pub created: i64,
    /// `metadata.resourceVersion`, empty if there is none.
    pub resource_version: Name,
    /// Where it stands, if it came from a file.
    pub location: Option<SourceLocation>,
    /// For an object that was derived from another and has a name of its own:
    /// the one that its author wrote.
    pub derived_from: Option<ObjectRef>,
}

impl Meta {
    /// Metadata of an object that carries nothing but its name.
    pub fn new(kind: Kind, namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self {
            object: ObjectRef { kind, namespace: namespace.into(), name: name.into() },
            api_version: "".into(),
            labels: Labels::default(),
            annotations: Labels::default(),
            created: 0,
            resource_version: "".into(),
            location: None,
            derived_from: None,
        }
    }

    /// The object that an author wrote: what diagnostics and origins name.
    pub fn origin(&self) -> &ObjectRef {
        self.derived_from.as_ref().unwrap_or(&self.object)
    }

    /// `metadata.namespace`
    pub fn namespace(&self) -> &Name {
        &self.object.namespace
    }

    /// `metadata.name`
    pub fn name(&self) -> &Name {
        &self.object.name
    }

    /// Orders objects as Istio does where several compete: oldest first, then
    /// by name, then by namespace.
    ///
    /// Source: `sortConfigByCreationTime`, istio `pilot/pkg/model/config.go`.
    pub fn age_order(&self) -> (i64, &str, &str) {
        (self.created, &self.object.name, &self.object.namespace)
    }
}
