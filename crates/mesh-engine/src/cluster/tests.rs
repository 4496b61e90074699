#![allow(clippy::unwrap_used)]
use super::*;

fn parse(yaml: &str) -> Result<ClusterConfig, String> {
    let proto: xds::Cluster = mesh_proto::json::from_yaml(yaml).unwrap();
    ClusterConfig::parse(&proto).map_err(|e| e.to_string())
}

#[test]
fn an_istio_like_cluster_is_read() {
    let yaml = r"
name: outbound|8000||backend.default.svc.cluster.local
type: EDS
eds_cluster_config: {eds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}, service_name: svc}
connect_timeout: 10s
lb_policy: LEAST_REQUEST
circuit_breakers: {thresholds: [{max_connections: 4294967295, max_pending_requests: 7, max_requests: 4294967295, max_retries: 4294967295, track_remaining: true}]}
common_lb_config: {healthy_panic_threshold: {}, locality_weighted_lb_config: {}}
outlier_detection: {consecutive_5xx: 3, base_ejection_time: 60s, enforcing_success_rate: 0}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {max_requests_per_connection: 5, idle_timeout: 0s}
    explicit_http_config: {http2_protocol_options: {}}
metadata: {filter_metadata: {pilothouse: {rules: [DestinationRule/default/backend]}}}
";
    let config = parse(yaml).unwrap();
    assert_eq!(config.eds_name().map(|n| &**n), Some("svc"));
    assert_eq!(config.policy, LbPolicy::LeastRequest { choices: 2, ignore_active: false });
    assert_eq!(config.http.version, UpstreamVersion::Http2);
    assert_eq!((config.max_requests_per_connection, config.idle_timeout), (Some(5), None));
    assert_eq!((config.panic_threshold_percent, config.locality_weighted), (0.0, true));
    assert_eq!(config.thresholds[0].max_pending_requests, 7);
    assert_eq!(config.thresholds[1], Thresholds::default());
    assert_eq!(config.outlier_detection.unwrap().consecutive_5xx, 3);
    assert_eq!(config.origins[0].name, "backend");
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let endpoint = "{endpoint: {address: {socket_address: {address: a.b, port_value: 1}}}}";
    let two = format!(
        "{{name: x, type: LOGICAL_DNS, load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{endpoint}, {endpoint}]}}]}}}}"
    );
    let static_name =
        format!("{{name: x, load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}}}");
    for (yaml, expected) in [
        ("{type: STATIC}", "cluster (unnamed): name: is not set"),
        ("{name: x, type: EDS}", "cannot create an EDS cluster without an EDS config"),
        (
            "{name: x, type: ORIGINAL_DST}",
            "LB policy ROUND_ROBIN is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed",
        ),
        ("{name: x, lb_policy: CLUSTER_PROVIDED}", "LB policy CLUSTER_PROVIDED is not valid for Cluster type STATIC"),
        (two.as_str(), "LOGICAL_DNS clusters must have a single locality_lb_endpoint"),
        (
            static_name.as_str(),
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: malformed IP address: a.b",
        ),
        ("{name: x, connect_timeout: 0s}", "connect_timeout: found 0s"),
        ("{name: x, health_checks: [{timeout: 1s}]}", "health_checks: is set, but this proxy does not support it"),
        (
            "{name: x, transport_socket: {name: envoy.transport_sockets.tap, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tap.v3.Tap}}}",
            "transport_socket: envoy.transport_sockets.tap (envoy.extensions.transport_sockets.tap.v3.Tap) is not supported by this proxy",
        ),
        (
            "{name: x, outlier_detection: {max_ejection_percent: 101}}",
            "outlier_detection.max_ejection_percent: found 101, expected 0 to 100",
        ),
        (
            "{name: x, outlier_detection: {base_ejection_time: 10s, max_ejection_time: 5s}}",
            "max_ejection_time cannot be smaller than base_ejection_time",
        ),
        (
            "{name: x, least_request_lb_config: {choice_count: 1}, lb_policy: LEAST_REQUEST}",
            "choice_count: found 1, expected at least 2",
        ),
        ("{name: x, common_lb_config: {healthy_panic_threshold: {value: 101}}}", "healthy_panic_threshold: found 101"),
        ("{name: x, dns_refresh_rate: 0.001s, type: STRICT_DNS}", "dns_refresh_rate: found 1ms"),
        ("{name: x, http2_protocol_options: {initial_stream_window_size: 1}}", "initial_stream_window_size: found 1"),
        (
            "{name: x, load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset}}}]}}",
            "envoy.extensions.load_balancing_policies.subset.v3.Subset is not supported",
        ),
    ] {
        let error = parse(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[test]
fn what_cannot_be_honoured_of_hashing_is_named() {
    for (yaml, expected) in [
        (
            "{name: x, lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2}}",
            "ring_hash_lb_config.hash_function: MURMUR_HASH_2 is not supported by this proxy",
        ),
        (
            "{name: x, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 5, maximum_ring_size: 4}}",
            "ring hash: minimum_ring_size (5) > maximum_ring_size (4)",
        ),
        (
            "{name: x, lb_policy: MAGLEV, maglev_lb_config: {table_size: 65536}}",
            "The table size of maglev must be prime number",
        ),
        (
            "{name: x, lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}}",
            "hash_balance_factor: is set, but this proxy does not support it",
        ),
    ] {
        let error = parse(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[test]
fn what_envoy_accepts_without_endpoints_is_accepted() {
    for yaml in [
        "{name: x, type: STATIC}",
        "{name: x, type: STRICT_DNS}",
        "{name: x, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}",
    ] {
        assert!(parse(yaml).is_ok(), "{yaml}");
    }
}

#[test]
fn connections_leave_from_the_first_source_of_the_endpoints_family() {
    let cluster = parse(
        "{name: x, type: STATIC, upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}, \
         extra_source_addresses: [{address: {address: '::6', port_value: 0}}]}}",
    )
    .unwrap();
    let source = |endpoint: &str| cluster.source_for(endpoint.parse().unwrap()).map(|a| a.to_string());
    assert_eq!(source("10.0.0.1:80").as_deref(), Some("127.0.0.6:0"));
    assert_eq!(source("[fd00::1]:80").as_deref(), Some("[::6]:0"));
}
