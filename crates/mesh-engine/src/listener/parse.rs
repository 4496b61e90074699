//! Reads `envoy.config.listener.v3.Listener`.

use std::sync::Arc;
use std::time::Duration;

use mesh_proto::Message;
use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::envoy::extensions::filters::listener as filters;
use mesh_proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use mesh_proto::origin;

use super::{
    ChainMatch, Direction, FilterChain, Listener, ListenerFilter, ListenerFilterKind, NetworkFilter, PortPredicate,
    SourceType, select,
};
use crate::access_log::AccessLog;
use crate::cluster::protocol;
use crate::error::{At, ConfigError, Kind};
use crate::hcm::HttpConnectionManager;
use crate::parse::{self, bool_or, honour};
use crate::runtime::Routes;
use crate::tcp::{ByServerName, TcpProxy};

pub(super) fn listener(proto: &xds::Listener, routes: &Routes) -> Result<Listener, ConfigError> {
    let at = At::root(Kind::Listener, &proto.name);
    refuse_unsupported(&at, proto)?;
    let address = proto
        .address
        .as_ref()
        .ok_or_else(|| at.rule(format!("error adding listener named '{}': address is necessary", proto.name)))?;
    let address = parse::socket_address(&at.field("address"), Some(address))?;
    let (filter_chains, default_filter_chain) = chains(&at, proto, routes, address)?;
    let listener_filters: Result<Vec<ListenerFilter>, ConfigError> = proto
        .listener_filters
        .iter()
        .enumerate()
        .map(|(i, filter)| listener_filter(&at.index("listener_filters", i), filter))
        .collect();
    let timeout = parse::duration(&at, "listener_filters_timeout", proto.listener_filters_timeout.as_ref())?;
    let name = if proto.name.is_empty() { address.to_string() } else { proto.name.clone() };
    let stat_prefix =
        if proto.stat_prefix.is_empty() { address.to_string().replace(':', "_") } else { proto.stat_prefix.clone() };
    let bind_deprecated = proto.deprecated_v1.as_ref().and_then(|d| d.bind_to_port.as_ref());
    Ok(Listener {
        name: name.into(),
        address,
        additional_addresses: additional_addresses(&at, &proto.additional_addresses)?,
        stat_prefix: stat_prefix.into(),
        bind_to_port: bool_or(proto.bind_to_port.as_ref().or(bind_deprecated), true),
        use_original_dst: bool_or(proto.use_original_dst.as_ref(), false),
        reuse_port: bool_or(proto.enable_reuse_port.as_ref(), true),
        transparent: bool_or(proto.transparent.as_ref(), false),
        freebind: bool_or(proto.freebind.as_ref(), false),
        tcp_backlog: proto.tcp_backlog_size.map(|v| v.value),
        per_connection_buffer_limit_bytes: parse::u32_or(
            proto.per_connection_buffer_limit_bytes.as_ref(),
            parse::BUFFER_LIMIT_DEFAULT,
        ),
        tcp_keepalive: proto.tcp_keepalive.as_ref().map(protocol::tcp_keepalive),
        listener_filters: listener_filters?,
        listener_filters_timeout: parse::zero_disables(timeout, Some(LISTENER_FILTERS_TIMEOUT_DEFAULT)),
        continue_on_listener_filters_timeout: proto.continue_on_listener_filters_timeout,
        traffic_direction: match proto.traffic_direction {
            0 => Direction::Unspecified,
            1 => Direction::Inbound,
            2 => Direction::Outbound,
            other => return Err(at.field("traffic_direction").invalid(other, "a TrafficDirection")),
        },
        access_log: AccessLog::parse_all(&at, &proto.access_log)?,
        selector: select::Selector::new(&filter_chains),
        filter_chains,
        default_filter_chain,
        origins: origin::read(proto.metadata.as_ref()),
        hash: xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec()),
    })
}

fn additional_addresses(
    at: &At<'_>,
    protos: &[xds::AdditionalAddress],
) -> Result<Vec<std::net::SocketAddr>, ConfigError> {
    let mut addresses = Vec::new();
    for (i, more) in protos.iter().enumerate() {
        let at = at.index("additional_addresses", i);
        honour!(&at, more, xds::AdditionalAddress =>
            honour [address]
            ignore []
            refuse [socket_options tcp_keepalive]
        );
        addresses.push(parse::socket_address(&at.field("address"), more.address.as_ref())?);
    }
    Ok(addresses)
}

