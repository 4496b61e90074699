//! Any Kubernetes object, as written.

use mesh_model::{Labels, Name};

use crate::schema::At;
use crate::yaml::Node;

/// A kind by its group and name; versions do not matter to analyses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KindName {
    /// API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// `kind`
    pub kind: &'static str,
}

const fn kind(group: &'static str, kind: &'static str) -> KindName {
    KindName { group, kind }
}

pub(super) const AUTHORIZATION_POLICY: KindName = kind("security.istio.io", "AuthorizationPolicy");
pub(super) const CONFIG_MAP: KindName = kind("", "ConfigMap");
pub(super) const CUSTOM_RESOURCE: KindName = kind("apiextensions.k8s.io", "CustomResourceDefinition");
pub(super) const DEPLOYMENT: KindName = kind("apps", "Deployment");
pub(super) const DESTINATION_RULE: KindName = kind("networking.istio.io", "DestinationRule");
pub(super) const ENVOY_FILTER: KindName = kind("networking.istio.io", "EnvoyFilter");
pub(super) const GATEWAY: KindName = kind("networking.istio.io", "Gateway");
pub(super) const GRPC_ROUTE: KindName = kind("gateway.networking.k8s.io", "GRPCRoute");
pub(super) const HTTP_ROUTE: KindName = kind("gateway.networking.k8s.io", "HTTPRoute");
pub(super) const KUBERNETES_GATEWAY: KindName = kind("gateway.networking.k8s.io", "Gateway");
pub(super) const MUTATING_WEBHOOK: KindName = kind("admissionregistration.k8s.io", "MutatingWebhookConfiguration");
pub(super) const NAMESPACE: KindName = kind("", "Namespace");
pub(super) const NODE: KindName = kind("", "Node");
pub(super) const PEER_AUTHENTICATION: KindName = kind("security.istio.io", "PeerAuthentication");
pub(super) const POD: KindName = kind("", "Pod");
pub(super) const PROXY_CONFIG: KindName = kind("networking.istio.io", "ProxyConfig");
pub(super) const REQUEST_AUTHENTICATION: KindName = kind("security.istio.io", "RequestAuthentication");
pub(super) const SECRET: KindName = kind("", "Secret");
pub(super) const SERVICE: KindName = kind("", "Service");
pub(super) const SERVICE_ENTRY: KindName = kind("networking.istio.io", "ServiceEntry");
pub(super) const SIDECAR: KindName = kind("networking.istio.io", "Sidecar");
pub(super) const TELEMETRY: KindName = kind("telemetry.istio.io", "Telemetry");
pub(super) const TRAFFIC_EXTENSION: KindName = kind("extensions.istio.io", "TrafficExtension");
pub(super) const VALIDATING_WEBHOOK: KindName = kind("admissionregistration.k8s.io", "ValidatingWebhookConfiguration");
pub(super) const VIRTUAL_SERVICE: KindName = kind("networking.istio.io", "VirtualService");
pub(super) const WASM_PLUGIN: KindName = kind("extensions.istio.io", "WasmPlugin");
pub(super) const WORKLOAD_ENTRY: KindName = kind("networking.istio.io", "WorkloadEntry");
pub(super) const WORKLOAD_GROUP: KindName = kind("networking.istio.io", "WorkloadGroup");

/// Kinds that live in no namespace.
const CLUSTER_SCOPED: [&str; 8] = [
    "Namespace",
    "Node",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "GatewayClass",
    "IngressClass",
    "PersistentVolume",
];

/// One object.
#[derive(Debug, Clone)]
pub struct Object {
    /// API group; empty for Kubernetes' core.
    pub group: Name,
    /// `kind`
    pub kind: Name,
    /// `apiVersion`
    pub api_version: Name,
    /// Where it is; empty if it is in no namespace, or none was given.
    pub namespace: Name,
    /// What it is called.
    pub name: Name,
    /// `metadata.labels`
    pub labels: Labels,
    /// `metadata.annotations`
    pub annotations: Labels,
    /// `metadata.creationTimestamp` in seconds since the Unix epoch, or 0.
    pub created: i64,
    /// The file that it stands in, as the user gave it; empty: in none.
    pub file: Name,
    /// Which cluster it comes from; empty: the only one.
    pub cluster: Name,
    /// The whole object.
    pub root: Node,
}

impl Object {
    /// The object in `root`, with `namespace` where none is written. `None` if
    /// it has no kind or no name.
    pub fn of_node(root: Node, namespace: &str, file: &Name) -> Option<Self> {
        let text = |at: At<'_>| -> Name { at.text().into() };
        let labels = |name: &str| At::root(&root).path(&["metadata", name]).pairs().into_iter().collect::<Labels>();
        let at = At::root(&root);
        let (api_version, kind) = (text(at.get("apiVersion")), text(at.get("kind")));
        let name = text(at.path(&["metadata", "name"]));
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        let written = text(at.path(&["metadata", "namespace"]));
        let namespace = match () {
            () if CLUSTER_SCOPED.contains(&&*kind) => "".into(),
            () if written.is_empty() => namespace.into(),
            () => written,
        };
        let created = at.path(&["metadata", "creationTimestamp"]).text();
        Some(Self {
            group: api_version.rsplit_once('/').map_or("", |(group, _)| group).into(),
            kind,
            namespace,
            name,
            labels: labels("labels"),
            annotations: labels("annotations"),
            created: created.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second()),
            file: file.clone(),
            cluster: "".into(),
            api_version,
            root,
        })
    }

    /// The place behind `names`.
    pub fn at(&self, names: &[&str]) -> At<'_> {
        At::root(&self.root).path(names)
    }

    /// `spec`
    pub fn spec(&self) -> At<'_> {
        self.at(&["spec"])
    }

    /// `namespace/name`; the name alone if it is in no namespace.
    pub fn full_name(&self) -> String {
        match &*self.namespace {
            "" => self.name.to_string(),
            namespace => format!("{namespace}/{}", self.name),
        }
    }

    /// `Kind namespace/name`, as Istio's tools write it.
    pub fn origin(&self) -> String {
        format!("{} {}", self.kind, self.full_name())
    }

    /// Whether it is of kind `kind`.
    pub fn is(&self, kind: KindName) -> bool {
        *self.group == *kind.group && *self.kind == *kind.kind
    }

    /// Orders objects as Istio does where several compete: oldest first, then
    /// by name, then by namespace.
    pub(super) fn age_order(&self) -> (i64, &str, &str) {
        (self.created, &self.name, &self.namespace)
    }

    /// Whether it is a part of Istio itself.
    pub(super) fn is_control_plane(&self) -> bool {
        self.labels.get("istio").is_some() || self.labels.get("release") == Some("istio")
    }
}
