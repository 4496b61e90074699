//! How an endpoint is chosen: the algorithm, and what place has to do with it.

use std::time::Duration;

use crate::{Locality, Name};

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadBalancer {
    /// Among endpoints that are equally near.
    pub algorithm: Algorithm,
    /// How nearness counts; `None`: as the mesh says.
    pub locality: Option<LocalityBalancing>,
    /// Zones of the client's region share requests by their size. Stands before
    /// `locality`; at most one of them is given.
    pub zone_aware: Option<ZoneAware>,
    /// How new endpoints are led up to their share.
    pub warmup: Option<Warmup>,
}

/// How one of several endpoints is chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Algorithm {
    /// The less loaded of two chosen at random (Istio's default).
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// At random.
    Random,
    /// The address that the client called.
    Passthrough,
    /// By something in the request: the same goes to the same.
    ConsistentHash(ConsistentHash),
}

/// Requests that agree in a key go to the same endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsistentHash {
    /// What requests must agree in; `None`: nothing, each goes anywhere.
    pub key: Option<HashKey>,
    /// How keys are laid onto endpoints.
    pub algorithm: HashAlgorithm,
}

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// A header.
    Header(Name),
    /// A cookie.
    Cookie(Cookie),
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(Name),
}

/// A cookie that requests are hashed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: Name,
    /// Its path; may be empty.
    pub path: Name,
    /// With a lifetime, a client without the cookie is given one; zero: for its
    /// session.
    pub ttl: Option<Duration>,
    /// Further attributes of a cookie that is given; each name once.
    pub attributes: Vec<(Name, Name)>,
}

/// How keys are laid onto endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// A ring with at least so many places; `None`: the proxy's default, 1024.
    RingHash(Option<u64>),
    /// A table of this many places, a prime below 5,000,011.
    Maglev(u64),
}

/// How the place of endpoints counts. Either `distribute`, or the two others.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityBalancing {
    /// Whether place counts at all.
    pub enabled: bool,
    /// Shares of requests by place, for clients in some place.
    pub distribute: Vec<Distribute>,
    /// Which region stands in for which.
    pub failover: Vec<Failover>,
    /// Labels, most important first, in which near endpoints agree with the
    /// client; each a name, or `name=value` with the value for the client's.
    pub failover_priority: Vec<Name>,
}

impl Default for LocalityBalancing {
    /// Nearer endpoints first, where failures are watched for.
    fn default() -> Self {
        Self { enabled: true, distribute: Vec::new(), failover: Vec::new(), failover_priority: Vec::new() }
    }
}

/// For clients in `from` (`region/zone/*`), the shares of requests by place;
/// they add up to 100. Sorted by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribute {
    /// Where the client is.
    pub from: Locality,
    /// Where endpoints are, and their share in percent.
    pub to: Vec<(Locality, u32)>,
}

/// If no endpoint in region `from` can be used, those in `to` are, before
/// others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// The client's region.
    pub from: Name,
    /// The region that stands in.
    pub to: Name,
}

/// Zones of the client's region share requests by size; other regions stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneAware {
    /// Whether it is on.
    pub enabled: bool,
    /// Which region stands in for which.
    pub failover: Vec<Failover>,
    /// As [`LocalityBalancing::failover_priority`].
    pub failover_priority: Vec<Name>,
    /// Below so many endpoints zones do not count; `None`: 6.
    pub min_cluster_size: Option<u32>,
}

/// A new endpoint's share grows for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Warmup {
    /// For how long.
    pub duration: Duration,
    /// Percent of the full share to begin with; `None`: 10.
    pub minimum_percent: Option<f64>,
    /// 1 grows evenly, more grows sooner; `None`: 1.
    pub aggression: Option<f64>,
}