fn refuse_unsupported(at: &At<'_>, proto: &xds::Listener) -> Result<(), ConfigError> {
    honour!(at, proto, xds::Listener =>
        honour [
            name address additional_addresses stat_prefix filter_chains use_original_dst default_filter_chain
            per_connection_buffer_limit_bytes metadata deprecated_v1 listener_filters listener_filters_timeout
            continue_on_listener_filters_timeout transparent freebind traffic_direction enable_reuse_port access_log
            tcp_backlog_size bind_to_port tcp_keepalive
        ]
        ignore [
            // When to drain, how workers share connections, and exemptions from limits that there are not here.
            drain_type connection_balance_config reuse_port max_connections_to_accept_per_socket_event
            ignore_global_conn_limit bypass_overload_manager
        ]
        refuse [
            stats_matcher fcds_config filter_chain_matcher per_connection_buffer_high_watermark_timeout socket_options
            tcp_fast_open_queue_length udp_listener_config api_listener enable_mptcp listener_specifier
        ]
    );
    Ok(())
}

type Chains = (Vec<Arc<FilterChain>>, Option<Arc<FilterChain>>);

fn chains(
    at: &At<'_>,
    proto: &xds::Listener,
    routes: &Routes,
    address: std::net::SocketAddr,
) -> Result<Chains, ConfigError> {
    if proto.filter_chains.is_empty() && proto.default_filter_chain.is_none() {
        return Err(at.rule(format!("error adding listener '{address}': no filter chains specified")));
    }
    let mut chains: Vec<Arc<FilterChain>> = Vec::with_capacity(proto.filter_chains.len());
    for (i, one) in proto.filter_chains.iter().enumerate() {
        let at = at.index("filter_chains", i);
        let parsed = chain(&at, one, routes)?;
        if let Some(same) = chains.iter().find(|c| c.matches == parsed.matches) {
            return Err(at.field("filter_chain_match").rule(format!(
                "error adding listener '{address}': filter chain '{}' has the same matching rules defined as '{}'",
                parsed.name, same.name
            )));
        }
        if chains.iter().any(|c| overlap(&c.matches, &parsed.matches)) {
            return Err(at.field("filter_chain_match").rule(format!(
                "error adding listener '{address}': multiple filter chains with overlapping matching rules are defined"
            )));
        }
        chains.push(Arc::new(parsed));
    }
    let default = match &proto.default_filter_chain {
        Some(one) => Some(Arc::new(chain(&at.field("default_filter_chain"), one, routes)?)),
        None => None,
    };
    Ok((chains, default))
}

/// Whether some entry of one match is also an entry of the other: then a
/// connection could not tell the chains apart.
fn overlap(a: &ChainMatch, b: &ChainMatch) -> bool {
    fn common<T: PartialEq>(a: &[T], b: &[T]) -> bool {
        (a.is_empty() && b.is_empty()) || a.iter().any(|x| b.contains(x))
    }
    a.destination_port == b.destination_port
        && a.transport_protocol == b.transport_protocol
        && a.source_type == b.source_type
        && common(&a.prefix_ranges, &b.prefix_ranges)
        && common(&a.server_names, &b.server_names)
        && common(&a.application_protocols, &b.application_protocols)
        && common(&a.direct_source_prefix_ranges, &b.direct_source_prefix_ranges)
        && common(&a.source_prefix_ranges, &b.source_prefix_ranges)
        && common(&a.source_ports, &b.source_ports)
}

fn chain(at: &At<'_>, proto: &xds::FilterChain, routes: &Routes) -> Result<FilterChain, ConfigError> {
    honour!(at, proto, xds::FilterChain =>
        honour [filter_chain_match filters metadata transport_socket transport_socket_connect_timeout name]
        ignore []
        refuse [use_proxy_proto]
    );
    let timeout =
        parse::duration(at, "transport_socket_connect_timeout", proto.transport_socket_connect_timeout.as_ref())?;
    Ok(FilterChain {
        name: proto.name.as_str().into(),
        matches: chain_match(&at.field("filter_chain_match"), proto.filter_chain_match.as_ref())?,
        tls: crate::tls::downstream(at, proto.transport_socket.as_ref())?,
        filter: network_filter(at, &proto.filters, routes)?,
        transport_socket_connect_timeout: parse::zero_disables(timeout, None),
        origins: origin::read(proto.metadata.as_ref()),
    })
}

