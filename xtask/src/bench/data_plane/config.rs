//! The bootstrap that both proxies read: static, with the chain that a mesh
//! gives a sidecar, and one listener per row.
//!
//! The chain holds what both honour: gRPC statistics, fault, CORS and router,
//! request ids, path normalisation, the default retry policy, circuit breakers
//! raised out of the way, and for the logged rows the customary text format.

use std::fmt::Write;
use std::net::SocketAddr;

use super::{Backends, Kind, SCENARIOS, Scenario};

/// Envoy's own circuit breakers would refuse the load: 1024 connections, 1024 requests.
const BREAKER: u32 = 1_000_000;

/// The customary text access log of a sidecar.
const LOG_FORMAT: &str = concat!(
    r#"[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "#,
    r#"%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% "#,
    r#"%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "#,
    r#"\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% "#,
    r#"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"#,
);

/// Other services that a sidecar's route table knows, so that matching is not a table of one.
const OTHER_HOSTS: usize = 50;

/// The whole bootstrap, as YAML.
pub(super) fn bootstrap(admin: SocketAddr, listeners: &[SocketAddr], backends: &Backends, log: &str) -> String {
    let mut text = format!(
        "node: {{id: bench, cluster: bench}}\nadmin:\n  address: {}\nstatic_resources:\n  listeners:\n",
        socket(admin)
    );
    for (scenario, address) in SCENARIOS.iter().zip(listeners) {
        text += &listener(scenario, *address, log);
    }
    text += "  clusters:\n";
    for kind in [Kind::Http1, Kind::Http2, Kind::Tcp] {
        text += &cluster(kind, backends.of(kind));
    }
    text
}

fn listener(scenario: &Scenario, address: SocketAddr, log: &str) -> String {
    let name = scenario.name;
    let access_log = if scenario.access_log { access_log(log) } else { String::new() };
    let cluster = cluster_name(scenario.kind);
    let mut text = format!("  - name: {name}\n    address: {}\n    filter_chains:\n    - filters:\n", socket(address));
    if scenario.kind == Kind::Tcp {
        text += &format!(
            r#"      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {cluster}
{access_log}"#
        );
        return text;
    }
    text += &format!(
        r#"      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          codec_type: AUTO
          generate_request_id: true
          normalize_path: true
          use_remote_address: false
          stream_idle_timeout: 0s
          upgrade_configs: [{{upgrade_type: websocket}}]
{access_log}          http_filters:
{HTTP_FILTERS}          route_config:
            name: {name}
            validate_clusters: false
            virtual_hosts:
{}"#,
        virtual_hosts(cluster)
    );
    text
}

const HTTP_FILTERS: &str = r#"          - name: envoy.filters.http.grpc_stats
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig
              emit_filter_state: true
              stats_for_all_methods: false
          - name: envoy.filters.http.fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
          - name: envoy.filters.http.cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

fn virtual_hosts(cluster: &str) -> String {
    let mut text = String::new();
    for number in 0..OTHER_HOSTS {
        let host = format!("service-{number}.default.svc.cluster.local");
        write_host(&mut text, &host, "nowhere", "other");
    }
    write_host(&mut text, "backend.default.svc.cluster.local", cluster, "default");
    text
}

fn write_host(text: &mut String, host: &str, cluster: &str, route: &str) {
    let short = host.split('.').next().unwrap_or_default();
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        r#"            - name: {host}:8000
              domains: ["{host}", "{host}:8000", "{short}", "{short}:8000", "{short}.default", "{short}.default:8000"]
              routes:
              - name: {route}
                match: {{prefix: "/"}}
                route:
                  cluster: {cluster}
                  timeout: 0s
                  retry_policy:
                    retry_on: connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes
                    num_retries: 2
                    host_selection_retry_max_attempts: "5"
                    retriable_status_codes: [503]
"#
    );
}

fn access_log(path: &str) -> String {
    format!(
        r#"          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {path}
              log_format:
                text_format_source:
                  inline_string: "{LOG_FORMAT}"
"#
    )
}

fn cluster(kind: Kind, backend: SocketAddr) -> String {
    let name = cluster_name(kind);
    let mut text = format!(
        r#"  - name: {name}
    type: STATIC
    connect_timeout: 10s
    lb_policy: ROUND_ROBIN
    circuit_breakers:
      thresholds:
      - {{max_connections: {BREAKER}, max_pending_requests: {BREAKER}, max_requests: {BREAKER}, max_retries: {BREAKER}}}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {}
"#,
        socket(backend)
    );
    if kind == Kind::Http2 {
        text += r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#;
    }
    text
}

fn cluster_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Http1 => "outbound|8000|http1|backend.default.svc.cluster.local",
        Kind::Http2 | Kind::Grpc => "outbound|8000|http2|backend.default.svc.cluster.local",
        Kind::Tcp => "outbound|8000|tcp|backend.default.svc.cluster.local",
    }
}

fn socket(address: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", address.ip(), address.port())
}
