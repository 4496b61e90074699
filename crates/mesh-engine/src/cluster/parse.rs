//! Reads `envoy.config.cluster.v3.Cluster`.

use std::time::Duration;

use mesh_proto::Message;
use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::clusters::dynamic_forward_proxy::v3 as dynamic;
use mesh_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use mesh_proto::origin;

use super::protocol::{self, Common};
use super::{
    ClusterConfig, Discovery, Dns, DnsFamily, LbPolicy, OriginalDst, TcpKeepalive, UpstreamHttp, UpstreamVersion,
    policy,
};
use crate::dynamic::DnsCache;
use crate::endpoint::{LoadAssignment, Names};
use crate::error::{At, ConfigError, Kind};
use crate::parse::{self, honour};
use crate::tls::Transports;

pub(super) fn cluster(proto: &xds::Cluster) -> Result<ClusterConfig, ConfigError> {
    let at = At::root(Kind::Cluster, &proto.name);
    refuse_unsupported(&at, proto)?;
    parse::non_empty(&at, "name", &proto.name)?;
    let discovery = discovery(&at, proto)?;
    let lb = policy::policy(&at, proto)?;
    check_policy(&at, &discovery, lb.policy)?;
    let load_assignment = load_assignment(&at, proto, &discovery)?;
    let (panic_threshold_percent, common_fails, common_weighted, close_on_change) =
        policy::common_lb(&at.field("common_lb_config"), proto.common_lb_config.as_ref())?;
    let (http, common) = http(&at, proto)?;
    let legacy_requests = proto.max_requests_per_connection.map(|v| v.value).filter(|v| *v > 0);
    let stat_name = if proto.alt_stat_name.is_empty() { &proto.name } else { &proto.alt_stat_name };
    let connect_timeout = parse::positive_duration(&at, "connect_timeout", proto.connect_timeout.as_ref())?;
    Ok(ClusterConfig {
        name: proto.name.as_str().into(),
        stat_name: stat_name.as_str().into(),
        discovery,
        policy: lb.policy,
        load_assignment,
        connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT_DEFAULT),
        per_connection_buffer_limit_bytes: parse::u32_or(
            proto.per_connection_buffer_limit_bytes.as_ref(),
            parse::BUFFER_LIMIT_DEFAULT,
        ),
        http,
        transports: Transports::parse(&at, proto)?,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        max_requests_per_connection: common.max_requests_per_connection.or(legacy_requests),
        max_response_headers_count: common.max_headers_count,
        thresholds: policy::thresholds(&at.field("circuit_breakers"), proto.circuit_breakers.as_ref())?,
        outlier_detection: match &proto.outlier_detection {
            Some(outlier) => Some(crate::outlier::parse(&at.field("outlier_detection"), outlier)?),
            None => None,
        },
        error_statuses: common.error_statuses,
        slow_start: lb.slow_start,
        panic_threshold_percent,
        fail_traffic_on_panic: lb.fail_traffic_on_panic || common_fails,
        locality_weighted: lb.locality_weighted || common_weighted,
        close_connections_on_host_set_change: close_on_change,
        tcp_keepalive: tcp_keepalive(&at, proto)?,
        source_addresses: source_addresses(&at.field("upstream_bind_config"), proto.upstream_bind_config.as_ref())?,
        pool_per_downstream_connection: proto.connection_pool_per_downstream_connection,
        origins: origin::read(proto.metadata.as_ref()),
        hash: xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec()),
    })
}

fn refuse_unsupported(at: &At<'_>, proto: &xds::Cluster) -> Result<(), ConfigError> {
    honour!(at, proto, xds::Cluster =>
        honour [
            name alt_stat_name eds_cluster_config connect_timeout per_connection_buffer_limit_bytes lb_policy
            load_assignment max_requests_per_connection circuit_breakers common_http_protocol_options
            http_protocol_options http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_jitter
            dns_failure_refresh_rate respect_dns_ttl dns_lookup_family outlier_detection cleanup_interval
            upstream_bind_config lb_subset_config common_lb_config transport_socket metadata protocol_selection
            upstream_connection_options load_balancing_policy connection_pool_per_downstream_connection
            cluster_discovery_type lb_config transport_socket_matches upstream_http_protocol_options
        ]
        ignore [
            // Of no effect without active health checks, and those are refused.
            wait_for_warm_on_init close_connections_on_host_health_failure ignore_health_on_host_removal
            // More statistics only.
            track_timeout_budgets track_cluster_stats
        ]
        refuse [
            transport_socket_matcher stats_matcher
            per_connection_buffer_high_watermark_timeout health_checks dns_resolvers use_tcp_for_dns_lookups
            dns_resolution_config typed_dns_resolver_config filters lrs_server lrs_report_endpoint_metrics
            upstream_config preconnect_policy queuing_policies
        ]
    );
    // A subset configuration without selectors is switched off in Envoy too.
    match &proto.lb_subset_config {
        Some(subset) if !subset.subset_selectors.is_empty() => Err(at.field("lb_subset_config").unsupported()),
        _ => Ok(()),
    }
}

