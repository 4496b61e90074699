//! ServiceEntry: a service that no platform reports.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/service-entry/>

use std::sync::Arc;

use ipnet::IpNet;

use crate::{Address, Hostname, Labels, Locality, Meta, Name, Port, Resolution, Visibility};

/// Services by host, with their endpoints or a way to find them.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceEntry {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// Hosts; never `*` alone.
    pub hosts: Vec<Hostname>,
    /// Virtual addresses.
    pub addresses: Vec<IpNet>,
    /// Ports; numbers are unique.
    pub ports: Vec<Port>,
    /// `MESH_EXTERNAL` (the default).
    pub mesh_external: bool,
    /// STATIC is [`Resolution::ClientSideLb`], NONE is [`Resolution::Passthrough`].
    pub resolution: Resolution,
    /// Endpoints written in the entry.
    pub endpoints: Vec<EntryEndpoint>,
    /// Pods and WorkloadEntries of the same namespace that are its endpoints;
    /// `None` if it does not select any.
    pub workload_selector: Option<Labels>,
    /// Which namespaces see it.
    pub export_to: Visibility,
}

/// An endpoint written in a ServiceEntry.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryEndpoint {
    /// Where it is.
    pub address: Address,
    /// Port name to number there; a port that is not named uses the service
    /// port's target.
    pub ports: Vec<(Name, u16)>,
    /// Labels, for subsets.
    pub labels: Labels,
    /// Relative share; at least 1.
    pub weight: u32,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// Service account; may be empty.
    pub service_account: Name,
    /// Network; may be empty.
    pub network: Name,
}
