//! AuthorizationPolicy: what fits its action, and the values of its rules.

use super::{Report, selectors, text};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    let action = match spec.get("action").text() {
        "" => "ALLOW",
        action => action,
    };
    let (rules, provider) = (spec.get("rules"), spec.get("provider"));
    if matches!(action, "CUSTOM" | "DENY") && !rules.exists() {
        report.missing(
            &rules,
            &format!("rules: {action} without them concerns no request; {{}} is a rule for every request"),
        );
    }
    if action == "CUSTOM" && rules.exists() && provider.get("name").text().is_empty() {
        report.missing(&provider.get("name"), "the name of an extension provider");
    }
    if action != "CUSTOM" && provider.exists() {
        report.error(&provider, format!("found provider with action {action}, expected it with CUSTOM only"));
    }
    for rule in rules.items() {
        check_rule(&rule, action, report);
    }
}

fn check_rule(rule: &At<'_>, action: &str, report: &Report<'_>) {
    let (from, to) = (rule.get("from"), rule.get("to"));
    for list in [&from, &to] {
        if list.exists() && list.is_empty() {
            report.invalid(list, "at least one item");
        }
    }
    let (mut tcp_from, mut tcp_to) = (false, false);
    for item in from.items() {
        let source = item.get("source");
        if source.is_empty() {
            report.missing(&source, "a source with at least one field");
        }
        tcp_from |= TCP_SOURCES.iter().any(|name| source.get(name).exists());
        check_source(&source, action, report);
    }
    for item in to.items() {
        let operation = item.get("operation");
        if operation.is_empty() {
            report.missing(&operation, "an operation with at least one field");
        }
        tcp_to |= operation.get("ports").exists() || operation.get("notPorts").exists();
        check_operation(&operation, report);
    }
    for condition in rule.get("when").items() {
        check_condition(&condition, action, report);
    }
    let http_only = (!from.is_empty() && to.is_empty() && !tcp_from) || (!to.is_empty() && !tcp_to);
    if http_only && action == "DENY" {
        report.warn(
            rule,
            "found only HTTP conditions in a DENY rule, which denies all traffic of TCP ports; expected ports",
        );
    }
}

/// What a TCP connection shows of its source.
const TCP_SOURCES: [&str; 10] = [
    "principals",
    "notPrincipals",
    "ipBlocks",
    "notIpBlocks",
    "namespaces",
    "notNamespaces",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
];

/// What an external authorizer is asked without.
const NOT_CUSTOM: [&str; 10] = [
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
];

fn check_source(source: &At<'_>, action: &str, report: &Report<'_>) {
    let has = |names: &[&str]| names.iter().any(|name| source.get(name).exists());
    if has(&["serviceAccounts", "notServiceAccounts"])
        && has(&["principals", "notPrincipals", "namespaces", "notNamespaces"])
    {
        report.error(source, "found service accounts with namespaces or principals, expected only one of them");
    }
    for name in NOT_CUSTOM.into_iter().filter(|name| action == "CUSTOM" && !source.get(name).is_empty()) {
        report.error(
            &source.get(name),
            format!("found {name} with action CUSTOM, expected none: it is not supported there"),
        );
    }
    for (name, _) in source.entries() {
        for item in source.get(name).items() {
            match name {
                _ if item.text().is_empty() => report.invalid(&item, "a value that is not empty"),
                "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks" => ip(&item, report),
                "serviceAccounts" | "notServiceAccounts" => service_account(&item, report),
                "trustDomains" | "notTrustDomains" => trust_domain(&item, false, report),
                _ => {}
            }
        }
    }
}

fn ip(item: &At<'_>, report: &Report<'_>) {
    if !text::is_subnet(item.text()) {
        report.invalid(item, "an IP address or a range such as 10.0.0.0/8");
    }
}

fn service_account(item: &At<'_>, report: &Report<'_>) {
    let value = item.text();
    let right =
        !value.contains('*') && value.matches('/').count() <= 1 && value.split('/').all(|part| !part.is_empty());
    if !right {
        report.invalid(item, "a service account, or namespace/account, without wildcard");
    }
}

