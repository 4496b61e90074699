//! Destinations that a client names and that are resolved when it asks: the
//! dynamic forward proxy.
//!
//! Here is how names are resolved and kept ([`DnsCache`]) and which addresses a
//! name may lead to ([`is_local`]); the proxy resolves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::extensions::common::dynamic_forward_proxy::v3 as xds;
use mesh_proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as http_filter;

use crate::cluster::DnsFamily;
use crate::error::{At, ConfigError};
use crate::parse::{self, honour};

/// A parsed `DnsCacheConfig`. Caches of one name are one cache.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsCache {
    /// Its name.
    pub name: Arc<str>,
    /// Which addresses.
    pub family: DnsFamily,
    /// A name is resolved again after this long at the latest (default 60 s).
    pub refresh: Duration,
    /// And after this long at the earliest, whatever its record says (default 5 s).
    pub refresh_min: Duration,
    /// A name that nobody asked for this long is forgotten (default 5 min).
    pub host_ttl: Duration,
    /// Names at once (default 1024).
    pub hosts_max: usize,
    /// Lookups at once (default 1024).
    pub pending_max: usize,
    /// A lookup takes no longer (default 5 s).
    pub query_timeout: Duration,
}

impl DnsCache {
    pub(crate) fn parse(at: &At<'_>, proto: Option<&xds::DnsCacheConfig>) -> Result<Self, ConfigError> {
        let at = at.field("dns_cache_config");
        let Some(proto) = proto else { return Err(at.missing("a DNS cache")) };
        honour!(&at, proto, xds::DnsCacheConfig =>
            honour [
                name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl max_hosts
                dns_cache_circuit_breaker dns_query_timeout
            ]
            // What does not resolve is asked for again when somebody wants it.
            ignore [disable_dns_refresh_on_failure dns_failure_refresh_rate]
            refuse [
                use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config preresolve_hostnames
                key_value_config resolved_address_filter
            ]
        );
        let positive = |field: &str, value, default| {
            parse::positive_duration(&at, field, value).map(|set: Option<Duration>| set.unwrap_or(default))
        };
        let refresh_min = positive("dns_min_refresh_rate", proto.dns_min_refresh_rate.as_ref(), REFRESH_MIN_DEFAULT)?;
        let pending = proto.dns_cache_circuit_breaker.as_ref().and_then(|b| b.max_pending_requests.as_ref());
        Ok(Self {
            name: parse::non_empty(&at, "name", &proto.name)?.into(),
            family: crate::cluster::family(&at, proto.dns_lookup_family)?,
            refresh: positive("dns_refresh_rate", proto.dns_refresh_rate.as_ref(), REFRESH_DEFAULT)?.max(refresh_min),
            refresh_min,
            host_ttl: positive("host_ttl", proto.host_ttl.as_ref(), HOST_TTL_DEFAULT)?,
            hosts_max: parse::u32_or(proto.max_hosts.as_ref(), HOSTS_DEFAULT).min(HOSTS_MAX) as usize,
            pending_max: parse::u32_or(pending, HOSTS_DEFAULT).min(HOSTS_MAX) as usize,
            query_timeout: positive("dns_query_timeout", proto.dns_query_timeout.as_ref(), QUERY_TIMEOUT_DEFAULT)?,
        })
    }
}

/// Reads the HTTP filter. It needs no words of its own: a request to a cluster
/// whose destinations are names is resolved in any case.
pub(crate) fn filter(at: &At<'_>, proto: &http_filter::FilterConfig) -> Result<DnsCache, ConfigError> {
    use http_filter::filter_config::ImplementationSpecifier as S;
    honour!(at, proto, http_filter::FilterConfig =>
        honour [implementation_specifier]
        // Only other filters would read it.
        ignore [save_upstream_address]
        refuse [allow_dynamic_host_from_filter_state]
    );
    match &proto.implementation_specifier {
        Some(S::DnsCacheConfig(cache)) => DnsCache::parse(at, Some(cache)),
        Some(S::SubClusterConfig(_)) => Err(at.field("sub_cluster_config").unsupported()),
        None => DnsCache::parse(at, None),
    }
}

/// Whether an address is this machine's own or its link's: a client outside
/// must not reach what listens there by a name of its choice.
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

const REFRESH_DEFAULT: Duration = Duration::from_secs(60);
const REFRESH_MIN_DEFAULT: Duration = Duration::from_secs(5);
const HOST_TTL_DEFAULT: Duration = Duration::from_secs(300);
const QUERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const HOSTS_DEFAULT: u32 = 1024;
/// Bounds memory, whatever is asked for.
const HOSTS_MAX: u32 = 65_536;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_here_or_on_the_link_is_local_in_every_spelling() {
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::"] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for other in ["10.0.0.1", "8.8.8.8", "2001:db8::1", "fd00::1"] {
            assert!(!is_local(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_cache_has_envoys_defaults_and_bounds() {
        let at = At::root(crate::error::Kind::Cluster, "c");
        let cache = |yaml: &str| DnsCache::parse(&at, Some(&mesh_proto::json::from_yaml(yaml).unwrap()));
        let one = cache("{name: d, dns_lookup_family: V4_ONLY}").unwrap();
        assert_eq!((one.hosts_max, one.refresh, one.family), (1024, REFRESH_DEFAULT, DnsFamily::V4Only));
        let error = cache("{name: d, use_tcp_for_dns_lookups: true}").unwrap_err().to_string();
        assert_eq!(
            error,
            "cluster c: dns_cache_config.use_tcp_for_dns_lookups: is set, but this proxy does not support it"
        );
    }
}
