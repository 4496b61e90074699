//! `defaultConfig` (ProxyConfig): what agents and proxies start with.

use mesh_model::rules::mesh_config::ProxyDefaults;

use super::super::telemetry;
use crate::reader::{Fields, Value};

/// Fields that are accepted and not yet applied.
const FIELDS_NOT_APPLIED: [&str; 33] = [
    "configPath",
    "binaryPath",
    "serviceCluster",
    "parentShutdownDuration",
    "connectTimeout",
    "statsdUdpAddress",
    "availabilityZone",
    "controlPlaneAuthPolicy",
    "customConfigFile",
    "statNameLength",
    "proxyBootstrapTemplatePath",
    "interceptionMode",
    "sds",
    "envoyAccessLogService",
    "envoyMetricsService",
    "envoyMetricsServiceAddress",
    "proxyMetadata",
    "runtimeValues",
    "extraStatTags",
    "gatewayTopology",
    "proxyStatsMatcher",
    "readinessProbe",
    "holdApplicationUntilProxyStarts",
    "caCertificatesPem",
    "image",
    "privateKeyProvider",
    "proxyHeaders",
    "fileFlushInterval",
    "fileFlushMinSizeKb",
    "connectionSettings",
    "statsCompression",
    "meshId",
    "tracingServiceName",
];
/// Tracers that are accepted and not yet applied.
const TRACERS_NOT_APPLIED: [&str; 5] = ["lightstep", "datadog", "stackdriver", "openCensusAgent", "tlsSettings"];

pub(super) fn read(fields: &Fields<'_>, defaults: &mut ProxyDefaults) {
    let text = |name| fields.optional(name).and_then(|v| v.text());
    if let Some(address) = text("discoveryAddress").filter(|a| !a.is_empty()) {
        defaults.discovery_address = address;
    }
    if let Some(address) = text("zipkinAddress") {
        defaults.zipkin_address = address;
    }
    if let Some(tracing) = fields.optional("tracing") {
        read_tracing(&tracing, defaults);
    }
    if let Some(concurrency) = fields.optional("concurrency").and_then(|v| v.count()) {
        // 0 is Istio's word for as many as the machine has.
        defaults.concurrency = (concurrency > 0).then_some(concurrency);
    }
    let duration = |name| fields.optional(name).and_then(|v| v.duration_or_zero());
    if let Some(drain) = duration("drainDuration") {
        defaults.drain_duration = drain;
    }
    if let Some(drain) = duration("terminationDrainDuration") {
        defaults.termination_drain_duration = drain;
    }
    let port = |name| fields.optional(name).and_then(|v| v.port());
    defaults.admin_port = port("proxyAdminPort").unwrap_or(defaults.admin_port);
    defaults.status_port = port("statusPort").unwrap_or(defaults.status_port);
    fields.not_applied(&FIELDS_NOT_APPLIED);
    fields.finish();
}

fn read_tracing(value: &Value<'_>, defaults: &mut ProxyDefaults) -> Option<()> {
    let tracing = value.fields()?;
    if let Some(zipkin) = tracing.optional("zipkin") {
        let fields = zipkin.fields()?;
        if let Some(address) = fields.optional("address").and_then(|v| v.text()) {
            defaults.zipkin_address = address;
        }
        fields.finish();
    }
    let settings = &mut defaults.tracing;
    if let Some(percent) = tracing.optional("sampling").and_then(|v| v.number(0.0, 100.0)) {
        settings.sampling = (percent * 100.0).round() as u32;
    }
    if let Some(length) = tracing.optional("maxPathTagLength").and_then(|v| v.unsigned()) {
        settings.max_path_tag_length = length;
    }
    if let Some(add) = tracing.optional("enableIstioTags").and_then(|v| v.boolean()) {
        settings.istio_tags = add;
    }
    for (name, value) in tracing.optional("customTags").and_then(|v| v.entries()).unwrap_or_default() {
        settings.tags.insert(name, telemetry::tag(&value)?);
    }
    tracing.not_applied(&TRACERS_NOT_APPLIED);
    tracing.finish();
    Some(())
}
