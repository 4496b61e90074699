//! What a DestinationRule says that a kind of client is not told of.

use mesh_model::rules::DestinationRule;
use mesh_model::rules::destination_rule::{
    Algorithm, ConnectionPool, HashAlgorithm, HashKey, LoadBalancer, PortPolicy, TlsMode, TrafficPolicy,
};
use mesh_model::{Code, Diagnostic, Severity};

use crate::proxy::Generator;

/// Every setting of `rule` that is accepted and not applied for clients of the
/// kind `generator`.
pub(super) fn not_applied(rule: &DestinationRule, generator: Generator) -> Vec<Diagnostic> {
    let mut reports = Reports { rule, grpc: generator == Generator::Grpc, found: Vec::new() };
    reports.policy("spec.trafficPolicy", &rule.policy);
    for (index, subset) in rule.subsets.iter().enumerate() {
        reports.policy(&format!("spec.subsets[{index}].trafficPolicy"), &subset.policy);
    }
    reports.found
}

struct Reports<'a> {
    rule: &'a DestinationRule,
    grpc: bool,
    found: Vec<Diagnostic>,
}

impl Reports<'_> {
    fn policy(&mut self, field: &str, policy: &TrafficPolicy) {
        self.settings(field, &policy.destination);
        for (port, settings) in &policy.ports {
            self.settings(&format!("{field}.portLevelSettings[{port}]"), settings);
        }
        let told = [
            ("tunnel", policy.tunnel.is_some() && self.grpc, "connections go to the destination itself"),
            ("proxyProtocol", policy.proxy_protocol.is_some(), "connections begin without the header"),
        ];
        for (name, said, consequence) in told {
            if said {
                self.push(format!("{field}.{name}"), consequence);
            }
        }
        if self.grpc && policy.retry_budget.is_some() {
            self.push(format!("{field}.retryBudget"), "retries are limited by the client's own throttling");
        }
    }

    fn settings(&mut self, field: &str, settings: &PortPolicy) {
        if settings.tls.as_ref().is_some_and(|tls| tls.mode != TlsMode::Disable) {
            self.push(format!("{field}.tls"), "connections are plaintext");
        }
        if let Some(balancer) = &settings.load_balancer {
            self.balancer(&format!("{field}.loadBalancer"), balancer);
        }
        if self.grpc {
            if settings.outlier_detection.is_some() {
                let consequence =
                    "failures in a row are not counted; a client leaves out endpoints that it cannot connect to";
                self.push(format!("{field}.outlierDetection"), consequence);
            }
            if settings.connection_pool.as_ref().is_some_and(says_more_than_requests) {
                let consequence = "of the connection pool, http2MaxRequests alone is applied";
                self.push(format!("{field}.connectionPool"), consequence);
            }
        }
    }

    fn balancer(&mut self, field: &str, balancer: &LoadBalancer) {
        if balancer.zone_aware.as_ref().is_some_and(|zones| zones.enabled) {
            let consequence = "requests go to all zones of the client's region alike, to other regions if those fail";
            self.push(format!("{field}.zoneAwareLbSetting"), consequence);
        }
        if !self.grpc {
            return;
        }
        match &balancer.algorithm {
            Algorithm::RoundRobin => {}
            Algorithm::LeastRequest | Algorithm::Random | Algorithm::Passthrough => {
                self.push(field.to_owned(), "ROUND_ROBIN is used");
            }
            Algorithm::ConsistentHash(hash) => {
                if matches!(hash.algorithm, HashAlgorithm::Maglev(_)) {
                    self.push(format!("{field}.consistentHash.maglev"), "a ring is used");
                }
                if matches!(hash.key, Some(HashKey::Cookie(_) | HashKey::SourceIp | HashKey::Query(_))) {
                    self.push(format!("{field}.consistentHash"), "requests are spread over the ring at random");
                }
            }
        }
        if balancer.warmup.is_some() {
            self.push(format!("{field}.warmup"), "new endpoints get their full share at once");
        }
    }

    fn push(&mut self, field: String, consequence: &str) {
        let whose = if self.grpc { "gRPC clients without a proxy: " } else { "" };
        self.found.push(Diagnostic {
            severity: Severity::Warning,
            code: Code::NotApplied,
            object: Some(self.rule.meta.object.clone()),
            location: self.rule.meta.location.clone(),
            field,
            message: "accepted, not yet applied".to_owned(),
            consequence: format!("{whose}{consequence}, and the rest of the object applies"),
        });
    }
}

/// gRPC's libraries read nothing of a connection pool but the bound of requests.
fn says_more_than_requests(pool: &ConnectionPool) -> bool {
    *pool != ConnectionPool { http2_max_requests: pool.http2_max_requests, ..Default::default() }
}
