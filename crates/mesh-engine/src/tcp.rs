//! The TCP proxy: bytes go to one cluster, chosen once per connection.

use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3 as xds;

use crate::access_log::AccessLog;
use crate::dynamic::DnsCache;
use crate::error::{At, ConfigError};
use crate::format::Template;
use crate::headers::HeaderMutations;
use crate::parse::{self, honour};

/// A parsed `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// As in `tcp.<this>.downstream_cx_total`.
    pub stat_prefix: Arc<str>,
    /// Where to, with weights; never empty, weights add up to at least 1.
    pub clusters: Vec<(Arc<str>, u32)>,
    /// Close when no byte passed for this long; `None`: never. Envoy's default is an hour.
    pub idle_timeout: Option<Duration>,
    /// Close after this long in any case.
    pub max_downstream_connection_duration: Option<Duration>,
    /// Hosts to try before giving up, at least 1.
    pub max_connect_attempts: u32,
    /// Logs of its connections.
    pub access_log: Vec<AccessLog>,
    /// Log also when the upstream connection is up.
    pub flush_access_log_on_connected: bool,
    /// Log also at this interval.
    pub access_log_flush_interval: Option<Duration>,
    /// Hash the source address for consistent-hash load balancing.
    pub hash_source_ip: bool,
    /// The bytes go through an HTTP tunnel.
    pub tunnel: Option<Tunnel>,
    /// What the filters before it do with the server name of the client's handshake.
    pub by_server_name: Option<ByServerName>,
}

/// `TcpProxy.TunnelingConfig`
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// Where the tunnel leads, as the CONNECT request names it.
    pub hostname: Template,
    /// POST instead of CONNECT, to this path.
    pub post_path: Option<Box<str>>,
    /// More headers of the request.
    pub headers: HeaderMutations,
}

/// What a filter before the TCP proxy does with the server name.
#[derive(Debug, Clone)]
pub enum ByServerName {
    /// `envoy.filters.network.sni_cluster`: it is the name of the cluster.
    Cluster,
    /// `envoy.filters.network.sni_dynamic_forward_proxy`: it is resolved, and leads to this port.
    Resolve {
        /// How.
        cache: Arc<DnsCache>,
        /// The port.
        port: u16,
    },
}

impl TcpProxy {
    /// Reads a TCP proxy.
    pub(crate) fn parse(at: &At<'_>, proto: &xds::TcpProxy) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::TcpProxy =>
            honour [
                stat_prefix idle_timeout access_log max_connect_attempts hash_policy
                max_downstream_connection_duration access_log_flush_interval flush_access_log_on_connected
                access_log_options cluster_specifier tunneling_config
            ]
            // Only subset load balancing looks at it, and clusters that ask for that are refused.
            ignore [metadata_match]
            refuse [
                on_demand downstream_idle_timeout upstream_idle_timeout backoff_options
                max_downstream_connection_duration_jitter_percentage proxy_protocol_tlvs
                proxy_protocol_tlv_merge_policy upstream_connect_mode max_early_data_bytes check_drain_close
            ]
        );
        parse::non_empty(at, "stat_prefix", &proto.stat_prefix)?;
        let idle = parse::duration(at, "idle_timeout", proto.idle_timeout.as_ref())?;
        let max_duration = parse::duration(
            at,
            "max_downstream_connection_duration",
            proto.max_downstream_connection_duration.as_ref(),
        )?;
        let attempts = parse::u32_or(proto.max_connect_attempts.as_ref(), 1);
        if attempts == 0 {
            return Err(at.field("max_connect_attempts").invalid(0, "at least 1"));
        }
        let options = proto.access_log_options.unwrap_or_default();
        parse::refuse_if_set(
            &at.field("access_log_options"),
            "flush_access_log_on_start",
            &options.flush_access_log_on_start,
        )?;
        let interval = options.access_log_flush_interval.as_ref().or(proto.access_log_flush_interval.as_ref());
        Ok(Self {
            stat_prefix: proto.stat_prefix.as_str().into(),
            clusters: clusters(at, proto.cluster_specifier.as_ref())?,
            idle_timeout: parse::zero_disables(idle, Some(IDLE_TIMEOUT_DEFAULT)),
            max_downstream_connection_duration: parse::zero_disables(max_duration, None),
            max_connect_attempts: attempts,
            access_log: AccessLog::parse_all(at, &proto.access_log)?,
            flush_access_log_on_connected: proto.flush_access_log_on_connected || options.flush_access_log_on_connected,
            access_log_flush_interval: parse::positive_duration(at, "access_log_flush_interval", interval)?,
            hash_source_ip: hash_source_ip(at, &proto.hash_policy)?,
            tunnel: match &proto.tunneling_config {
                Some(tunnel) => Some(Tunnel::parse(&at.field("tunneling_config"), tunnel)?),
                None => None,
            },
            by_server_name: None,
        })
    }

    /// The cluster for one connection. `random` is any number; `server_name`
    /// is that of its handshake.
    pub fn cluster_for(&self, random: u64, server_name: Option<&str>) -> Arc<str> {
        match (&self.by_server_name, server_name) {
            (Some(ByServerName::Cluster), Some(name)) => name.into(),
            _ => self.cluster(random).clone(),
        }
    }

    /// The cluster for one connection. `random` is any number.
    pub fn cluster(&self, random: u64) -> &Arc<str> {
        let total: u64 = self.clusters.iter().map(|(_, w)| u64::from(*w)).sum();
        let mut point = random % total.max(1);
        for (name, weight) in &self.clusters {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => return name,
            }
        }
        &self.clusters[0].0
    }
}