/// One terminal filter, and before it those that tell it what the server name means.
fn network_filter(at: &At<'_>, filters: &[xds::Filter], routes: &Routes) -> Result<NetworkFilter, ConfigError> {
    let mut parsed = None;
    let mut by_server_name = None;
    for (i, filter) in filters.iter().enumerate() {
        let at = at.index("filters", i);
        let any = match &filter.config_type {
            Some(xds::filter::ConfigType::TypedConfig(any)) => any,
            Some(xds::filter::ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").unsupported());
            }
            None => return Err(at.field("typed_config").missing("a configuration")),
        };
        let typed = at.field("typed_config");
        let one = match mesh_proto::any::message_name(&any.type_url) {
            HTTP_CONNECTION_MANAGER => {
                let proto = parse::unpack(&typed, any)?;
                NetworkFilter::Http(Arc::new(HttpConnectionManager::parse(&typed, &proto, routes)?))
            }
            TCP_PROXY => {
                let tcp = TcpProxy::parse(&typed, &parse::unpack(&typed, any)?)?;
                NetworkFilter::Tcp(Arc::new(TcpProxy { by_server_name: by_server_name.take(), ..tcp }))
            }
            SNI_CLUSTER if parsed.is_none() => {
                by_server_name = Some(ByServerName::Cluster);
                continue;
            }
            SNI_FORWARD if parsed.is_none() => {
                by_server_name = Some(sni_forward(&typed, &parse::unpack(&typed, any)?)?);
                continue;
            }
            _ => return Err(parse::unknown_extension(&at, &filter.name, &any.type_url)),
        };
        if let Some((_, previous)) = &parsed {
            return Err(at.rule(format!(
                "Error: terminal filter named {previous} must be the last filter in a network filter chain."
            )));
        }
        parsed = Some((one, filter.name.as_str()));
    }
    parsed.map(|(filter, _)| filter).ok_or_else(|| {
        at.field("filters").missing("envoy.filters.network.http_connection_manager or envoy.filters.network.tcp_proxy")
    })
}

fn sni_forward(at: &At<'_>, proto: &sni::FilterConfig) -> Result<ByServerName, ConfigError> {
    use sni::filter_config::PortSpecifier as P;
    honour!(at, proto, sni::FilterConfig =>
        honour [dns_cache_config port_specifier]
        // Only other filters would read it.
        ignore [save_upstream_address]
        refuse []
    );
    let port = match &proto.port_specifier {
        None => HTTPS_PORT,
        Some(P::PortValue(value)) => match u16::try_from(*value) {
            Ok(port) if port > 0 => port,
            _ => return Err(at.field("port_value").invalid(value, "1 to 65535")),
        },
    };
    let cache = Arc::new(crate::dynamic::DnsCache::parse(at, proto.dns_cache_config.as_ref())?);
    Ok(ByServerName::Resolve { cache, port })
}

fn chain_match(at: &At<'_>, proto: Option<&xds::FilterChainMatch>) -> Result<ChainMatch, ConfigError> {
    let Some(proto) = proto else { return Ok(ChainMatch::default()) };
    honour!(at, proto, xds::FilterChainMatch =>
        honour [
            destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports
            server_names transport_protocol application_protocols
        ]
        ignore []
        refuse [address_suffix suffix_len]
    );
    let port = |field: &str, value: u32| match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(at.field(field).invalid(value, "1 to 65535")),
    };
    let mut protocols: Vec<Box<str>> = proto.application_protocols.iter().map(|p| p.as_str().into()).collect();
    protocols.sort();
    let mut source_ports = Vec::new();
    for value in &proto.source_ports {
        source_ports.push(port("source_ports", *value)?);
    }
    source_ports.sort_unstable();
    Ok(ChainMatch {
        destination_port: match proto.destination_port {
            Some(value) => Some(port("destination_port", value.value)?),
            None => None,
        },
        prefix_ranges: networks(at, "prefix_ranges", &proto.prefix_ranges)?,
        server_names: server_names(at, &proto.server_names)?,
        transport_protocol: proto.transport_protocol.as_str().into(),
        application_protocols: protocols,
        direct_source_prefix_ranges: networks(at, "direct_source_prefix_ranges", &proto.direct_source_prefix_ranges)?,
        source_type: match proto.source_type {
            0 => SourceType::Any,
            1 => SourceType::SameIpOrLoopback,
            2 => SourceType::External,
            other => return Err(at.field("source_type").invalid(other, "a ConnectionSourceType")),
        },
        source_prefix_ranges: networks(at, "source_prefix_ranges", &proto.source_prefix_ranges)?,
        source_ports,
    })
}

