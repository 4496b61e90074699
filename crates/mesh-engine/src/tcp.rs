//! The TCP proxy: bytes go to one cluster, chosen once per connection.

use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLog;

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
}

impl TcpProxy {
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
