//! Endpoints: places that answer for a service.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Labels, Name, ServiceKey};

/// Where an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name that the proxy resolves.
    Dns(Name),
    /// An absolute path or `@abstract` name of a Unix socket.
    Unix(Name),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => write!(f, "{ip}"),
            Address::Dns(name) => f.write_str(name),
            Address::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// Whether an endpoint should get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Yes.
    Healthy,
    /// No: its platform says that it is not ready.
    Unhealthy,
    /// Only those that belong to an existing session.
    Draining,
    /// No: it is going away.
    Terminating,
}

/// Region, zone and sub-zone; each may be empty. `Display` writes
/// `region/zone/subzone`, without trailing empty parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// Such as `eu-west-1`.
    pub region: Name,
    /// Such as `eu-west-1a`.
    pub zone: Name,
    /// Such as a rack.
    pub subzone: Name,
}

impl Locality {
    /// Reads `region/zone/subzone`; missing parts are empty.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(Name::from);
        let mut next = || parts.next().unwrap_or_else(|| "".into());
        Self { region: next(), zone: next(), subzone: next() }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }
}

impl Default for Locality {
    fn default() -> Self {
        Self::parse("")
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}/{}/{}", self.region, self.zone, self.subzone);
        f.write_str(text.trim_end_matches('/'))
    }
}

/// One place that answers for one port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// The port there; 0 for Unix sockets.
    pub port: u16,
    /// Name of the service's port that it answers for.
    pub port_name: Name,
    /// Labels of its workload.
    pub labels: Labels,
    /// Share of requests relative to its peers; at least 1.
    pub weight: u32,
    /// Whether it should get requests.
    pub health: Health,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// Service account of its workload; empty if unknown.
    pub service_account: Name,
    /// Namespace of its workload.
    pub namespace: Name,
    /// Name of its workload (a Pod's or WorkloadEntry's name); empty if unknown.
    pub workload: Name,
    /// The node that it runs on; empty if unknown.
    pub node: Name,
    /// Network that it is in; empty for the mesh's own.
    pub network: Name,
}

/// All endpoints of one service, immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSet {
    /// Whose they are.
    pub service: ServiceKey,
    /// Sorted by address, port, and port name.
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSet {
    /// Sorts `endpoints` and drops repeats of the same address, port and port
    /// name: the last one given wins.
    pub fn new(service: ServiceKey, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        endpoints.reverse();
        let key = |e: &Endpoint| (e.address.clone(), e.port, e.port_name.clone());
        endpoints.sort_by_key(key);
        endpoints.dedup_by_key(|e| key(e));
        Self { service, endpoints }
    }

    /// Those that answer for the port called `name`.
    pub fn of_port<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Endpoint> + 'a {
        self.endpoints.iter().filter(move |e| &*e.port_name == name)
    }
}
