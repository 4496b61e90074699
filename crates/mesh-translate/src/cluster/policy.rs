//! A DestinationRule's settings, with Istio's defaults, on a cluster.

use std::collections::HashMap;

use mesh_model::Port;
use mesh_model::rules::MeshConfig;
use mesh_model::rules::destination_rule::{ConnectionPool, LoadBalancer, OutlierDetection, PortPolicy};
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use mesh_proto::envoy::config::cluster::v3::cluster::LbPolicy;
use mesh_proto::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, TcpKeepalive as ApiKeepalive,
};
use mesh_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use mesh_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config::ProtocolConfig,
};
use mesh_proto::envoy::r#type::v3::Percent;

use super::Input;
use crate::proxy::Generator;
use crate::xds;

/// What of a cluster's upstream matters here.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    mesh: &'a MeshConfig,
    /// `None`: the proxy itself makes no HTTP of it.
    http: Option<Version>,
    grpc_client: bool,
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
        Self { mesh: &input.mesh, http: version(port), grpc_client: input.generator == Generator::Grpc }
    }

    pub(super) fn new(mesh: &'a MeshConfig, http: Option<Version>) -> Self {
        Self { mesh, http, grpc_client: false }
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
pub(super) fn apply(cluster: &mut api::Cluster, policy: &PortPolicy, upstream: Upstream<'_>) {
    let balancer = policy.load_balancer.unwrap_or(LoadBalancer::LeastRequest);
    cluster.lb_policy = lb_policy(balancer, upstream.grpc_client) as i32;
    apply_pool(cluster, policy.connection_pool.as_ref(), upstream);
    // gRPC libraries count failures by rate, never in a row: what a
    // DestinationRule can say has no meaning for them.
    if let Some(outlier) = policy.outlier_detection.as_ref().filter(|_| !upstream.grpc_client) {
        cluster.outlier_detection = Some(outlier_detection(outlier));
        // Envoy would use ejected hosts again once half are ejected; Istio
        // sets the bound to what the rule says, 0 by default.
        let value = f64::from(outlier.min_health_percent.unwrap_or(0));
        cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold = Some(Percent { value });
    }
}

/// Applies limits and HTTP version alone, as inbound clusters have them.
pub(super) fn apply_pool(cluster: &mut api::Cluster, pool: Option<&ConnectionPool>, upstream: Upstream<'_>) {
    let default = ConnectionPool::default();
    let pool = pool.unwrap_or(&default);
    cluster.connect_timeout = xds::duration(pool.connect_timeout.unwrap_or(upstream.mesh.connect_timeout));
    cluster.circuit_breakers = Some(thresholds(pool));
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
    if let Some(options) = http_options(pool, upstream.http) {
        cluster.typed_extension_protocol_options = HashMap::from([(HTTP_OPTIONS.to_owned(), xds::pack(&options))]);
    }
}

fn lb_policy(balancer: LoadBalancer, grpc_client: bool) -> LbPolicy {
    match balancer {
        // Neither C-core nor JS gRPC accepts another policy by this field.
        _ if grpc_client => LbPolicy::RoundRobin,
        LoadBalancer::RoundRobin => LbPolicy::RoundRobin,
        LoadBalancer::Random => LbPolicy::Random,
        LoadBalancer::LeastRequest | LoadBalancer::Passthrough => LbPolicy::LeastRequest,
    }
}

/// Envoy's own defaults (1024 of each) would limit services that set nothing.
pub(super) fn thresholds(pool: &ConnectionPool) -> api::CircuitBreakers {
    let limit = |value: Option<u32>| xds::number(value.filter(|v| *v > 0).unwrap_or(u32::MAX));
    api::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(pool.max_connections),
            max_pending_requests: limit(pool.http1_max_pending_requests),
            max_requests: limit(pool.http2_max_requests),
            max_retries: limit(pool.max_retries),
            track_remaining: true,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_options(pool: &ConnectionPool, version: Option<Version>) -> Option<HttpProtocolOptions> {
    let common = CommonOptions {
        idle_timeout: pool.http_idle_timeout.and_then(xds::duration),
        max_connection_duration: pool.max_connection_duration.and_then(xds::duration),
        max_requests_per_connection: pool.max_requests_per_connection.filter(|m| *m > 0).and_then(xds::number),
        ..Default::default()
    };
    let version = match version? {
        _ if pool.use_client_protocol => Version::Downstream,
        Version::One if pool.h2_upgrade == Some(true) => Version::Two,
        version => version,
    };
    if version == Version::One && common == CommonOptions::default() {
        return None;
    }
    let h2 = Http2ProtocolOptions {
        max_concurrent_streams: pool.max_concurrent_streams.filter(|m| *m > 0).and_then(xds::number),
        ..Default::default()
    };
    Some(HttpProtocolOptions {
        common_http_protocol_options: (common != CommonOptions::default()).then_some(common),
        upstream_protocol_options: Some(protocol_options(version, h2)),
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

/// Source: `applyOutlierDetection`, istio
/// `pilot/pkg/networking/core/cluster_traffic_policy.go`.
fn outlier_detection(outlier: &OutlierDetection) -> api::OutlierDetection {
    let enforced = |value: Option<u32>| value.and_then(|v| xds::number(if v > 0 { 100 } else { 0 }));
    let local = outlier.consecutive_local_origin_failures.filter(|_| outlier.split_external_local_origin_errors);
    api::OutlierDetection {
        consecutive_5xx: outlier.consecutive_5xx.and_then(xds::number),
        enforcing_consecutive_5xx: enforced(outlier.consecutive_5xx),
        consecutive_gateway_failure: outlier.consecutive_gateway_errors.and_then(xds::number),
        enforcing_consecutive_gateway_failure: enforced(outlier.consecutive_gateway_errors),
        split_external_local_origin_errors: outlier.split_external_local_origin_errors,
        consecutive_local_origin_failure: local.and_then(xds::number),
        enforcing_consecutive_local_origin_failure: enforced(local),
        interval: outlier.interval.and_then(xds::duration),
        base_ejection_time: outlier.base_ejection_time.and_then(xds::duration),
        max_ejection_percent: outlier.max_ejection_percent.and_then(xds::number),
        // By rate nothing is ejected unless a rule could say so.
        enforcing_success_rate: xds::number(0),
        enforcing_local_origin_success_rate: xds::number(0).filter(|_| outlier.split_external_local_origin_errors),
        ..Default::default()
    }
}

/// Key of the options that hold for HTTP to a cluster's endpoints.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
