//! The bootstrap as JSON, which is YAML as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::{Settings, stats};

/// The bootstrap that [`Settings`] amount to.
pub fn render(settings: &Settings) -> Value {
    let mut bootstrap = json!({
        "node": node(settings),
        "stats_config": stats::config(settings),
        "admin": {
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }],
            "address": socket(loopback(settings), settings.admin_port),
        },
        "dynamic_resources": {
            "lds_config": ads(),
            "cds_config": ads(),
            "ads_config": {
                "api_type": if settings.delta { "DELTA_GRPC" } else { "GRPC" },
                "set_node_on_first_message_only": true,
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        },
        "static_resources": { "clusters": clusters(settings), "listeners": listeners(settings) },
    });
    if settings.zipkin.is_some() {
        bootstrap["tracing"] = json!({ "http": {
            "name": "envoy.tracers.zipkin",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "zipkin",
                "collector_endpoint": "/api/v2/spans",
                "collector_endpoint_version": "HTTP_JSON",
                "trace_id_128bit": true,
                "shared_span_context": false,
            },
        } });
    }
    bootstrap
}

fn node(settings: &Settings) -> Value {
    let mut node = json!({
        "id": settings.node_id,
        "cluster": settings.cluster,
        "metadata": settings.metadata,
    });
    let [region, zone, sub_zone] = &settings.locality;
    if !region.is_empty() {
        node["locality"] = json!({ "region": region, "zone": zone, "sub_zone": sub_zone });
    }
    node
}

fn ads() -> Value {
    json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" })
}

fn clusters(settings: &Settings) -> Vec<Value> {
    let local = |name: &str, port: u16| {
        cluster(name, "STATIC", &loopback(settings).to_string(), port, json!({ "connect_timeout": "0.250s" }))
    };
    let mut clusters = vec![local("prometheus_stats", settings.admin_port), local("agent", settings.status_port)];
    let (host, port) = host_port(&settings.discovery_address, 15010);
    let http2 = json!({
        "connect_timeout": "1s",
        "circuit_breakers": { "thresholds": [
            { "priority": "DEFAULT", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000 },
            { "priority": "HIGH", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000 },
        ] },
        "upstream_connection_options": { "tcp_keepalive": { "keepalive_time": 300 } },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {
                "connection_keepalive": { "interval": "30s", "timeout": "10s" },
            } },
        } },
    });
    clusters.push(cluster("xds-grpc", kind(&host), &host, port, http2));
    if let Some(address) = &settings.zipkin {
        let (host, port) = host_port(address, 9411);
        clusters.push(cluster("zipkin", kind(&host), &host, port, json!({ "connect_timeout": "1s" })));
    }
    clusters
}

/// A cluster of one endpoint. Names are looked up for the address family of the
/// machine, IPv4 first.
fn cluster(name: &str, kind: &str, host: &str, port: u16, rest: Value) -> Value {
    let mut cluster = json!({ "name": name, "type": kind });
    if kind == "STRICT_DNS" {
        cluster["respect_dns_ttl"] = json!(true);
        cluster["dns_lookup_family"] = json!("V4_PREFERRED");
    }
    if let (Value::Object(cluster), Value::Object(rest)) = (&mut cluster, rest) {
        cluster.extend(rest);
    }
    cluster["load_assignment"] = json!({
        "cluster_name": name,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(host, port) } }] }],
    });
    cluster
}

fn listeners(settings: &Settings) -> Vec<Value> {
    vec![
        listener(settings, settings.prometheus_port, "stats", "/stats/prometheus", "prometheus_stats"),
        listener(settings, settings.health_port, "agent", "/healthz/ready", "agent"),
    ]
}

/// A listener that forwards one path and answers 404 to all else.
fn listener(settings: &Settings, port: u16, prefix: &str, path: &str, cluster: &str) -> Value {
    json!({
        "name": format!("{}_{port}", settings.bind),
        "address": socket(settings.bind, port),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "codec_type": "AUTO",
                "stat_prefix": prefix,
                "route_config": { "virtual_hosts": [{
                    "name": "backend",
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": path }, "route": { "cluster": cluster } }],
                }] },
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    },
                }],
            },
        }] }],
    })
}

fn socket(address: impl ToString, port: u16) -> Value {
    json!({ "socket_address": { "address": address.to_string(), "port_value": port } })
}

fn loopback(settings: &Settings) -> IpAddr {
    if settings.ip_version == "v6" { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

fn kind(host: &str) -> &'static str {
    if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" }
}

/// `host:port`, `[v6]:port`, or a host alone, which gets `default`.
fn host_port(address: &str, default: u16) -> (String, u16) {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => (host, port.parse().unwrap_or(default)),
        _ => (address, default),
    };
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
}