fn discovery(at: &At<'_>, proto: &xds::Cluster) -> Result<Discovery, ConfigError> {
    use xds::cluster::{ClusterDiscoveryType as C, DiscoveryType as T};
    let kind = match &proto.cluster_discovery_type {
        None => T::Static,
        Some(C::Type(value)) => T::try_from(*value).map_err(|_| at.field("type").invalid(value, "a DiscoveryType"))?,
        Some(C::ClusterType(custom)) => {
            let type_url = custom.typed_config.as_ref().map_or("", |a| a.type_url.as_str());
            let at = at.field("cluster_type");
            return match &custom.typed_config {
                Some(any) if mesh_proto::any::is::<dynamic::ClusterConfig>(any) => {
                    let at = at.field("typed_config");
                    named_destinations(&at, &parse::unpack(&at, any)?)
                }
                _ => Err(parse::unknown_extension(&at, &custom.name, type_url)),
            };
        }
    };
    Ok(match kind {
        T::Static => Discovery::Static,
        T::Eds => {
            let eds = proto.eds_cluster_config.as_ref();
            let source = eds.and_then(|e| e.eds_config.as_ref());
            let source = source.ok_or_else(|| at.rule("cannot create an EDS cluster without an EDS config"))?;
            parse::ads_source(&at.field("eds_cluster_config").field("eds_config"), source)?;
            let name = eds.map(|e| e.service_name.as_str()).filter(|n| !n.is_empty()).unwrap_or(&proto.name);
            Discovery::Eds { service_name: name.into() }
        }
        T::StrictDns => Discovery::StrictDns(dns(at, proto)?),
        T::LogicalDns => Discovery::LogicalDns(dns(at, proto)?),
        T::OriginalDst => Discovery::OriginalDst(original_dst(at, proto)?),
    })
}

/// The dynamic forward proxy: where to is what a client asks for.
fn named_destinations(at: &At<'_>, proto: &dynamic::ClusterConfig) -> Result<Discovery, ConfigError> {
    use dynamic::cluster_config::ClusterImplementationSpecifier as S;
    honour!(at, proto, dynamic::ClusterConfig =>
        honour [cluster_implementation_specifier]
        // TLS without verification of names is what its transport socket says, or not.
        ignore [allow_insecure_cluster_options]
        refuse [allow_coalesced_connections]
    );
    let cache = match &proto.cluster_implementation_specifier {
        Some(S::DnsCacheConfig(cache)) => DnsCache::parse(at, Some(cache))?,
        Some(S::SubClustersConfig(_)) => return Err(at.field("sub_clusters_config").unsupported()),
        None => DnsCache::parse(at, None)?,
    };
    Ok(Discovery::OriginalDst(OriginalDst {
        cleanup_interval: cache.host_ttl,
        names: Some(cache.into()),
        ..OriginalDst::default()
    }))
}

/// Reads `DnsLookupFamily`.
pub(crate) fn family(at: &At<'_>, value: i32) -> Result<DnsFamily, ConfigError> {
    use xds::cluster::DnsLookupFamily as F;
    Ok(match F::try_from(value) {
        Ok(F::Auto) => DnsFamily::Auto,
        Ok(F::V4Only) => DnsFamily::V4Only,
        Ok(F::V6Only) => DnsFamily::V6Only,
        Ok(F::V4Preferred) => DnsFamily::V4Preferred,
        Ok(F::All) => DnsFamily::All,
        Err(_) => return Err(at.field("dns_lookup_family").invalid(value, "a DnsLookupFamily")),
    })
}

