//! Traffic policies: load balancing and outlier detection, for a destination or
//! for single ports.

use mesh_model::rules::destination_rule::{LoadBalancer, OutlierDetection, PortPolicy, TrafficPolicy};

use super::pool;
use crate::reader::{Fields, Value};

/// Fields that are accepted and not yet applied, of a destination; `tls` is
/// another.
const NOT_APPLIED: [&str; 3] = ["tunnel", "proxyProtocol", "retryBudget"];
/// The same, of a load balancer: policies, in whose place LEAST_REQUEST is used.
const BALANCERS_NOT_APPLIED: [&str; 2] = ["consistentHash", "backendUtilization"];
/// The same, of a load balancer: what refines a policy.
const BALANCER_NOT_APPLIED: [&str; 4] = ["localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"];
/// The same, of outlier detection.
const OUTLIER_NOT_APPLIED: [&str; 2] = ["consecutiveErrors", "outlierDetectionHttpErrorCodes"];

pub(super) fn read(value: &Value<'_>) -> Option<TrafficPolicy> {
    let fields = value.fields()?;
    let destination = settings(&fields);
    let ports = fields.optional("portLevelSettings").map_or(Some(Vec::new()), |v| ports(&v));
    tls(&fields);
    fields.not_applied(&NOT_APPLIED);
    fields.finish();
    Some(TrafficPolicy { destination, ports: ports? })
}

fn settings(fields: &Fields<'_>) -> PortPolicy {
    PortPolicy {
        load_balancer: fields.optional("loadBalancer").and_then(|v| balancer(&v)),
        connection_pool: fields.optional("connectionPool").and_then(|v| pool::read(&v)),
        outlier_detection: fields.optional("outlierDetection").and_then(|v| outlier(&v)),
    }
}

/// Connections are plaintext, so only a policy that wants another thing has
/// something to be told.
fn tls(fields: &Fields<'_>) -> Option<()> {
    let settings = fields.optional("tls")?.fields()?;
    let modes = [("DISABLE", false), ("SIMPLE", true), ("MUTUAL", true), ("ISTIO_MUTUAL", true)];
    if settings.optional("mode").and_then(|v| v.one_of(&modes)) == Some(true) {
        let consequence = "connections are plaintext and the rest of the object applies";
        fields.not_applied_but(&["tls"], consequence);
    }
    Some(())
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
        tls(&fields);
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

fn balancer(value: &Value<'_>) -> Option<LoadBalancer> {
    let fields = value.fields()?;
    let simple = fields.optional("simple").map(|v| {
        v.one_of(&[
            ("LEAST_REQUEST", LoadBalancer::LeastRequest),
            ("ROUND_ROBIN", LoadBalancer::RoundRobin),
            ("RANDOM", LoadBalancer::Random),
            ("PASSTHROUGH", LoadBalancer::Passthrough),
            ("LEAST_CONN", LoadBalancer::LeastRequest),
            ("UNSPECIFIED", LoadBalancer::LeastRequest),
        ])
    });
    let choices = ["simple", "consistentHash", "backendUtilization"];
    let found: Vec<&str> = choices.into_iter().filter(|name| fields.has(name)).collect();
    if found.len() > 1 {
        fields.error::<()>(format!("found {} together, expected only one of them", found.join(" and ")));
    }
    // What is not applied is checked where a mistake in it is plain, so that it
    // does not wait to be found on the day that it is applied.
    if let Some(warmup) = fields.optional("warmup").and_then(|v| v.fields()) {
        warmup.required("duration", "a duration").and_then(|v| v.duration());
        for (name, max) in [("minimumPercent", 100.0), ("aggression", f64::INFINITY)] {
            warmup.optional(name).and_then(|v| v.number(0.0, max));
        }
        warmup.finish();
    }
    fields.not_applied_but(&BALANCERS_NOT_APPLIED, "LEAST_REQUEST is used and the rest of the object applies");
    fields.not_applied(&BALANCER_NOT_APPLIED);
    fields.finish();
    simple.unwrap_or(Some(LoadBalancer::LeastRequest))
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
    };
    let counts_local = outlier.consecutive_local_origin_failures.is_some_and(|count| count > 0);
    if counts_local && !outlier.split_external_local_origin_errors {
        let message = "found consecutiveLocalOriginFailures without splitExternalLocalOriginErrors: true, \
                       which it needs";
        fields.error::<()>(message.to_owned());
    }
    fields.not_applied(&OUTLIER_NOT_APPLIED);
    fields.finish();
    Some(outlier)
}
