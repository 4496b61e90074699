//! Clusters as configured: discovery, protocol, limits. The living cluster is
//! [`crate::balance::Cluster`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::origin::Origin;

use crate::endpoint::LoadAssignment;
use crate::error::ConfigError;

mod hashing;
mod parse;
pub(crate) use parse::family;
mod policy;
pub(crate) mod protocol;
#[cfg(test)]
mod tests;

/// A parsed `envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Its name.
    pub name: Arc<str>,
    /// `alt_stat_name`, or its name: as in `cluster.<this>.upstream_rq_total`.
    pub stat_name: Arc<str>,
    /// Where endpoints come from.
    pub discovery: Discovery,
    /// How one is picked.
    pub policy: LbPolicy,
    /// Endpoints in the resource itself (STATIC, DNS).
    pub load_assignment: LoadAssignment,
    /// For a connection to be made (default 5 s).
    pub connect_timeout: Duration,
    /// Soft limit of a connection's buffers, in bytes.
    pub per_connection_buffer_limit_bytes: u32,
    /// HTTP to hosts.
    pub http: UpstreamHttp,
    /// What is spoken below that, by host.
    pub transports: crate::tls::Transports,
    /// Close an idle upstream connection after this long (default 1 h).
    pub idle_timeout: Option<Duration>,
    /// Drain an upstream connection after this long; `None`: never.
    pub max_connection_duration: Option<Duration>,
    /// Reset an upstream stream after this long.
    pub max_stream_duration: Option<Duration>,
    /// Drain an upstream connection after this many requests.
    pub max_requests_per_connection: Option<u32>,
    /// At most so many response headers (default 100).
    pub max_response_headers_count: u32,
    /// Circuit breakers of default and high priority.
    pub thresholds: [Thresholds; 2],
    /// Outlier detection.
    pub outlier_detection: Option<crate::outlier::OutlierConfig>,
    /// Statuses that count as errors for it instead of 5xx.
    pub error_statuses: Option<crate::outlier::ErrorStatuses>,
    /// How new hosts are led up to their share.
    pub slow_start: Option<SlowStart>,
    /// Below this share of available hosts all are used (default 50).
    pub panic_threshold_percent: f64,
    /// In panic refuse traffic instead.
    pub fail_traffic_on_panic: bool,
    /// Localities are drawn by weight first.
    pub locality_weighted: bool,
    /// Close all connections when the hosts change.
    pub close_connections_on_host_set_change: bool,
    /// TCP keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Local addresses of upstream connections; see
    /// [`ClusterConfig::source_for`].
    pub source_addresses: Vec<SocketAddr>,
    /// One pool per downstream connection.
    pub pool_per_downstream_connection: bool,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
    /// XXH3 of the encoded resource.
    pub hash: u64,
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// They are in the cluster.
    Static,
    /// By EDS, under this name.
    Eds {
        /// `service_name`, or the cluster's name.
        service_name: Arc<str>,
    },
    /// All addresses of the names in the cluster.
    StrictDns(Dns),
    /// The first address of the name in the cluster, at each new connection.
    LogicalDns(Dns),
    /// Where the connection was going anyway.
    OriginalDst(OriginalDst),
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Which addresses.
    pub family: DnsFamily,
    /// Resolve again after this long (default 5 s).
    pub refresh: Duration,
    /// Up to this much is taken off each refresh at random.
    pub jitter: Duration,
    /// After a failure: first and longest interval.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// Use the records' time to live instead of `refresh`.
    pub respect_ttl: bool,
}

/// `DnsLookupFamily`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6, else IPv4.
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// Options of ORIGINAL_DST clusters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OriginalDst {
    /// Take the destination from this request header if it is there.
    pub header: Option<http::HeaderName>,
    /// Replace the port.
    pub port_override: Option<u16>,
    /// Hosts that were not used for this long are forgotten (default 5 s).
    pub cleanup_interval: Duration,
    /// The destination is a name that the request or the handshake gives: the dynamic forward proxy. Its address comes
    /// as [`crate::PickContext::original_dst`].
    pub names: Option<Arc<crate::dynamic::DnsCache>>,
}

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LbPolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The least loaded of `choices` drawn at random.
    LeastRequest {
        /// At least 2.
        choices: u32,
        /// With unequal weights, requests in flight are not looked at (`active_request_bias: 0`).
        ignore_active: bool,
    },
    /// At random, by weight.
    Random,
    /// By hash, on a ring.
    RingHash {
        /// Places on the ring, at least (default 1024).
        minimum: u64,
        /// Places on the ring, at most (default 8 Mi).
        maximum: u64,
        /// Hosts are placed by their names instead of their addresses.
        by_hostname: bool,
    },
    /// By hash, from a table.
    Maglev {
        /// Places in it, a prime (default 65537).
        table_size: u64,
        /// Hosts are placed by their names instead of their addresses.
        by_hostname: bool,
    },
    /// The cluster type decides (ORIGINAL_DST).
    ClusterProvided,
}

/// HTTP to the hosts of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamHttp {
    /// Which version.
    pub version: UpstreamVersion,
    /// HTTP/1 options.
    pub http1: Http1Options,
    /// HTTP/2 options.
    pub http2: Http2Options,
    /// The server name of TLS follows the request.
    pub auto_sni: Option<AutoSni>,
}

