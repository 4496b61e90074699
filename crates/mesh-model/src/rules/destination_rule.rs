//! DestinationRule: how requests to a host are balanced and limited.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/destination-rule/>

use std::sync::Arc;
use std::time::Duration;

use crate::{Hostname, Labels, Meta, Name, Visibility};

mod load_balancer;
#[cfg(test)]
mod tests;
mod upstream;

pub use load_balancer::{
    Algorithm, ConsistentHash, Cookie, Distribute, Failover, HashAlgorithm, HashKey, LoadBalancer, LocalityBalancing,
    Warmup, ZoneAware,
};
pub use upstream::{ClientTls, ProxyProtocol, RetryBudget, TlsMode, Tunnel};

/// Policies for a host and its subsets.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// The host, short names resolved; may begin with `*`.
    pub host: Hostname,
    /// Which namespaces see it.
    pub export_to: Visibility,
    /// Client workloads of its namespace that it holds for; empty: all. A rule
    /// with a selector is seen in its own namespace alone.
    pub workload_selector: Labels,
    /// What holds for the host as a whole.
    pub policy: TrafficPolicy,
    /// Named parts of the host's endpoints; names are unique.
    pub subsets: Vec<Subset>,
}

/// A named part of a host's endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// Its name.
    pub name: Name,
    /// Labels that select its endpoints.
    pub labels: Labels,
    /// What holds for it beyond, and instead of, the host's policy.
    pub policy: TrafficPolicy,
}

/// How traffic to a host is handled. `None` means: not said here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficPolicy {
    /// What is said for the destination as a whole.
    pub destination: PortPolicy,
    /// What is said for single ports; it replaces, whole, what is said for the
    /// destination (a field that is absent here takes its default, not the
    /// destination's). Sorted by port.
    pub ports: Vec<(u16, PortPolicy)>,
    /// Connections are tunnelled through the destination to another.
    pub tunnel: Option<Tunnel>,
    /// Connections begin with a PROXY protocol header of this version.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Retries as a share of the requests in flight.
    pub retry_budget: Option<RetryBudget>,
}

/// The settings of a destination or of one port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PortPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is put aside.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS of connections to the destination; `None`: the mesh decides.
    pub tls: Option<ClientTls>,
}

/// What holds for one port of a host or of one of its subsets, after all levels
/// of the rule are put together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Effective<'a> {
    /// How an endpoint is chosen.
    pub load_balancer: Option<&'a LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<&'a ConnectionPool>,
    /// When an endpoint is put aside.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// TLS of connections.
    pub tls: Option<&'a ClientTls>,
    /// Connections begin with a PROXY protocol header of this version.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Retries as a share of the requests in flight.
    pub retry_budget: Option<RetryBudget>,
}

impl TrafficPolicy {
    /// What holds for `port` of the host that this is the policy of or, with
    /// `subset`, of that subset: the subset's word goes before the host's,
    /// setting by setting. Settings for the port replace what is said for the
    /// destination at the same level; a subset's replace the host's, too.
    ///
    /// Source: `MergeSubsetTrafficPolicy` and `GetPortLevelTrafficPolicy`, istio
    /// `pilot/pkg/networking/util/util.go`.
    pub fn effective<'a>(host: Option<&'a Self>, subset: Option<&'a Self>, port: u16) -> Effective<'a> {
        let base = host.map(|policy| policy.level(port).1).unwrap_or_default();
        let Some(subset) = subset else { return base };
        let (replaces, own) = subset.level(port);
        let merged = Effective {
            load_balancer: own.load_balancer.or(base.load_balancer),
            connection_pool: own.connection_pool.or(base.connection_pool),
            outlier_detection: own.outlier_detection.or(base.outlier_detection),
            tls: own.tls.or(base.tls),
            proxy_protocol: own.proxy_protocol.or(base.proxy_protocol),
            retry_budget: own.retry_budget.or(base.retry_budget),
        };
        match replaces {
            true => Effective { proxy_protocol: merged.proxy_protocol, retry_budget: merged.retry_budget, ..own },
            false => merged,
        }
    }

    /// Whether it says something about `port` alone, and what holds there at
    /// this level.
    fn level(&self, port: u16) -> (bool, Effective<'_>) {
        let own = self.ports.iter().find(|(number, _)| *number == port).map(|(_, policy)| policy);
        let policy = own.unwrap_or(&self.destination);
        let of_destination = own.is_none();
        let effective = Effective {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            proxy_protocol: self.proxy_protocol.filter(|_| of_destination),
            retry_budget: self.retry_budget.filter(|_| of_destination),
        };
        (own.is_some(), effective)
    }

    /// Every setting that is written for the destination or for a port.
    pub fn settings(&self) -> impl Iterator<Item = &PortPolicy> {
        std::iter::once(&self.destination).chain(self.ports.iter().map(|(_, policy)| policy))
    }
}

/// Limits on connections and requests. `None` means Istio's default, which is
/// no limit for counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionPool {
    /// Connections to the host.
    pub max_connections: Option<u32>,
    /// Default 10 s.
    pub connect_timeout: Option<Duration>,
    /// TCP keep-alive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection lives at most.
    pub max_connection_duration: Option<Duration>,
    /// Idle time of TCP connections, default 1 h; zero: without limit.
    pub tcp_idle_timeout: Option<Duration>,
    /// Requests that wait for a connection.
    pub http1_max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub http2_max_requests: Option<u32>,
    /// Requests per connection; 0: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
    /// Idle time of HTTP connections, default 1 h.
    pub http_idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 requests are sent as HTTP/2.
    pub h2_upgrade: Option<bool>,
    /// Whether the upstream protocol is the downstream one.
    pub use_client_protocol: bool,
    /// Streams per HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 pings: their interval, and how long an answer may take.
    pub http2_keepalive: Option<(Duration, Duration)>,
}

/// TCP keep-alive probes; `None` leaves the system's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// When an endpoint is put aside, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierDetection {
    /// Consecutive 5xx; `Some(0)` turns it off; default 5.
    pub consecutive_5xx: Option<u32>,
    /// Consecutive 502, 503, 504; off by default.
    pub consecutive_gateway_errors: Option<u32>,
    /// Whether failures to connect are counted apart.
    pub split_external_local_origin_errors: bool,
    /// Consecutive failures to connect, if counted apart; default 5.
    pub consecutive_local_origin_failures: Option<u32>,
    /// Time between sweeps; default 10 s.
    pub interval: Option<Duration>,
    /// Times the number of ejections; default 30 s.
    pub base_ejection_time: Option<Duration>,
    /// 0 to 100; default 10.
    pub max_ejection_percent: Option<u32>,
    /// Below this share of healthy endpoints, nobody is put aside or left out;
    /// 0 to 100, default 0.
    pub min_health_percent: Option<u32>,
    /// Statuses that count as errors instead of 5xx; empty: 5xx. Sorted.
    pub http_error_codes: Vec<u16>,
}
