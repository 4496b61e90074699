//! Traffic policies, for a destination or for single ports, and their outlier
//! detection.

use mesh_model::Code;
use mesh_model::rules::destination_rule::{OutlierDetection, PortPolicy, TrafficPolicy};

use super::{balancer, pool, upstream};
use crate::reader::{Fields, Value};

pub(super) fn read(value: &Value<'_>) -> Option<TrafficPolicy> {
    let fields = value.fields()?;
    if !SETTINGS.iter().chain(&DESTINATION_SETTINGS).any(|name| fields.has(name)) {
        fields.error::<()>("found an empty policy, expected at least one setting in it".to_owned());
    }
    let destination = settings(&fields);
    let ports = fields.optional("portLevelSettings").map_or(Some(Vec::new()), |v| ports(&v));
    let tunnel = fields.optional("tunnel").and_then(|v| upstream::tunnel(&v));
    let proxy_protocol = fields.optional("proxyProtocol").and_then(|v| upstream::proxy_protocol(&v));
    if tunnel.is_some() && proxy_protocol.is_some() {
        fields.error::<()>("found tunnel and proxyProtocol together, expected only one of them".to_owned());
    }
    let retry_budget = fields.optional("retryBudget").and_then(|v| upstream::retry_budget(&v));
    fields.finish();
    Some(TrafficPolicy { destination, ports: ports?, tunnel, proxy_protocol, retry_budget })
}

fn settings(fields: &Fields<'_>) -> PortPolicy {
    let outlier_detection = fields.optional("outlierDetection").and_then(|v| outlier(&v));
    let watched = fields.has("outlierDetection");
    PortPolicy {
        load_balancer: fields.optional("loadBalancer").and_then(|v| balancer::read(&v, watched)),
        connection_pool: fields.optional("connectionPool").and_then(|v| pool::read(&v)),
        outlier_detection,
        tls: fields.optional("tls").and_then(|v| upstream::tls(&v)),
    }
}

fn ports(value: &Value<'_>) -> Option<Vec<(u16, PortPolicy)>> {
    let mut ports: Vec<(u16, PortPolicy)> = Vec::new();
    for item in value.items()? {
        let fields = item.fields()?;
        let number = fields.required("port", "a map with a port number").and_then(|v| {
            let port = v.fields()?;
            let number = port.required("number", "a port number").and_then(|v| v.port());
            port.finish();
            number
        });
        let policy = settings(&fields);
        fields.finish();
        let Some(number) = number else { continue };
        if ports.iter().any(|(other, _)| *other == number) {
            item.error::<()>(format!("port {number} stands twice, expected each port once"));
        }
        ports.push((number, policy));
    }
    ports.sort_by_key(|(number, _)| *number);
    Some(ports)
}

fn outlier(value: &Value<'_>) -> Option<OutlierDetection> {
    let fields = value.fields()?;
    let count = |name| fields.optional(name).and_then(|v| v.unsigned());
    let percent = |name| {
        let percent = fields.optional(name).and_then(|v| v.integer(0, 100));
        percent.and_then(|p| u32::try_from(p).ok()).filter(|p| *p > 0)
    };
    let duration = |name| fields.optional(name).and_then(|v| v.duration());
    let outlier = OutlierDetection {
        consecutive_5xx: count("consecutive5xxErrors"),
        consecutive_gateway_errors: count("consecutiveGatewayErrors"),
        split_external_local_origin_errors: fields
            .optional("splitExternalLocalOriginErrors")
            .and_then(|v| v.boolean())
            .unwrap_or(false),
        consecutive_local_origin_failures: count("consecutiveLocalOriginFailures"),
        interval: duration("interval"),
        base_ejection_time: duration("baseEjectionTime"),
        max_ejection_percent: percent("maxEjectionPercent"),
        min_health_percent: percent("minHealthPercent"),
        http_error_codes: fields
            .optional("outlierDetectionHttpErrorCodes")
            .and_then(|v| statuses(&v))
            .unwrap_or_default(),
    };
    let counts_local = outlier.consecutive_local_origin_failures.is_some_and(|count| count > 0);
    if counts_local && !outlier.split_external_local_origin_errors {
        let message = "found consecutiveLocalOriginFailures without splitExternalLocalOriginErrors: true, \
                       which it needs";
        fields.error::<()>(message.to_owned());
    }
    if let Some(old) = fields.optional("consecutiveErrors")
        && old.integer(i64::from(i32::MIN), i64::from(i32::MAX)).is_some_and(|count| count != 0)
    {
        let message = "found a deprecated field, expected consecutiveGatewayErrors or consecutive5xxErrors";
        old.warn(
            Code::InvalidValue,
            message.to_owned(),
            "as in Istio it has no effect; the rest of the object applies",
        );
    }
    fields.finish();
    Some(outlier)
}

/// Sorted, each once.
fn statuses(value: &Value<'_>) -> Option<Vec<u16>> {
    let statuses: Vec<Option<i64>> = value.items()?.iter().map(|item| item.integer(100, 599)).collect();
    let mut statuses: Vec<u16> =
        statuses.into_iter().flatten().filter_map(|status| u16::try_from(status).ok()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}

/// Settings that a destination and a port may have.
const SETTINGS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];
/// Settings that only a destination may have.
const DESTINATION_SETTINGS: [&str; 4] = ["portLevelSettings", "tunnel", "proxyProtocol", "retryBudget"];
