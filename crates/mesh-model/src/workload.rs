//! Workloads: what runs behind a sidecar, and the namespaces they live in.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{Locality, Meta, Name};

/// Tells workloads apart: namespace and name, whatever the kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// Namespace.
    pub namespace: Name,
    /// Name of the Pod or WorkloadEntry.
    pub name: Name,
}

/// One named port of a workload's container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// Its name; may be empty.
    pub name: Name,
    /// Its number.
    pub number: u16,
}

/// A Pod or WorkloadEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The object; kind Pod or WorkloadEntry, with its labels and annotations.
    pub meta: Arc<Meta>,
    /// Addresses, the primary one first; empty while it has none.
    pub addresses: Vec<IpAddr>,
    /// Its service account; empty if unknown.
    pub service_account: Name,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// The node that it runs on; empty if unknown.
    pub node: Name,
    /// Ports that its containers declare, or a WorkloadEntry's `ports`.
    pub ports: Vec<ContainerPort>,
    /// Whether it shares its node's network (no sidecar then).
    pub host_network: bool,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// Relative share of requests; at least 1.
    pub weight: u32,
    /// Network that it is in; empty for the mesh's own.
    pub network: Name,
}

impl Workload {
    /// Namespace and name.
    pub fn key(&self) -> WorkloadKey {
        WorkloadKey { namespace: self.meta.namespace().clone(), name: self.meta.name().clone() }
    }

    /// Whether it is a gateway: a proxy alone, without an application. Its
    /// annotation `inject.istio.io/templates` says so, or the label that the
    /// Gateway API gives to what it deploys.
    pub fn is_gateway(&self) -> bool {
        let templates = self.meta.annotations.get("inject.istio.io/templates").unwrap_or_default();
        let deployed = self.meta.labels.get("gateway.networking.k8s.io/gateway-name").is_some();
        deployed || templates.split(',').any(|t| t.trim() == "gateway")
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The object, with its labels and annotations.
    pub meta: Arc<Meta>,
}
