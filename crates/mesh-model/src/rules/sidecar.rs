//! Sidecar: what a proxy needs to know of the mesh.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/sidecar/>

use std::sync::Arc;

use crate::rules::mesh_config::OutboundTrafficPolicy;
use crate::{Hostname, Labels, Meta, Name};

/// What workloads of a namespace see.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// Workloads it is about; empty: all of the namespace (of the mesh, if it
    /// stands in the root namespace).
    pub workload_selector: Labels,
    /// Hosts that the workloads may call; `None`: whatever is exported to them.
    pub egress: Option<Vec<EgressHosts>>,
    /// What happens to other destinations; `None`: the mesh's default.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// Hosts of one egress listener.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressHosts {
    /// Only these services; an entry that is hit in any listener is visible.
    pub hosts: Vec<EgressHost>,
    /// Only on this port; `None`: on all of the services' ports.
    pub port: Option<u16>,
}

/// `namespace/host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressHost {
    /// Where the service must be exported from.
    pub namespace: EgressNamespace,
    /// What it must be called; may begin with `*`.
    pub host: Hostname,
}

/// The namespace part of an egress host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EgressNamespace {
    /// `*`
    Any,
    /// `~`
    None,
    /// A name; `.` has been replaced by the Sidecar's own namespace.
    Name(Name),
}