fn networks(
    at: &At<'_>,
    field: &str,
    ranges: &[mesh_proto::envoy::config::core::v3::CidrRange],
) -> Result<Vec<ipnet::IpNet>, ConfigError> {
    let parsed: Result<Vec<_>, ConfigError> =
        ranges.iter().enumerate().map(|(i, r)| parse::cidr(&at.index(field, i), r)).collect();
    let mut networks = parsed?;
    networks.sort();
    networks.dedup();
    Ok(networks)
}

fn server_names(at: &At<'_>, protos: &[String]) -> Result<Vec<Box<str>>, ConfigError> {
    let mut server_names: Vec<Box<str>> = Vec::new();
    for (i, name) in protos.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let partial = lower.contains('*') && (!lower.starts_with("*.") || lower[1..].contains('*')) && lower != "*";
        if partial {
            return Err(at
                .index("server_names", i)
                .invalid(name, "a name or *.suffix: partial wildcards are not supported"));
        }
        // A lone * means every connection, with SNI or without.
        if lower == "*" {
            server_names.clear();
            break;
        }
        server_names.push(lower.into());
    }
    server_names.sort();
    Ok(server_names)
}

fn listener_filter(at: &At<'_>, proto: &xds::ListenerFilter) -> Result<ListenerFilter, ConfigError> {
    let any = match &proto.config_type {
        Some(xds::listener_filter::ConfigType::TypedConfig(any)) => any,
        Some(xds::listener_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(at.field("config_discovery").unsupported());
        }
        None => return Err(at.field("typed_config").missing("a configuration")),
    };
    let typed = at.field("typed_config");
    let kind = match mesh_proto::any::message_name(&any.type_url) {
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst" => ListenerFilterKind::OriginalDst,
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector" => ListenerFilterKind::HttpInspector,
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" => {
            let tls: filters::tls_inspector::v3::TlsInspector = parse::unpack(&typed, any)?;
            honour!(&typed, &tls, filters::tls_inspector::v3::TlsInspector =>
                honour []
                // How much is read at a time, and how much at most: this proxy has its own bounds.
                ignore [initial_read_buffer_size max_client_hello_size]
                refuse [
                    enable_ja3_fingerprinting enable_ja4_fingerprinting
                    close_connection_on_client_hello_parsing_errors
                ]
            );
            ListenerFilterKind::TlsInspector
        }
        _ => return Err(parse::unknown_extension(at, &proto.name, &any.type_url)),
    };
    let disabled = match &proto.filter_disabled {
        Some(predicate) => Some(port_predicate(&at.field("filter_disabled"), predicate, 0)?),
        None => None,
    };
    Ok(ListenerFilter { kind, disabled })
}

fn port_predicate(
    at: &At<'_>,
    proto: &xds::ListenerFilterChainMatchPredicate,
    depth: usize,
) -> Result<PortPredicate, ConfigError> {
    use xds::listener_filter_chain_match_predicate::{MatchSet, Rule};
    if depth > PREDICATE_DEPTH_MAX {
        return Err(at.invalid("deeper nesting", format!("at most {PREDICATE_DEPTH_MAX} levels")));
    }
    let all = |field: &str, set: &MatchSet| -> Result<Vec<PortPredicate>, ConfigError> {
        if set.rules.len() < 2 {
            return Err(at.field(field).field("rules").invalid(set.rules.len(), "at least 2 rules"));
        }
        set.rules.iter().map(|rule| port_predicate(&at.field(field), rule, depth + 1)).collect()
    };
    Ok(match &proto.rule {
        Some(Rule::OrMatch(set)) => PortPredicate::Or(all("or_match", set)?),
        Some(Rule::AndMatch(set)) => PortPredicate::And(all("and_match", set)?),
        Some(Rule::NotMatch(rule)) => {
            PortPredicate::Not(Box::new(port_predicate(&at.field("not_match"), rule, depth + 1)?))
        }
        Some(Rule::AnyMatch(true)) => PortPredicate::Any,
        Some(Rule::AnyMatch(false)) => return Err(at.field("any_match").invalid("false", "true")),
        Some(Rule::DestinationPortRange(range)) => PortPredicate::Range(range.start, range.end),
        None => return Err(at.missing("a rule")),
    })
}

/// Envoy's default.
const LISTENER_FILTERS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// Bounds recursion on hostile input.
const PREDICATE_DEPTH_MAX: usize = 16;
const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const SNI_CLUSTER: &str = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster";
const SNI_FORWARD: &str = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig";
/// Envoy's default.
const HTTPS_PORT: u16 = 443;
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