fn dns(at: &At<'_>, proto: &xds::Cluster) -> Result<Dns, ConfigError> {
    let family = family(at, proto.dns_lookup_family)?;
    let refresh = more_than_a_millisecond(at, "dns_refresh_rate", proto.dns_refresh_rate.as_ref())?;
    let failure_refresh = match &proto.dns_failure_refresh_rate {
        None => None,
        Some(rate) => {
            let at = at.field("dns_failure_refresh_rate");
            let base = more_than_a_millisecond(&at, "base_interval", rate.base_interval.as_ref())?
                .ok_or_else(|| at.field("base_interval").missing("a duration greater than 1ms"))?;
            let max = more_than_a_millisecond(&at, "max_interval", rate.max_interval.as_ref())?;
            let max = max.unwrap_or(base * 10);
            if max < base {
                return Err(at.rule(
                    "cluster.dns_failure_refresh_rate must have max_interval greater than or equal to base_interval",
                ));
            }
            Some((base, max))
        }
    };
    Ok(Dns {
        family,
        refresh: refresh.unwrap_or(DNS_REFRESH_DEFAULT),
        jitter: parse::duration(at, "dns_jitter", proto.dns_jitter.as_ref())?.unwrap_or_default(),
        failure_refresh,
        respect_ttl: proto.respect_dns_ttl,
    })
}

fn more_than_a_millisecond(
    at: &At<'_>,
    field: &str,
    value: Option<&mesh_proto::google::protobuf::Duration>,
) -> Result<Option<Duration>, ConfigError> {
    match parse::duration(at, field, value)? {
        Some(d) if d <= Duration::from_millis(1) => {
            Err(at.field(field).invalid(format_args!("{d:?}"), "a duration greater than 1ms"))
        }
        other => Ok(other),
    }
}

fn original_dst(at: &At<'_>, proto: &xds::Cluster) -> Result<OriginalDst, ConfigError> {
    use xds::cluster::{LbConfig, OriginalDstLbConfig};
    let cleanup = parse::positive_duration(at, "cleanup_interval", proto.cleanup_interval.as_ref())?;
    let mut parsed =
        OriginalDst { cleanup_interval: cleanup.unwrap_or(CLEANUP_INTERVAL_DEFAULT), ..OriginalDst::default() };
    let Some(LbConfig::OriginalDstLbConfig(config)) = &proto.lb_config else { return Ok(parsed) };
    let at = at.field("original_dst_lb_config");
    honour!(&at, config, OriginalDstLbConfig =>
        honour [use_http_header http_header_name upstream_port_override]
        ignore []
        refuse [metadata_key]
    );
    if config.use_http_header {
        let name = if config.http_header_name.is_empty() { ORIGINAL_DST_HEADER } else { &config.http_header_name };
        parsed.header = Some(crate::matcher::header_name(&at, "http_header_name", name)?);
    } else if !config.http_header_name.is_empty() {
        return Err(at.rule(format!("ORIGINAL_DST cluster: invalid config http_header_name={} and use_http_header is false. Set use_http_header to true if http_header_name is desired.", config.http_header_name)));
    }
    if let Some(port) = config.upstream_port_override {
        let number = u16::try_from(port.value);
        parsed.port_override =
            Some(number.map_err(|_| at.field("upstream_port_override").invalid(port.value, "0 to 65535"))?);
    }
    Ok(parsed)
}

fn check_policy(at: &At<'_>, discovery: &Discovery, policy: LbPolicy) -> Result<(), ConfigError> {
    let original_dst = matches!(discovery, Discovery::OriginalDst(_));
    let provided = policy == LbPolicy::ClusterProvided;
    let name = match policy {
        LbPolicy::RoundRobin => "ROUND_ROBIN",
        LbPolicy::LeastRequest { .. } => "LEAST_REQUEST",
        LbPolicy::Random => "RANDOM",
        LbPolicy::RingHash { .. } => "RING_HASH",
        LbPolicy::Maglev { .. } => "MAGLEV",
        LbPolicy::ClusterProvided => "CLUSTER_PROVIDED",
    };
    match (original_dst, provided) {
        (true, false) => Err(at.rule(format!("cluster: LB policy {name} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'"))),
        (false, true) => Err(at.rule(format!("cluster: LB policy CLUSTER_PROVIDED is not valid for Cluster type {}. It is allowed with cluster type 'ORIGINAL_DST' only", discovery.name()))),
        _ => Ok(()),
    }
}

fn load_assignment(at: &At<'_>, proto: &xds::Cluster, discovery: &Discovery) -> Result<LoadAssignment, ConfigError> {
    let Some(assignment) = &proto.load_assignment else {
        return match discovery {
            Discovery::LogicalDns(_) => Err(at.rule(LOGICAL_DNS_RULE)),
            _ => Ok(LoadAssignment::default()),
        };
    };
    let field = at.field("load_assignment");
    match discovery {
        Discovery::Static => LoadAssignment::parse_at(&field, assignment, Names::Refused),
        Discovery::StrictDns(_) => LoadAssignment::parse_at(&field, assignment, Names::Allowed),
        Discovery::LogicalDns(_) => {
            let parsed = LoadAssignment::parse_at(&field, assignment, Names::Allowed)?;
            match parsed.localities.as_slice() {
                [only] if only.endpoints.len() == 1 => Ok(parsed),
                _ => Err(at.rule(LOGICAL_DNS_RULE)),
            }
        }
        // Envoy does not look at it either.
        Discovery::Eds { .. } => Ok(LoadAssignment::default()),
        Discovery::OriginalDst(_) if assignment.endpoints.is_empty() => Ok(LoadAssignment::default()),
        Discovery::OriginalDst(_) => {
            Err(at.rule("ORIGINAL_DST clusters must have no load assignment or hosts configured"))
        }
    }
}