/// `UpstreamHttpProtocolOptions`: server name and verification by the request's
/// host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoSni {
    /// The name is asked for.
    pub ask: bool,
    /// The certificate must have it.
    pub verify: bool,
    /// It stands in this header, if the request has it, instead of `:authority`.
    pub header: Option<http::HeaderName>,
}

/// HTTP version to the hosts of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamVersion {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge
    Http2,
    /// What the client speaks to us
    Downstream,
}

/// HTTP/1 options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http1Options {
    /// Accept HTTP/1.0 requests.
    pub accept_http_10: bool,
    /// Host for HTTP/1.0 requests without one.
    pub default_host_for_http_10: Option<Box<str>>,
    /// Header names are written Like-This.
    pub proper_case: bool,
    /// Header names are written as they came.
    pub preserve_case: bool,
    /// Trailers are passed on.
    pub enable_trailers: bool,
    /// Accept absolute URLs (default).
    pub allow_absolute_url: bool,
}

impl Default for Http1Options {
    fn default() -> Self {
        Self {
            accept_http_10: false,
            default_host_for_http_10: None,
            proper_case: false,
            preserve_case: false,
            enable_trailers: false,
            allow_absolute_url: true,
        }
    }
}

/// HTTP/2 options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Options {
    /// HPACK table, in bytes.
    pub header_table_size: u32,
    /// Streams at once on a connection.
    pub max_concurrent_streams: u32,
    /// Initial window of a stream, in bytes.
    pub initial_stream_window: u32,
    /// Initial window of a connection, in bytes.
    pub initial_connection_window: u32,
    /// Extended CONNECT (WebSocket over HTTP/2).
    pub allow_connect: bool,
    /// Pings on idle connections: interval and how long an answer may take.
    pub keepalive: Option<(Duration, Duration)>,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            header_table_size: 4096,
            max_concurrent_streams: 1024,
            initial_stream_window: 16 * 1024 * 1024,
            initial_connection_window: 24 * 1024 * 1024,
            allow_connect: false,
            keepalive: None,
        }
    }
}

/// Limits of one priority's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Connections to all hosts (default 1024).
    pub max_connections: u32,
    /// Requests that wait for a connection (default 1024).
    pub max_pending_requests: u32,
    /// Requests in flight (default 1024).
    pub max_requests: u32,
    /// Retries in flight (default 3); unused with a budget.
    pub max_retries: u32,
    /// Retries as a share of active and pending requests.
    pub retry_budget: Option<RetryBudget>,
    /// Report what remains.
    pub track_remaining: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

/// `SlowStartConfig`: a new host's weight grows for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// For how long.
    pub window: Duration,
    /// 1 grows evenly, more grows sooner (default 1).
    pub aggression: f64,
    /// Share of its weight that a host has at least (default 10).
    pub min_weight_percent: f64,
}

/// `CircuitBreakers.Thresholds.RetryBudget`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Share of active and pending requests, in percent (default 20).
    pub percent: f64,
    /// So many are always allowed (default 3).
    pub min_concurrency: u32,
    /// Requests that began this long ago count as active; zero: only those that are.
    pub interval: Duration,
}

/// TCP keepalive; what is not set is left to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

impl ClusterConfig {
    /// The local address to connect to `endpoint` from: the first of its
    /// address family; `None` leaves the choice to the system.
    pub fn source_for(&self, endpoint: SocketAddr) -> Option<SocketAddr> {
        self.source_addresses.iter().copied().find(|source| source.is_ipv4() == endpoint.is_ipv4())
    }

    /// Reads a cluster.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::Cluster) -> Result<Self, ConfigError> {
        parse::cluster(proto)
    }

    /// Whether it waits for endpoints by EDS, and under which name.
    pub fn eds_name(&self) -> Option<&Arc<str>> {
        match &self.discovery {
            Discovery::Eds { service_name } => Some(service_name),
            _ => None,
        }
    }

    /// `ROUND_ROBIN`, ... as on the wire.
    pub fn policy_name(&self) -> &'static str {
        match self.policy {
            LbPolicy::RoundRobin => "ROUND_ROBIN",
            LbPolicy::LeastRequest { .. } => "LEAST_REQUEST",
            LbPolicy::Random => "RANDOM",
            LbPolicy::RingHash { .. } => "RING_HASH",
            LbPolicy::Maglev { .. } => "MAGLEV",
            LbPolicy::ClusterProvided => "CLUSTER_PROVIDED",
        }
    }
}

impl Discovery {
    /// How the names of destinations are resolved, if they are names.
    pub fn names(&self) -> Option<&Arc<crate::dynamic::DnsCache>> {
        match self {
            Self::OriginalDst(original) => original.names.as_ref(),
            _ => None,
        }
    }

    /// `EDS`, ... as on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Eds { .. } => "EDS",
            Self::StrictDns(_) => "STRICT_DNS",
            Self::LogicalDns(_) => "LOGICAL_DNS",
            Self::OriginalDst(OriginalDst { names: Some(_), .. }) => "envoy.clusters.dynamic_forward_proxy",
            Self::OriginalDst(_) => "ORIGINAL_DST",
        }
    }
}
