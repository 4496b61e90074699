//! HTTPRoute, GRPCRoute, TLSRoute and TCPRoute.

use mesh_model::rules::gateway_api::Route;
use mesh_model::rules::gateway_api::route::{Backend, ParentRef, RouteRule};
use mesh_model::rules::virtual_service::Retries;
use mesh_model::{Hostname, Kind};

use super::gateway::hostname;
use super::{Scope, filters, items, matches, reference, text};
use crate::reader::{Fields, Value};

/// A Service by default.
const SERVICE: (&str, &str) = ("", "Service");
/// Weights of one backend at most.
const WEIGHT_MAX: i64 = 1_000_000;
/// Rules of one route. The CRD allows 16; more are served, within bounds.
const RULES_MAX: usize = 1024;

pub(super) fn read(kind: Kind, spec: &Fields<'_>, scope: &Scope<'_>) -> Route {
    let parents = items(spec, "parentRefs").iter().filter_map(parent).collect();
    let hostnames: Vec<Hostname> = match kind {
        Kind::TcpRoute => Vec::new(),
        _ => items(spec, "hostnames").iter().filter_map(hostname).collect(),
    };
    let listed = items(spec, "rules");
    if let Some(extra) = listed.get(RULES_MAX) {
        extra.error::<()>(format!("found {} rules, expected at most {RULES_MAX}", listed.len()));
    }
    let rules = listed.iter().take(RULES_MAX).filter_map(|item| rule(kind, item)).collect();
    spec.not_applied(&["useDefaultGateways"]);
    Route { meta: scope.meta.clone(), parents, hostnames, rules }
}

fn parent(value: &Value<'_>) -> Option<ParentRef> {
    let fields = value.fields()?;
    let name = fields.required("name", "a name").and_then(|v| v.filled_text("a name"));
    let port = fields.optional("port").map(|v| v.port());
    let parent = |name| ParentRef {
        group: text(&fields, "group"),
        kind: text(&fields, "kind"),
        namespace: text(&fields, "namespace"),
        name,
        section: text(&fields, "sectionName").filter(|s| !s.is_empty()),
        port: port.flatten(),
    };
    let parent = name.map(parent);
    fields.ignore(&["group", "kind", "namespace", "sectionName"]);
    fields.finish();
    // A port that cannot be read must not become every port.
    parent.filter(|_| port != Some(None))
}

fn rule(kind: Kind, value: &Value<'_>) -> Option<RouteRule> {
    let fields = value.fields()?;
    let mut rule = RouteRule { name: text(&fields, "name"), ..RouteRule::default() };
    if matches!(kind, Kind::HttpRoute | Kind::GrpcRoute) {
        let one = if kind == Kind::HttpRoute { matches::http } else { matches::grpc };
        rule.matches = items(&fields, "matches").iter().filter_map(one).collect();
        rule.filters = filters::read(kind, &fields);
        fields.not_applied(&["sessionPersistence"]);
    }
    if kind == Kind::HttpRoute {
        if let Some(timeouts) = fields.optional("timeouts").and_then(|v| v.fields()) {
            rule.timeout = timeouts.optional("request").and_then(|v| v.duration_or_zero());
            rule.backend_timeout = timeouts.optional("backendRequest").and_then(|v| v.duration_or_zero());
            timeouts.finish();
        }
        rule.retries = fields.optional("retry").and_then(|v| retries(&v));
    }
    rule.backends = items(&fields, "backendRefs").iter().filter_map(|item| backend(kind, item)).collect();
    fields.finish();
    Some(rule)
}

/// A destination: a reference with port, weight and filters.
pub(super) fn backend(kind: Kind, value: &Value<'_>) -> Option<Backend> {
    let fields = value.fields()?;
    let reference = reference(&fields, SERVICE, true);
    let port = fields.optional("port").map(|v| v.port());
    let weight = fields.optional("weight").map_or(Some(1), |v| v.integer(0, WEIGHT_MAX)?.try_into().ok());
    let filters = match kind {
        Kind::HttpRoute | Kind::GrpcRoute => filters::read(kind, &fields),
        _ => Vec::new(),
    };
    fields.finish();
    Some(Backend { reference: reference?, port: port.flatten(), weight: weight?, filters })
}

/// Retries of one attempt at most; more are taken for a mistake.
const ATTEMPTS_MAX: i64 = 1000;
/// What is retried besides the listed codes: failures to connect and the like.
///
/// Source: `convertHTTPRoute`, istio `pilot/pkg/config/kube/gateway/conversion.go`.
const RETRY_ON: [&str; 4] = ["connect-failure", "refused-stream", "unavailable", "cancelled"];
/// Attempts where nothing is said.
const ATTEMPTS: u32 = 2;

fn retries(value: &Value<'_>) -> Option<Retries> {
    let fields = value.fields()?;
    let codes = items(&fields, "codes");
    let codes: Vec<u32> = codes.iter().filter_map(|v| v.integer(100, 599)?.try_into().ok()).collect();
    let attempts = fields.optional("attempts").map_or(Some(ATTEMPTS), |v| v.integer(0, ATTEMPTS_MAX)?.try_into().ok());
    let backoff = fields.optional("backoff").and_then(|v| v.duration());
    fields.finish();
    let attempts = attempts?;
    Some(Retries {
        attempts,
        per_try_timeout: None,
        retry_on: if attempts == 0 { Vec::new() } else { RETRY_ON.map(Into::into).to_vec() },
        retriable_status_codes: if attempts == 0 { Vec::new() } else { codes },
        backoff,
        ignore_previous_hosts: true,
    })
}
