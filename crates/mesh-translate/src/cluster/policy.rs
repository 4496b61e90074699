//! A DestinationRule's settings, with Istio's defaults, on a cluster.

use std::collections::HashMap;

use mesh_model::Port;
use mesh_model::rules::MeshConfig;
use mesh_model::rules::destination_rule::{ConnectionPool, Effective, RetryBudget};
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use mesh_proto::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget as ApiBudget;
use mesh_proto::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, KeepaliveSettings, TcpKeepalive as ApiKeepalive,
};
use mesh_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use mesh_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, OutlierDetection as ErrorOptions, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use mesh_proto::envoy::r#type::v3::Percent;

use super::{Input, balancer, outlier};
use crate::proxy::Generator;
use crate::xds;

/// What of a cluster's upstream matters here.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    mesh: &'a MeshConfig,
    /// `None`: the proxy itself makes no HTTP of it.
    http: Option<Version>,
    grpc_client: bool,
    /// Whether it is another's, not the workload's own application.
    outbound: bool,
}

/// How HTTP is spoken to a port that is said to speak it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Version {
    One,
    Two,
    /// Whatever the client speaks.
    Downstream,
}

impl<'a> Upstream<'a> {
    pub(super) fn of(input: &'a Input, port: &Port) -> Self {
        Self { mesh: &input.mesh, http: version(port), grpc_client: input.generator == Generator::Grpc, outbound: true }
    }

    pub(super) fn new(mesh: &'a MeshConfig, http: Option<Version>) -> Self {
        Self { mesh, http, grpc_client: false, outbound: false }
    }
}

pub(super) fn version(port: &Port) -> Option<Version> {
    match port.protocol {
        mesh_model::Protocol::Auto => Some(Version::Downstream),
        protocol if protocol.is_http2() => Some(Version::Two),
        protocol if protocol.is_http() => Some(Version::One),
        _ => None,
    }
}

/// Applies all of a policy.
pub(super) fn apply(cluster: &mut api::Cluster, policy: &Effective<'_>, upstream: Upstream<'_>) {
    let generator = if upstream.grpc_client { Generator::Grpc } else { Generator::Envoy };
    balancer::apply(cluster, policy.load_balancer, generator);
    apply_pool(cluster, policy, upstream);
    // gRPC libraries count failures by rate, never in a row: what a
    // DestinationRule can say has no meaning for them.
    if let Some(found) = policy.outlier_detection.filter(|_| !upstream.grpc_client) {
        outlier::apply(cluster, found);
    }
}

/// Applies limits and HTTP version alone, as inbound clusters have them.
pub(super) fn apply_pool(cluster: &mut api::Cluster, policy: &Effective<'_>, upstream: Upstream<'_>) {
    let default = ConnectionPool::default();
    let pool = policy.connection_pool.unwrap_or(&default);
    cluster.connect_timeout = xds::duration(pool.connect_timeout.unwrap_or(upstream.mesh.connect_timeout));
    cluster.circuit_breakers = Some(thresholds(pool, policy.retry_budget.filter(|_| !upstream.grpc_client)));
    if upstream.grpc_client {
        return;
    }
    if let Some(keepalive) = &pool.tcp_keepalive {
        let seconds = |d: Option<std::time::Duration>| {
            d.and_then(|d| xds::number(u32::try_from(d.as_secs().max(1)).unwrap_or(u32::MAX)))
        };
        cluster.upstream_connection_options.get_or_insert_default().tcp_keepalive = Some(ApiKeepalive {
            keepalive_probes: keepalive.probes.and_then(xds::number),
            keepalive_time: seconds(keepalive.time),
            keepalive_interval: seconds(keepalive.interval),
        });
    }
    if let Some(options) = http_options(policy, pool, upstream) {
        cluster.typed_extension_protocol_options = HashMap::from([(HTTP_OPTIONS.to_owned(), xds::pack(&options))]);
    }
}

/// Envoy's own defaults (1024 of each) would limit services that set nothing.
fn thresholds(pool: &ConnectionPool, budget: Option<RetryBudget>) -> api::CircuitBreakers {
    let limit = |value: Option<u32>| xds::number(value.filter(|v| *v > 0).unwrap_or(u32::MAX));
    api::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(pool.max_connections),
            max_pending_requests: limit(pool.http1_max_pending_requests),
            max_requests: limit(pool.http2_max_requests),
            max_retries: limit(pool.max_retries),
            retry_budget: budget.map(retry_budget),
            track_remaining: true,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn retry_budget(budget: RetryBudget) -> ApiBudget {
    ApiBudget {
        budget_percent: Some(Percent { value: budget.percent.unwrap_or(BUDGET_PERCENT_DEFAULT) }),
        min_retry_concurrency: xds::number(budget.min_retry_concurrency.unwrap_or(BUDGET_CONCURRENCY_DEFAULT)),
        budget_interval: budget.budget_interval.and_then(xds::duration),
    }
}

fn http_options(policy: &Effective<'_>, pool: &ConnectionPool, upstream: Upstream<'_>) -> Option<HttpProtocolOptions> {
    let common = CommonOptions {
        idle_timeout: pool.http_idle_timeout.or(pool.tcp_idle_timeout).and_then(xds::duration),
        max_connection_duration: pool.max_connection_duration.and_then(xds::duration),
        max_requests_per_connection: pool.max_requests_per_connection.filter(|m| *m > 0).and_then(xds::number),
        ..Default::default()
    };
    let version = match upstream.http? {
        _ if pool.use_client_protocol => Version::Downstream,
        Version::One if pool.h2_upgrade == Some(true) => Version::Two,
        version => version,
    };
    let error_matcher = policy.outlier_detection.filter(|_| upstream.outbound).and_then(outlier::error_matcher);
    if version == Version::One && common == CommonOptions::default() && error_matcher.is_none() {
        return None;
    }
    let h2 = Http2ProtocolOptions {
        max_concurrent_streams: pool.max_concurrent_streams.filter(|m| *m > 0).and_then(xds::number),
        connection_keepalive: pool.http2_keepalive.map(|(interval, timeout)| KeepaliveSettings {
            interval: xds::duration(interval),
            timeout: xds::duration(timeout),
            ..Default::default()
        }),
        ..Default::default()
    };
    Some(HttpProtocolOptions {
        common_http_protocol_options: (common != CommonOptions::default()).then_some(common),
        upstream_protocol_options: Some(protocol_options(version, h2)),
        outlier_detection: error_matcher.map(|matcher| ErrorOptions { error_matcher: Some(matcher) }),
        ..Default::default()
    })
}

fn protocol_options(version: Version, h2: Http2ProtocolOptions) -> UpstreamProtocolOptions {
    let explicit =
        |config| UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) });
    match version {
        Version::One => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        Version::Two => explicit(ProtocolConfig::Http2ProtocolOptions(h2)),
        Version::Downstream => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(Default::default()),
            http2_protocol_options: Some(h2),
            ..Default::default()
        }),
    }
}

/// Key of the options that hold for HTTP to a cluster's endpoints.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Istio's defaults, where a rule asks for a budget.
const BUDGET_PERCENT_DEFAULT: f64 = 20.0;
const BUDGET_CONCURRENCY_DEFAULT: u32 = 3;
