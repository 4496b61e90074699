//! EnvoyFilter: which match and operation go with what is patched.
//!
//! Whether a patch's value is of the type that it names, the translation says,
//! which knows Envoy's types.

use super::{Report, selectors};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    let selector = spec.get("workloadSelector");
    selectors::older(&selector, report);
    if selector.exists() && spec.get("targetRefs").exists() {
        report.error(spec, "found workloadSelector and targetRefs, expected only one of them");
    }
    for patch in spec.get("configPatches").items() {
        let matched = patch.get("match");
        if (matched.get("context").text() == "WAYPOINT") != matched.get("waypoint").exists() {
            report.error(
                &matched,
                "found a waypoint match without context WAYPOINT or the reverse, expected both or none",
            );
        }
        if matched.get("context").text() != "WAYPOINT" {
            check_patch(&patch, report);
        }
    }
}

fn check_patch(at: &At<'_>, report: &Report<'_>) {
    let (apply_to, patch, matched) = (at.get("applyTo"), at.get("patch"), at.get("match"));
    let operation = patch.get("operation");
    if matches!(apply_to.text(), "" | "INVALID") {
        return report.missing(&apply_to, "what is patched, such as HTTP_FILTER or CLUSTER");
    }
    if !patch.exists() {
        return report.missing(&patch, "a patch");
    }
    if matches!(operation.text(), "" | "INVALID") {
        return report.missing(&operation, "an operation such as MERGE or INSERT_BEFORE");
    }
    if operation.text() != "REMOVE" && !patch.get("value").exists() {
        return report.missing(&patch.get("value"), &format!("a value: operation is {}", operation.text()));
    }
    proxy_version(&matched.path(&["proxy", "proxyVersion"]), report);
    object_match(apply_to.text(), &matched, report);
}

/// Characters of an expression for versions; longer ones are not looked at.
const PROXY_VERSION_CHARS_MAX: usize = 1024;

fn proxy_version(at: &At<'_>, report: &Report<'_>) {
    if at.text().len() > PROXY_VERSION_CHARS_MAX {
        report.warn(at, format!("found an expression of {} characters, which is ignored", at.text().len()));
    } else if !at.text().is_empty() {
        report.regex(at);
    }
}

/// What is matched is of the class that is patched.
fn object_match(apply_to: &str, matched: &At<'_>, report: &Report<'_>) {
    let wanted = match apply_to {
        "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER" => "listener",
        "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE" => "routeConfiguration",
        "CLUSTER" => "cluster",
        _ => return,
    };
    for other in ["listener", "routeConfiguration", "cluster"].into_iter().filter(|name| *name != wanted) {
        if matched.get(other).exists() {
            return report.error(
                &matched.get(other),
                format!("found a match of {other} with applyTo {apply_to}, expected one of {wanted}"),
            );
        }
    }
    filter_match(apply_to, &matched.path(&["listener", "filterChain", "filter"]), report);
}

fn filter_match(apply_to: &str, filter: &At<'_>, report: &Report<'_>) {
    if !filter.exists() || !matches!(apply_to, "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER") {
        return;
    }
    if matches!(apply_to, "LISTENER" | "FILTER_CHAIN") {
        report.warn(filter, format!("found a match of filters with applyTo {apply_to}, which has no effect"));
    }
    let (name, sub) = (filter.get("name"), filter.get("subFilter"));
    if name.text().is_empty() {
        return report.missing(&name, "the name of a filter");
    }
    if sub.exists() {
        if apply_to != "HTTP_FILTER" {
            report.error(&sub, format!("found subFilter with applyTo {apply_to}, expected it with HTTP_FILTER only"));
        } else if !HTTP_MANAGERS.contains(&name.text()) {
            report.invalid(&name, &format!("{}: it holds the HTTP filters", HTTP_MANAGERS[0]));
        } else if sub.get("name").text().is_empty() {
            report.missing(&sub.get("name"), "the name of an HTTP filter");
        }
    }
    for at in [&name, &sub.get("name")] {
        if let Some((_, now)) = OLD_NAMES.iter().find(|(old, _)| *old == at.text()) {
            report.warn(at, format!("found the older name {}, expected {now}", at.text()));
        }
    }
}

const HTTP_MANAGERS: [&str; 2] = ["envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"];

/// Names that Envoy's filters had, and have now.
///
/// Source: Envoy's version history of 1.14.
const OLD_NAMES: [(&str, &str); 13] = [
    ("envoy.http_connection_manager", "envoy.filters.network.http_connection_manager"),
    ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
    ("envoy.ratelimit", "envoy.filters.network.ratelimit"),
    ("envoy.mongo_proxy", "envoy.filters.network.mongo_proxy"),
    ("envoy.redis_proxy", "envoy.filters.network.redis_proxy"),
    ("envoy.buffer", "envoy.filters.http.buffer"),
    ("envoy.cors", "envoy.filters.http.cors"),
    ("envoy.csrf", "envoy.filters.http.csrf"),
    ("envoy.ext_authz", "envoy.filters.http.ext_authz"),
    ("envoy.fault", "envoy.filters.http.fault"),
    ("envoy.gzip", "envoy.filters.http.compressor"),
    ("envoy.lua", "envoy.filters.http.lua"),
    ("envoy.router", "envoy.filters.http.router"),
];
