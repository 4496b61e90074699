//! DestinationRule: how requests to a host are balanced and limited.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/destination-rule/>

use std::sync::Arc;
use std::time::Duration;

use crate::{Hostname, Labels, Meta, Name, Visibility};

/// Policies for a host and its subsets.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// The host, short names resolved; may begin with `*`.
    pub host: Hostname,
    /// Which namespaces see it.
    pub export_to: Visibility,
    /// Client workloads it holds for; empty: all.
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
    /// What is said for single ports; it replaces, field by field whole, what
    /// is said for the destination (a field that is absent here takes its
    /// default, not the destination's). Sorted by port.
    pub ports: Vec<(u16, PortPolicy)>,
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
}

impl TrafficPolicy {
    /// What holds for `port`, if `self` stands above `default` (a subset's
    /// policy above its host's): each setting from the most specific that says it.
    pub fn for_port(&self, port: u16, default: Option<&TrafficPolicy>) -> PortPolicy {
        let own = self.at(port);
        let Some(default) = default.map(|d| d.at(port)) else { return own.clone() };
        PortPolicy {
            load_balancer: own.load_balancer.or(default.load_balancer),
            connection_pool: own.connection_pool.clone().or_else(|| default.connection_pool.clone()),
            outlier_detection: own.outlier_detection.clone().or_else(|| default.outlier_detection.clone()),
        }
    }

    fn at(&self, port: u16) -> &PortPolicy {
        self.ports.iter().find(|(p, _)| *p == port).map_or(&self.destination, |(_, policy)| policy)
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    /// The less loaded of two chosen at random (Istio's default).
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// At random.
    Random,
    /// The address that the client called.
    Passthrough,
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
    /// Idle time of TCP connections, default 1 h.
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
}