/// The typed options win over the deprecated fields of the cluster, which must
/// not be set beside them.
fn http(at: &At<'_>, proto: &xds::Cluster) -> Result<(UpstreamHttp, Common), ConfigError> {
    let mut typed = None;
    for (name, any) in &proto.typed_extension_protocol_options {
        if !mesh_proto::any::is::<HttpProtocolOptions>(any) {
            return Err(at.field("typed_extension_protocol_options").rule(format!(
                "Didn't find a registered network or http filter or protocol options implementation for name: '{name}'"
            )));
        }
        let at = at.field("typed_extension_protocol_options");
        let at = at.field(name);
        typed = Some(protocol::upstream(&at, &parse::unpack(&at, any)?)?);
    }
    if let Some(typed) = typed {
        return Ok(typed);
    }
    let downstream = match proto.protocol_selection {
        0 => false,
        1 => true,
        other => return Err(at.field("protocol_selection").invalid(other, "a ClusterProtocolSelection")),
    };
    let version = match (downstream, &proto.http2_protocol_options) {
        (true, _) => UpstreamVersion::Downstream,
        (false, Some(_)) => UpstreamVersion::Http2,
        (false, None) => UpstreamVersion::Http1,
    };
    let common =
        protocol::common(&at.field("common_http_protocol_options"), proto.common_http_protocol_options.as_ref())?;
    let http1 = protocol::http1(&at.field("http_protocol_options"), proto.http_protocol_options.as_ref())?;
    let http2 = protocol::http2(&at.field("http2_protocol_options"), proto.http2_protocol_options.as_ref())?;
    let auto_sni =
        protocol::auto_sni(&at.field("upstream_http_protocol_options"), proto.upstream_http_protocol_options.as_ref())?;
    Ok((UpstreamHttp { version, http1, http2, auto_sni }, common))
}

fn tcp_keepalive(at: &At<'_>, proto: &xds::Cluster) -> Result<Option<TcpKeepalive>, ConfigError> {
    let Some(options) = &proto.upstream_connection_options else { return Ok(None) };
    honour!(&at.field("upstream_connection_options"), options, xds::UpstreamConnectionOptions =>
        honour [tcp_keepalive]
        // For access logs that this proxy has no operator for.
        ignore [set_local_interface_name_on_upstream_connections]
        refuse [happy_eyeballs_config]
    );
    Ok(options.tcp_keepalive.as_ref().map(protocol::tcp_keepalive))
}

/// The source address, then the extra ones for the other address family.
fn source_addresses(at: &At<'_>, proto: Option<&core::BindConfig>) -> Result<Vec<std::net::SocketAddr>, ConfigError> {
    let Some(proto) = proto else { return Ok(Vec::new()) };
    honour!(at, proto, core::BindConfig =>
        honour [source_address extra_source_addresses]
        ignore [validate_network_namespaces]
        refuse [freebind socket_options additional_source_addresses local_address_selector]
    );
    let parse = |at: &At<'_>, socket: &core::SocketAddress| {
        let address = core::Address { address: Some(core::address::Address::SocketAddress(socket.clone())) };
        parse::socket_address(at, Some(&address))
    };
    let mut addresses = Vec::new();
    if let Some(socket) = &proto.source_address {
        addresses.push(parse(&at.field("source_address"), socket)?);
    }
    for (i, extra) in proto.extra_source_addresses.iter().enumerate() {
        let at = &at.index("extra_source_addresses", i);
        honour!(at, extra, core::ExtraSourceAddress =>
            honour [address]
            ignore []
            refuse [socket_options]
        );
        if let Some(socket) = &extra.address {
            addresses.push(parse(&at.field("address"), socket)?);
        }
    }
    Ok(addresses)
}

const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const DNS_REFRESH_DEFAULT: Duration = Duration::from_secs(5);
const CLEANUP_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const ORIGINAL_DST_HEADER: &str = "x-envoy-original-dst-host";
const LOGICAL_DNS_RULE: &str = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint";
