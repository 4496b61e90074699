//! `/debug/mesh`: mesh-wide settings under Istio's own field names.

use std::time::Duration;

use mesh_model::Visibility;
use mesh_model::rules::MeshConfig;
use mesh_model::rules::mesh_config::{InboundTrafficPolicy, OutboundTrafficPolicy};
use serde_json::{Value, json};

use super::{Query, Reply, View};

pub(super) fn mesh(view: &View, _: &Query) -> Reply {
    Reply::Json(settings(&view.mesh.mesh))
}

fn settings(mesh: &MeshConfig) -> Value {
    let defaults = &mesh.default_config;
    json!({
        "proxyListenPort": mesh.proxy_listen_port,
        "proxyInboundListenPort": mesh.proxy_inbound_listen_port,
        "connectTimeout": duration(mesh.connect_timeout),
        "trustDomain": &*mesh.trust_domain,
        "rootNamespace": &*mesh.root_namespace,
        "outboundTrafficPolicy": { "mode": match mesh.outbound_traffic_policy {
            OutboundTrafficPolicy::AllowAny => "ALLOW_ANY",
            OutboundTrafficPolicy::RegistryOnly => "REGISTRY_ONLY",
        } },
        "inboundTrafficPolicy": { "mode": match mesh.inbound_traffic_policy {
            InboundTrafficPolicy::Passthrough => "PASSTHROUGH",
            InboundTrafficPolicy::Localhost => "LOCALHOST",
        } },
        "defaultServiceExportTo": visibility(&mesh.default_service_export_to),
        "defaultVirtualServiceExportTo": visibility(&mesh.default_virtual_service_export_to),
        "defaultDestinationRuleExportTo": visibility(&mesh.default_destination_rule_export_to),
        "dnsRefreshRate": duration(mesh.dns_refresh_rate),
        "protocolDetectionTimeout": duration(mesh.protocol_detection_timeout),
        "accessLogFile": &*mesh.access_log_file,
        "accessLogFormat": &*mesh.access_log_format,
        "accessLogEncoding": if mesh.access_log_json { "JSON" } else { "TEXT" },
        "defaultHttpRetryPolicy": mesh.default_http_retry_policy.as_ref().map(|retries| json!({
            "attempts": retries.attempts,
            "perTryTimeout": retries.per_try_timeout.map(duration),
            "retryOn": retries.retry_on.iter().map(|word| &**word).collect::<Vec<_>>().join(","),
        })),
        "defaultConfig": {
            "discoveryAddress": &*defaults.discovery_address,
            "tracing": match &*defaults.zipkin_address {
                "" => Value::Null,
                address => json!({ "zipkin": { "address": address } }),
            },
            "concurrency": defaults.concurrency,
            "drainDuration": duration(defaults.drain_duration),
            "terminationDrainDuration": duration(defaults.termination_drain_duration),
            "proxyAdminPort": defaults.admin_port,
            "statusPort": defaults.status_port,
        },
    })
}

fn visibility(visibility: &Visibility) -> Value {
    match visibility {
        Visibility::Public => json!(["*"]),
        Visibility::None => json!(["~"]),
        Visibility::Namespaces(names) => names.iter().map(|n| Value::from(&**n)).collect(),
    }
}

/// Protobuf's JSON for a duration: `10s`, `0.250s`.
fn duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        millis => format!("{}.{millis:03}s", duration.as_secs()),
    }
}
