//! Listeners, and the parts that all of them are made of.
//!
//! [`outbound()`] decides which listeners a workload's calls need and which
//! services share or fight for one, [`inbound()`] what happens to calls to it.

mod access_log;
mod http;
mod inbound;
mod outbound;
mod slot;
mod tracing;

use std::net::IpAddr;

use mesh_model::rules::MeshConfig;
use mesh_model::rules::destination_rule::Tunnel;
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as api;
use mesh_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use mesh_proto::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, ListenerFilter, ListenerFilterChainMatchPredicate, filter, listener_filter,
};
use mesh_proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use mesh_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use mesh_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::TunnelingConfig;
use mesh_proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use mesh_proto::envoy::r#type::v3::hash_policy::{PolicySpecifier, SourceIp};
use mesh_proto::envoy::r#type::v3::{HashPolicy, Int32Range};
use mesh_proto::google::protobuf::Any;
use mesh_proto::origin;
use mesh_proto::resource::Resource;

pub(crate) use http::{Manager, Routes};
pub(crate) use inbound::inbound;
pub(crate) use outbound::outbound;

use crate::scope::Settings;
use crate::xds;

/// A listener with what all of them have in common.
fn listener(name: String, bind: &str, port: u16, direction: TrafficDirection) -> api::Listener {
    api::Listener {
        name,
        address: Some(xds::socket(bind, port)),
        traffic_direction: direction as i32,
        ..Default::default()
    }
}

/// Listeners as they are sent, with what shaped all of them as their origins.
fn encoded(listeners: Vec<api::Listener>, settings: &Settings) -> Vec<Resource> {
    let objects = &settings.telemetry.objects;
    let encode = |mut listener: api::Listener| {
        if !objects.is_empty() {
            let own = origin::read(listener.metadata.as_ref());
            let shaped = objects.iter().map(xds::origin_of);
            origin::write(listener.metadata.get_or_insert_default(), own.into_iter().chain(shaped));
        }
        Resource::new(listener.name.as_str(), &listener)
    };
    listeners.into_iter().map(encode).collect()
}

/// Gives a listener its filters. Waiting for the first bytes ends after the
/// mesh's detection timeout (zero: never); what is known then has to do.
fn inspect(listener: &mut api::Listener, filters: Vec<ListenerFilter>, mesh: &MeshConfig) {
    if filters.iter().any(|f| f.name != ORIGINAL_DST) {
        listener.listener_filters_timeout = xds::duration(mesh.protocol_detection_timeout);
        listener.continue_on_listener_filters_timeout = true;
    }
    listener.listener_filters = filters;
}

fn original_dst() -> ListenerFilter {
    listener_filter(ORIGINAL_DST, xds::pack(&OriginalDst::default()))
}

fn tls_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", xds::pack(&TlsInspector::default()))
}

fn http_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", xds::pack(&HttpInspector::default()))
}

fn listener_filter(name: &str, config: Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// `filter`, not applied to connections to `ports` (sorted).
fn except(mut filter: ListenerFilter, ports: &[u16]) -> ListenerFilter {
    let one = |port: &u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(Int32Range { start: i32::from(*port), end: i32::from(*port) + 1 })),
    };
    filter.filter_disabled = match ports {
        [] => None,
        [port] => Some(one(port)),
        ports => {
            let rules = ports.iter().map(one).collect();
            Some(ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) })
        }
    };
    filter
}

/// A chain that ends in one network filter.
fn chain(name: &str, matches: FilterChainMatch, filter: Filter) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filter_chain_match: (matches != FilterChainMatch::default()).then_some(matches),
        filters: vec![filter],
        ..Default::default()
    }
}

/// What plaintext HTTP looks like to the inspectors. Where the TLS inspector
/// looks too, a TLS client may name the same protocols.
fn plaintext_http() -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: detected_http(),
        ..Default::default()
    }
}

/// What the HTTP inspector finds.
fn detected_http() -> Vec<String> {
    vec!["http/1.1".to_owned(), "h2c".to_owned()]
}

/// Forwards bytes to a cluster.
fn tcp_proxy(stat_prefix: &str, cluster: &str, idle: Option<std::time::Duration>, settings: &Settings) -> Filter {
    tcp_proxy_through(stat_prefix, cluster, idle, &Through::default(), settings)
}

/// How connections come to a cluster's endpoints, and go on from there.
#[derive(Debug, Default)]
struct Through {
    tunnel: Option<Tunnel>,
    /// Clients of one address go to one endpoint.
    by_source: bool,
}

/// As [`tcp_proxy()`], to where a tunnel through the cluster ends.
fn tcp_proxy_through(
    stat_prefix: &str,
    cluster: &str,
    idle: Option<std::time::Duration>,
    through: &Through,
    settings: &Settings,
) -> Filter {
    let tunneling_config = through.tunnel.as_ref().map(|tunnel| TunnelingConfig {
        hostname: match tunnel.target_host.parse::<IpAddr>() {
            Ok(ip) => format!("{}:{}", xds::bracketed(ip), tunnel.target_port),
            Err(_) => format!("{}:{}", tunnel.target_host, tunnel.target_port),
        },
        use_post: tunnel.post,
        ..Default::default()
    });
    let source = HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})) };
    let proxy = TcpProxy {
        tunneling_config,
        hash_policy: Vec::from_iter(through.by_source.then_some(source)),
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log: access_log::of(settings, access_log::Sees::Connections),
        idle_timeout: idle.and_then(xds::duration),
        ..Default::default()
    };
    network_filter("envoy.filters.network.tcp_proxy", xds::pack(&proxy))
}

fn network_filter(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(config)) }
}

const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";