impl Tunnel {
    fn parse(at: &At<'_>, proto: &xds::tcp_proxy::TunnelingConfig) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::tcp_proxy::TunnelingConfig =>
            honour [hostname use_post headers_to_add post_path]
            // They would go into filter state, which nothing here reads.
            ignore [propagate_response_headers propagate_response_trailers]
            refuse [request_id_extension request_id_header request_id_metadata_key formatters]
        );
        let hostname = parse::non_empty(at, "hostname", &proto.hostname)?;
        if !proto.use_post && !proto.post_path.is_empty() {
            return Err(at.rule("Can't set a post path when POST method isn't used"));
        }
        let path = if proto.post_path.is_empty() { "/" } else { &proto.post_path };
        Ok(Self {
            hostname: Template::parse(&at.field("hostname"), hostname)?,
            post_path: proto.use_post.then(|| path.into()),
            headers: HeaderMutations::parse(at, "tunnel", &proto.headers_to_add, &[])?,
        })
    }
}

type Clusters = Vec<(Arc<str>, u32)>;

fn clusters(at: &At<'_>, proto: Option<&xds::tcp_proxy::ClusterSpecifier>) -> Result<Clusters, ConfigError> {
    use xds::tcp_proxy::ClusterSpecifier as S;
    match proto {
        Some(S::Cluster(name)) => Ok(vec![(parse::non_empty(at, "cluster", name)?.into(), 1)]),
        Some(S::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters");
            let mut clusters: Clusters = Vec::with_capacity(weighted.clusters.len());
            for (i, one) in weighted.clusters.iter().enumerate() {
                let at = at.index("clusters", i);
                if one.weight == 0 {
                    return Err(at.field("weight").invalid(0, "at least 1"));
                }
                clusters.push((parse::non_empty(&at, "name", &one.name)?.into(), one.weight));
            }
            if clusters.is_empty() {
                return Err(at.field("clusters").missing("at least one cluster"));
            }
            Ok(clusters)
        }
        None => Err(at.missing("a cluster_specifier")),
    }
}

fn hash_source_ip(at: &At<'_>, policies: &[mesh_proto::envoy::r#type::v3::HashPolicy]) -> Result<bool, ConfigError> {
    use mesh_proto::envoy::r#type::v3::hash_policy::PolicySpecifier as S;
    for (i, policy) in policies.iter().enumerate() {
        if !matches!(policy.policy_specifier, Some(S::SourceIp(_))) {
            return Err(at.index("hash_policy", i).unsupported_value("another policy", "source_ip"));
        }
    }
    Ok(!policies.is_empty())
}

/// Envoy's default.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
