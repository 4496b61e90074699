//! Endpoints as configured: localities, priorities, weights, health.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_proto::Message;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3 as xds;
use mesh_proto::origin::{self, Origin};

use crate::error::{At, ConfigError, Kind};
use crate::parse::{self, honour};
use crate::tls::Labels;

#[cfg(test)]
mod tests;

/// A parsed `ClusterLoadAssignment`.
#[derive(Debug, Clone, PartialEq)]
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
    /// What it says about its transport.
    pub labels: Labels,
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

/// Whether a load assignment may hold host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// EDS and STATIC: addresses must be IPs.
    Refused,
    /// DNS clusters.
    Allowed,
}

impl Default for LoadAssignment {
    fn default() -> Self {
        Self {
            cluster_name: Arc::default(),
            localities: Vec::new(),
            overprovisioning_factor: OVERPROVISIONING_DEFAULT,
            weighted_priority_health: false,
            drop_overloads: Vec::new(),
            hash: 0,
        }
    }
}

impl LoadAssignment {
    /// Reads the endpoints of an EDS cluster: addresses must be IPs.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::ClusterLoadAssignment) -> Result<Self, ConfigError> {
        let at = At::root(Kind::Endpoint, &proto.cluster_name);
        parse::non_empty(&at, "cluster_name", &proto.cluster_name)?;
        Self::parse_at(&at, proto, Names::Refused)
    }

    /// Reads endpoints that stand at `at`.
    pub(crate) fn parse_at(at: &At<'_>, proto: &xds::ClusterLoadAssignment, names: Names) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::ClusterLoadAssignment =>
            honour [cluster_name endpoints policy]
            ignore []
            refuse [named_endpoints]
        );
        let mut localities = Vec::with_capacity(proto.endpoints.len());
        for (i, group) in proto.endpoints.iter().enumerate() {
            localities.push(locality_endpoints(&at.index("endpoints", i), group, names)?);
        }
        check_locality_weights(at, &localities)?;
        let (overprovisioning_factor, weighted_priority_health, drop_overloads) =
            policy(&at.field("policy"), proto.policy.as_ref())?;
        Ok(Self {
            cluster_name: proto.cluster_name.as_str().into(),
            localities,
            overprovisioning_factor,
            weighted_priority_health,
            drop_overloads,
            hash: xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec()),
        })
    }

    /// Names to be resolved, each once.
    pub fn names(&self) -> Vec<Arc<str>> {
        let all = self.localities.iter().flat_map(|l| &l.endpoints);
        let names: BTreeSet<Arc<str>> = all
            .filter_map(|e| match &e.target {
                Target::Name(name, _) => Some(name.clone()),
                Target::Address(_) => None,
            })
            .collect();
        names.into_iter().collect()
    }

    /// This assignment with every name replaced by the addresses that
    /// `lookup` gives for it: one endpoint per address, or none if there is
    /// none. The name becomes the endpoint's host name if it has no other.
    pub fn resolve(&self, lookup: impl Fn(&str) -> Vec<IpAddr>) -> Self {
        let expand = |endpoint: &Endpoint| -> Vec<Endpoint> {
            let Target::Name(name, port) = &endpoint.target else { return vec![endpoint.clone()] };
            let hostname = if endpoint.hostname.is_empty() { name.clone() } else { endpoint.hostname.clone() };
            let at = |ip| Target::Address(SocketAddr::new(ip, *port));
            let one = |ip| Endpoint { target: at(ip), hostname: hostname.clone(), ..endpoint.clone() };
            lookup(name).into_iter().map(one).collect()
        };
        let mut resolved = self.clone();
        for locality in &mut resolved.localities {
            locality.endpoints = locality.endpoints.iter().flat_map(expand).collect();
        }
        resolved
    }
}

fn locality_endpoints(
    at: &At<'_>,
    proto: &xds::LocalityLbEndpoints,
    names: Names,
) -> Result<LocalityEndpoints, ConfigError> {
    use xds::locality_lb_endpoints::LbConfig;
    honour!(at, proto, xds::LocalityLbEndpoints =>
        honour [locality lb_endpoints load_balancing_weight priority lb_config]
        ignore [metadata proximity]
        refuse []
    );
    if proto.priority > PRIORITY_MAX {
        return Err(at.field("priority").invalid(proto.priority, "0 to 128"));
    }
    let listed = match &proto.lb_config {
        None => &proto.lb_endpoints,
        Some(LbConfig::LoadBalancerEndpoints(list)) => &list.lb_endpoints,
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            return Err(at.field("leds_cluster_locality_config").unsupported());
        }
    };
    let mut endpoints = Vec::with_capacity(listed.len());
    for (i, endpoint) in listed.iter().enumerate() {
        endpoints.push(lb_endpoint(&at.index("lb_endpoints", i), endpoint, names)?);
    }
    Ok(LocalityEndpoints {
        locality: proto.locality.as_ref().map(Locality::from_proto).unwrap_or_default(),
        priority: proto.priority,
        weight: weight(at, proto.load_balancing_weight.as_ref())?,
        endpoints,
    })
}

