//! The HTTP filters of a connection manager. Row order is filter order.
//!
//! Only filters that unmodified Envoy has, and that our own proxy honours, are
//! emitted; of Istio's own, `istio.stats` to proxies that say they have it.

use mesh_proto::envoy::extensions::filters::http::cors::v3::Cors;
use mesh_proto::envoy::extensions::filters::http::fault::v3::HttpFault;
use mesh_proto::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use mesh_proto::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use mesh_proto::envoy::extensions::filters::http::router::v3::Router;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use mesh_proto::google::protobuf::Any;

use crate::scope::Settings;
use crate::xds;

/// What the filters of a chain depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    /// Whether some service behind it is declared to speak gRPC.
    pub(crate) grpc: bool,
}

/// The filters of `chain`, the router last.
pub(crate) fn filters(chain: Chain, settings: &Settings) -> Vec<HttpFilter> {
    let row = |(name, make): &Row| {
        let config = make(chain, settings)?;
        Some(HttpFilter {
            name: (*name).to_owned(),
            config_type: Some(ConfigType::TypedConfig(config)),
            ..Default::default()
        })
    };
    ORDER.iter().filter_map(row).collect()
}

fn grpc_stats(chain: Chain, _: &Settings) -> Option<Any> {
    let config = GrpcStats {
        per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(Default::default())),
        ..Default::default()
    };
    chain.grpc.then(|| xds::pack(&config))
}

/// Injects nothing by itself: routes say what.
fn fault(_: Chain, _: &Settings) -> Option<Any> {
    Some(xds::pack(&HttpFault::default()))
}

/// Allows nothing by itself: routes say what.
fn cors(_: Chain, _: &Settings) -> Option<Any> {
    Some(xds::pack(&Cors::default()))
}

fn router(_: Chain, _: &Settings) -> Option<Any> {
    Some(xds::pack(&Router::default()))
}

/// Istio's metrics; also of connections that carry bytes.
pub(crate) fn stats(settings: &Settings) -> Option<Any> {
    settings.telemetry.metrics.as_ref().map(|metrics| xds::pack(&metrics.config()))
}

type Row = (&'static str, fn(Chain, &Settings) -> Option<Any>);

const ORDER: [Row; 5] = [
    ("envoy.filters.http.grpc_stats", grpc_stats),
    (FAULT, fault),
    (CORS, cors),
    (STATS, |_, settings| stats(settings)),
    ("envoy.filters.http.router", router),
];

/// Name of Istio's filter for metrics.
pub(crate) const STATS: &str = "istio.stats";
/// Names by which routes address filters.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
pub(crate) const CORS: &str = "envoy.filters.http.cors";
