//! HTTP connection managers.

use mesh_proto::envoy::config::listener::v3::Filter;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::{HttpConnectionManager, Rds};

use super::{access_log, network_filter, tracing};
use crate::http_filters::{self, Chain};
use crate::scope::Settings;
use crate::xds;

/// What tells connection managers apart.
pub(crate) struct Manager {
    /// Which listener's traffic statistics count, such as `outbound_0.0.0.0_8000;`.
    pub(crate) stat_prefix: String,
    /// Where its routes are.
    pub(crate) routes: Routes,
    /// What its filters depend on.
    pub(crate) chain: Chain,
    /// Whether it stands before the application, not behind it.
    pub(crate) inbound: bool,
}

/// Where a connection manager finds its routes.
pub(crate) enum Routes {
    /// They come by RDS under this name.
    Named(String),
    /// They are part of the listener.
    Inline(Box<RouteConfiguration>),
}

impl Manager {
    /// As a network filter.
    pub(super) fn filter(self, settings: &Settings) -> Filter {
        network_filter("envoy.filters.network.http_connection_manager", xds::pack(&self.config(settings)))
    }

    /// With Istio's settings for sidecars: the peer is trusted with
    /// `x-forwarded-for` (it is a sidecar too), streams may be idle for ever,
    /// WebSocket may be spoken, paths are normalised.
    pub(crate) fn config(self, settings: &Settings) -> HttpConnectionManager {
        let server = if self.inbound {
            (ServerHeaderTransformation::Overwrite, "istio-envoy".to_owned())
        } else {
            (ServerHeaderTransformation::PassThrough, String::new())
        };
        let traced = settings.telemetry.tracing.as_ref();
        HttpConnectionManager {
            stat_prefix: self.stat_prefix,
            http_filters: http_filters::filters(self.chain, settings),
            server_header_transformation: server.0 as i32,
            server_name: server.1,
            stream_idle_timeout: xds::zero(),
            access_log: access_log::of(settings, access_log::Sees::Requests),
            tracing: traced.and_then(tracing::of),
            request_id_extension: traced.and_then(tracing::request_id),
            use_remote_address: xds::truth(false),
            generate_request_id: xds::truth(true),
            normalize_path: xds::truth(true),
            upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
            route_specifier: Some(match self.routes {
                Routes::Named(name) => {
                    RouteSpecifier::Rds(Rds { config_source: Some(xds::ads()), route_config_name: name })
                }
                Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
            }),
            ..Default::default()
        }
    }
}