fn lb_endpoint(at: &At<'_>, proto: &xds::LbEndpoint, names: Names) -> Result<Endpoint, ConfigError> {
    use xds::lb_endpoint::HostIdentifier;
    honour!(at, proto, xds::LbEndpoint =>
        honour [health_status metadata load_balancing_weight host_identifier]
        ignore []
        refuse []
    );
    let weight = weight(at, proto.load_balancing_weight.as_ref())?.unwrap_or(1);
    let health = Health::from_proto(proto.health_status)
        .ok_or_else(|| at.field("health_status").invalid(proto.health_status, "a HealthStatus"))?;
    let endpoint = match &proto.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(_)) => return Err(at.field("endpoint_name").unsupported()),
        None => return Err(at.missing("an endpoint")),
    };
    let at = at.field("endpoint");
    honour!(&at, endpoint, xds::Endpoint =>
        honour [address hostname]
        // Only active health checks read it, and clusters that ask for those are refused.
        ignore [health_check_config]
        refuse [additional_addresses observability_name]
    );
    Ok(Endpoint {
        target: target(&at.field("address"), endpoint.address.as_ref(), names)?,
        hostname: endpoint.hostname.as_str().into(),
        weight,
        health,
        labels: Labels::of_metadata(proto.metadata.as_ref()),
        origins: origin::read(proto.metadata.as_ref()),
    })
}

fn target(at: &At<'_>, address: Option<&core::Address>, names: Names) -> Result<Target, ConfigError> {
    if names == Names::Allowed {
        let socket = parse::tcp_address(at, address)?;
        let port = parse::port(&at.field("socket_address"), socket)?;
        return Ok(match socket.address.parse::<IpAddr>() {
            Ok(ip) => Target::Address(SocketAddr::new(ip, port)),
            Err(_) => Target::Name(socket.address.as_str().into(), port),
        });
    }
    parse::socket_address(at, address).map(Target::Address)
}

fn weight(at: &At<'_>, value: Option<&mesh_proto::google::protobuf::UInt32Value>) -> Result<Option<u32>, ConfigError> {
    match value.map(|v| v.value) {
        Some(0) => Err(at.field("load_balancing_weight").invalid(0, "at least 1")),
        other => Ok(other),
    }
}

fn check_locality_weights(at: &At<'_>, localities: &[LocalityEndpoints]) -> Result<(), ConfigError> {
    for priority in localities.iter().map(|l| l.priority).collect::<BTreeSet<_>>() {
        let of = localities.iter().filter(|l| l.priority == priority);
        let sum: u64 = of.map(|l| u64::from(l.weight.unwrap_or(0))).sum();
        if sum > u64::from(u32::MAX) {
            return Err(at.rule(format!(
                "The sum of weights of all localities at the same priority exceeds {} (priority {priority})",
                u32::MAX
            )));
        }
    }
    Ok(())
}

type Policy = (u32, bool, Vec<(Box<str>, u32)>);

fn policy(at: &At<'_>, proto: Option<&xds::cluster_load_assignment::Policy>) -> Result<Policy, ConfigError> {
    use xds::cluster_load_assignment::Policy;
    let Some(proto) = proto else { return Ok((OVERPROVISIONING_DEFAULT, false, Vec::new())) };
    honour!(at, proto, Policy =>
        honour [drop_overloads overprovisioning_factor weighted_priority_health]
        ignore []
        refuse [endpoint_stale_after]
    );
    let factor = parse::u32_or(proto.overprovisioning_factor.as_ref(), OVERPROVISIONING_DEFAULT);
    if factor == 0 {
        return Err(at.field("overprovisioning_factor").invalid(0, "greater than 0"));
    }
    let mut drops = Vec::new();
    for (i, drop) in proto.drop_overloads.iter().enumerate() {
        let at = at.index("drop_overloads", i);
        parse::non_empty(&at, "category", &drop.category)?;
        if let Some(share) = &drop.drop_percentage {
            let ppm = parse::parts_per_million(&at.field("drop_percentage"), share)?;
            drops.push((drop.category.as_str().into(), ppm));
        }
    }
    if drops.len() > 1 {
        return Err(at.rule("Cluster drop_overloads config has more than one drop category"));
    }
    Ok((factor, proto.weighted_priority_health, drops))
}

impl Locality {
    fn from_proto(proto: &core::Locality) -> Self {
        Self {
            region: proto.region.as_str().into(),
            zone: proto.zone.as_str().into(),
            sub_zone: proto.sub_zone.as_str().into(),
        }
    }
}

/// `region/zone/sub_zone`, without empty ends.
impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = format!("{}/{}/{}", self.region, self.zone, self.sub_zone);
        f.write_str(whole.trim_end_matches('/'))
    }
}

impl Health {
    fn from_proto(value: i32) -> Option<Self> {
        Some(match core::HealthStatus::try_from(value).ok()? {
            core::HealthStatus::Unknown => Self::Unknown,
            core::HealthStatus::Healthy => Self::Healthy,
            core::HealthStatus::Unhealthy => Self::Unhealthy,
            core::HealthStatus::Draining => Self::Draining,
            core::HealthStatus::Timeout => Self::Timeout,
            core::HealthStatus::Degraded => Self::Degraded,
        })
    }

    /// `HEALTHY`, ... as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Draining => "DRAINING",
            Self::Timeout => "TIMEOUT",
            Self::Degraded => "DEGRADED",
        }
    }
}

/// Envoy's default: traffic spills over when less than 1/1.4 of a priority is healthy.
const OVERPROVISIONING_DEFAULT: u32 = 140;
/// Envoy's bound.
const PRIORITY_MAX: u32 = 128;
