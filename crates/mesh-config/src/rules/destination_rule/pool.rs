//! Connection pools. As in Istio, a count of 0 means that nothing is said.

use std::time::Duration;

use mesh_model::rules::destination_rule::{ConnectionPool, TcpKeepalive};

use crate::reader::{Fields, Value};

pub(super) fn read(value: &Value<'_>) -> Option<ConnectionPool> {
    let fields = value.fields()?;
    let mut pool = ConnectionPool::default();
    if !fields.has("tcp") && !fields.has("http") {
        fields.error::<()>("found an empty connection pool, expected tcp or http in it".to_owned());
    }
    if let Some(tcp) = fields.optional("tcp").and_then(|v| v.fields()) {
        read_tcp(&tcp, &mut pool);
    }
    if let Some(http) = fields.optional("http").and_then(|v| v.fields()) {
        read_http(&http, &mut pool);
    }
    fields.finish();
    Some(pool)
}

fn count(fields: &Fields<'_>, name: &'static str) -> Option<u32> {
    fields.optional(name).and_then(|v| v.count()).filter(|count| *count > 0)
}

fn read_tcp(fields: &Fields<'_>, pool: &mut ConnectionPool) {
    let duration = |name| fields.optional(name).and_then(|v| v.duration());
    pool.max_connections = count(fields, "maxConnections");
    pool.connect_timeout = duration("connectTimeout");
    pool.max_connection_duration = duration("maxConnectionDuration");
    pool.tcp_idle_timeout = fields.optional("idleTimeout").and_then(|v| v.duration_or_zero());
    pool.tcp_keepalive = fields.optional("tcpKeepalive").and_then(|v| keepalive(&v));
    fields.finish();
}

fn keepalive(value: &Value<'_>) -> Option<TcpKeepalive> {
    let fields = value.fields()?;
    let keepalive = TcpKeepalive {
        probes: fields.optional("probes").and_then(|v| v.unsigned()).filter(|probes| *probes > 0),
        time: fields.optional("time").and_then(|v| v.duration()),
        interval: fields.optional("interval").and_then(|v| v.duration()),
    };
    fields.finish();
    Some(keepalive)
}

fn read_http(fields: &Fields<'_>, pool: &mut ConnectionPool) {
    pool.http1_max_pending_requests = count(fields, "http1MaxPendingRequests");
    pool.http2_max_requests = count(fields, "http2MaxRequests");
    pool.max_requests_per_connection = count(fields, "maxRequestsPerConnection");
    pool.max_retries = count(fields, "maxRetries");
    pool.http_idle_timeout = fields.optional("idleTimeout").and_then(|v| v.duration());
    let upgrade = fields
        .optional("h2UpgradePolicy")
        .and_then(|v| v.one_of(&[("DEFAULT", None), ("DO_NOT_UPGRADE", Some(false)), ("UPGRADE", Some(true))]));
    pool.h2_upgrade = upgrade.flatten();
    pool.use_client_protocol = fields.optional("useClientProtocol").and_then(|v| v.boolean()).unwrap_or(false);
    pool.max_concurrent_streams = count(fields, "maxConcurrentStreams");
    if pool.use_client_protocol && pool.h2_upgrade == Some(true) {
        fields.error::<()>(
            "found useClientProtocol: true with h2UpgradePolicy: UPGRADE, expected one of them".to_owned(),
        );
    }
    pool.http2_keepalive = fields.optional("http2KeepAlive").and_then(|v| http2_keepalive(&v));
    fields.finish();
}

fn http2_keepalive(value: &Value<'_>) -> Option<(Duration, Duration)> {
    let fields = value.fields()?;
    let interval = fields.required("interval", "a duration").and_then(|v| v.duration());
    let timeout = fields.required("timeout", "a duration").and_then(|v| v.duration());
    fields.finish();
    Some((interval?, timeout?))
}
