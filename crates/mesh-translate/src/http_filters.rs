//! The HTTP filters of a connection manager. Row order is filter order.
//!
//! Only filters that unmodified Envoy has, and that our own proxy honours, are
//! emitted: Istio's own (`istio.stats`, `istio.alpn`, metadata exchange) never.

use mesh_proto::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use mesh_proto::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use mesh_proto::envoy::extensions::filters::http::router::v3::Router;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use mesh_proto::google::protobuf::Any;

use crate::xds;

/// What the filters of a chain depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    /// Whether some service behind it is declared to speak gRPC.
    pub(crate) grpc: bool,
}

/// The filters of `chain`, the router last.
pub(crate) fn filters(chain: Chain) -> Vec<HttpFilter> {
    let row = |(name, make): &(&str, fn(Chain) -> Option<Any>)| {
        let config = make(chain)?;
        Some(HttpFilter {
            name: (*name).to_owned(),
            config_type: Some(ConfigType::TypedConfig(config)),
            ..Default::default()
        })
    };
    ORDER.iter().filter_map(row).collect()
}

fn grpc_stats(chain: Chain) -> Option<Any> {
    let config = GrpcStats {
        per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(Default::default())),
        ..Default::default()
    };
    chain.grpc.then(|| xds::pack(&config))
}

fn router(_: Chain) -> Option<Any> {
    Some(xds::pack(&Router::default()))
}

type Row = (&'static str, fn(Chain) -> Option<Any>);

const ORDER: [Row; 2] = [("envoy.filters.http.grpc_stats", grpc_stats), ("envoy.filters.http.router", router)];