fn trust_domain(item: &At<'_>, may_have_slash: bool, report: &Report<'_>) {
    let value = item.text();
    let stars = value.matches('*').count();
    let star_is_right = stars == 0 || (stars == 1 && (value.starts_with('*') || value.ends_with('*')));
    if !star_is_right || (!may_have_slash && value.contains('/')) {
        report.invalid(item, "a trust domain, with at most one * at its start or end");
    }
}

fn check_operation(operation: &At<'_>, report: &Report<'_>) {
    for (name, _) in operation.entries() {
        for item in operation.get(name).items() {
            match name {
                _ if item.text().is_empty() => report.invalid(&item, "a value that is not empty"),
                "ports" | "notPorts" => port(&item, report),
                "paths" | "notPaths" => path(&item, report),
                _ => {}
            }
        }
    }
}

fn port(item: &At<'_>, report: &Report<'_>) {
    if item.text().parse::<u16>().is_err() || item.text().starts_with('+') {
        report.invalid(item, "a port from 0 to 65535, in quotes");
    }
}

/// A path with `{*}` for one segment and `{**}` for the rest, or a plain one.
fn path(item: &At<'_>, report: &Report<'_>) {
    let value = item.text();
    let has_template = value.contains("{*}") || value.contains("{**}");
    let mut ended = false;
    for segment in value.trim_matches('/').split('/') {
        let template = matches!(segment, "{*}" | "{**}");
        if template && !ended {
            ended = segment == "{**}";
            continue;
        }
        if template {
            return report.invalid(item, "a path in which {**} is the last template");
        }
        if segment.contains(['{', '}']) {
            return report.invalid(item, "a path whose only templates are {*} and {**}, each a whole segment");
        }
        let literal = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b);
        if has_template && (segment.is_empty() || !segment.bytes().all(literal)) {
            return report.invalid(item, "a path whose segments are templates or plain text without *");
        }
    }
}

fn check_condition(condition: &At<'_>, action: &str, report: &Report<'_>) {
    let key = condition.get("key");
    if key.text().is_empty() {
        return report.invalid(&key, "an attribute such as request.headers[x-a]");
    }
    let unsupported = ["source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"];
    if action == "CUSTOM" && (unsupported.contains(&key.text()) || key.text().starts_with("request.auth.")) {
        report.error(
            &key,
            format!("found {} with action CUSTOM, expected another attribute: it is not supported there", key.text()),
        );
    }
    let values: Vec<At<'_>> = ["values", "notValues"].iter().flat_map(|name| condition.get(name).items()).collect();
    if values.is_empty() {
        return report.missing(condition, "values, notValues, or both");
    }
    if let Some(expected) = attribute_problem(key.text()) {
        return report.invalid(&key, expected);
    }
    for item in &values {
        match key.text() {
            _ if item.text().is_empty() => report.invalid(item, "a value that is not empty"),
            "source.ip" | "remote.ip" | "destination.ip" => ip(item, report),
            "source.serviceAccount" => service_account(item, report),
            "source.trustDomain" => trust_domain(item, true, report),
            "destination.port" => port(item, report),
            _ => {}
        }
    }
}

/// What is expected instead of an attribute's name; `None` if it is right.
///
/// Source: Istio, "Authorization Policy Conditions".
fn attribute_problem(key: &str) -> Option<&'static str> {
    const PLAIN: [&str; 13] = [
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.serviceAccount",
        "source.principal",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
        "request.auth.claims",
    ];
    const KEYED: [&str; 3] = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];
    if KEYED.iter().any(|prefix| key.starts_with(prefix)) {
        let open = key.find('[').filter(|open| *open > 0);
        let right = key.ends_with(']') && open.is_some_and(|open| open + 2 < key.len());
        return (!right).then_some("an attribute with a name in brackets, such as request.headers[x-a]");
    }
    if PLAIN.contains(&key) {
        return None;
    }
    Some(match key {
        "destination.namespace" => "no such attribute: the policy's own namespace says it",
        _ if key.starts_with("destination.labels") => "no such attribute: the policy's selector says it",
        _ => "an attribute such as source.ip, request.headers[x-a], request.auth.principal or destination.port",
    })
}
