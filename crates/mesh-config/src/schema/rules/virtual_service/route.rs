//! `http` of a VirtualService.

use super::super::{Report, headers, text};
use super::{destination, match_scope, weights};
use crate::schema::At;

/// One HTTP rule. `in_delegate`: it stands in a rule that others delegate to.
pub(super) fn http(rule: &At<'_>, in_delegate: bool, report: &Report<'_>) {
    action(rule, in_delegate, report);
    for matched in rule.get("match").items() {
        http_match(&matched, report);
    }
    headers::operations(&rule.get("headers"), report);
    authority_once(rule, report);
    cors(&rule.get("corsPolicy"), report);
    fault(&rule.get("fault"), report);
    mirrors(rule, report);
    redirect(rule, report);
    direct_response(&rule.get("directResponse"), report);
    retries(&rule.get("retries"), report);
    rewrite(&rule.get("rewrite"), report);
    for route in rule.get("route").items() {
        headers::operations(&route.get("headers"), report);
        destination(&route.get("destination"), report);
    }
    weights(&rule.get("route"), report);
}

/// Exactly one of route, redirect and direct response, and what fits it.
fn action(rule: &At<'_>, in_delegate: bool, report: &Report<'_>) {
    let has = |name: &str| rule.get(name).exists();
    let clash =
        |a: &str, b: &str| report.error(&rule.get(b), format!("found {b} beside {a}, expected only one of them"));
    if has("delegate") && !in_delegate {
        for other in ["redirect", "route"].into_iter().filter(|name| has(name)) {
            clash("delegate", other);
        }
        return;
    }
    if has("delegate") {
        report.error(&rule.get("delegate"), "found delegate in a delegate (the rule has no hosts), expected a route");
    }
    let main = ["redirect", "directResponse"].into_iter().find(|name| has(name));
    match main {
        Some(main) => {
            let others = ["fault", "rewrite", if main == "redirect" { "directResponse" } else { "redirect" }];
            others.into_iter().filter(|name| has(name)).for_each(|other| clash(main, other));
            if !rule.get("route").is_empty() {
                clash(main, "route");
            }
        }
        None if rule.get("route").is_empty() => {
            report.missing(rule, "one of route, redirect, directResponse and delegate");
        }
        None => {}
    }
    if has("mirror") && !rule.get("mirrors").is_empty() {
        clash("mirror", "mirrors");
    }
}

fn http_match(matched: &At<'_>, report: &Report<'_>) {
    for (name, at) in matched.get("headers").entries() {
        if !at.exists() {
            report.error(&at, "found null, expected a map with exact, prefix or regex");
        }
        headers::match_name(name, &at, report);
        string_match(&at, report);
    }
    for (name, at) in matched.get("withoutHeaders").entries() {
        headers::match_name(name, &at, report);
        // Any value: written so before there was an empty match.
        if at.get("regex").text() != "*" {
            string_match(&at, report);
        }
    }
    regex_of(&matched.get("uri"), report);
    for field in ["scheme", "method", "authority"] {
        string_match(&matched.get(field), report);
    }
    for (_, at) in matched.get("queryParams").entries() {
        string_match(&at, report);
    }
    match_scope(matched, report);
    let namespace = matched.get("sourceNamespace");
    if !namespace.text().is_empty() && !text::is_dns_label(namespace.text()) {
        report.invalid(&namespace, "a namespace's name");
    }
}

fn string_match(at: &At<'_>, report: &Report<'_>) {
    let prefix = at.get("prefix");
    if prefix.exists() && prefix.text().is_empty() {
        report.invalid(&prefix, "a prefix of at least one character");
    }
    regex_of(at, report);
}

fn regex_of(at: &At<'_>, report: &Report<'_>) {
    let regex = at.get("regex");
    if regex.exists() && regex.text().is_empty() {
        return report.invalid(&regex, "a regular expression");
    }
    report.regex(&regex);
}

/// The authority is set in one place only.
fn authority_once(rule: &At<'_>, report: &Report<'_>) {
    let request = rule.path(&["headers", "request"]);
    let rewritten = rule.path(&["rewrite", "authority"]);
    let named = ["set", "add"].iter().flat_map(|name| request.get(name).entries());
    let mut set: Vec<At<'_>> = named.filter(|(name, _)| headers::is_authority(name)).map(|(_, at)| at).collect();
    if !rewritten.text().is_empty() {
        set.insert(0, rewritten);
    }
    if let [first, second, ..] = set.as_slice() {
        report.error(
            second,
            format!("found the authority {:?} beside {}, expected it to be set once", second.text(), first.field()),
        );
    }
}

fn cors(policy: &At<'_>, report: &Report<'_>) {
    for origin in policy.get("allowOrigins").items() {
        if ["exact", "prefix", "regex"].iter().all(|name| origin.get(name).text().is_empty()) {
            report.invalid(&origin, "an origin: exact, prefix or regex, not empty");
        }
        report.regex(&origin.get("regex"));
    }
    for method in policy.get("allowMethods").items() {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];
        if !known.contains(&method.text()) {
            report.invalid(&method, "an HTTP method in capitals, or *");
        }
    }
    for name in ["allowHeaders", "exposeHeaders"] {
        policy.get(name).items().iter().for_each(|at| headers::cors_name(at, report));
    }
    let age = policy.get("maxAge");
    if crate::reader::parse_duration(age.text()).is_some_and(|age| age.subsec_nanos() > 0) {
        report.invalid(&age, "whole seconds");
    }
}

fn fault(fault: &At<'_>, report: &Report<'_>) {
    let (abort, delay) = (fault.get("abort"), fault.get("delay"));
    if fault.exists() && !abort.exists() && !delay.exists() {
        report.missing(fault, "abort, delay, or both");
    }
    for part in [&abort, &delay] {
        let value = part.path(&["percentage", "value"]);
        if value.number().is_some_and(|v| !(v == 0.0 || (0.0001..=100.0).contains(&v))) {
            report.invalid(&value, "0, or a percentage from 0.0001 to 100");
        }
    }
    if abort.exists() {
        let (http, grpc, http2) = (abort.get("httpStatus"), abort.get("grpcStatus"), abort.get("http2Error"));
        if http.int().is_some_and(|status| !(200..=600).contains(&status)) {
            report.invalid(&http, "an HTTP status from 200 to 599");
        }
        if grpc.exists() && !GRPC_STATUSES.contains(&grpc.text()) {
            report.invalid(&grpc, "a gRPC status in capitals, such as UNAVAILABLE");
        }
        if http2.exists() {
            report
                .error(&http2, "found http2Error, expected httpStatus or grpcStatus: HTTP/2 errors are not supported");
        }
        if !http.exists() && !grpc.exists() && !http2.exists() {
            report.warn(&abort, "found an abort without httpStatus and grpcStatus, which does nothing");
        }
    }
    if delay.get("exponentialDelay").exists() {
        report
            .error(&delay.get("exponentialDelay"), "found exponentialDelay, expected fixedDelay: it is not supported");
    }
}

/// Source: gRPC, "Status codes and their use in gRPC".
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn mirrors(rule: &At<'_>, report: &Report<'_>) {
    destination(&rule.get("mirror"), report);
    for name in ["mirrorPercent", "mirror_percent"] {
        if rule.get(name).int().is_some_and(|percent| percent > 100) {
            report.invalid(&rule.get(name), "a percentage of at most 100");
        }
    }
    percentage(&rule.get("mirrorPercentage"), report);
    for mirror in rule.get("mirrors").items() {
        destination(&mirror.get("destination"), report);
        percentage(&mirror.get("percentage"), report);
    }
}

fn percentage(at: &At<'_>, report: &Report<'_>) {
    let value = at.get("value");
    if value.number().is_some_and(|value| !(0.0..=100.0).contains(&value)) {
        report.invalid(&value, "a percentage from 0 to 100");
    }
}

fn redirect(rule: &At<'_>, report: &Report<'_>) {
    let redirect = rule.get("redirect");
    if !redirect.exists() {
        return;
    }
    let has = |name: &str| !redirect.get(name).text().is_empty();
    if has("uri") && has("prefixRewrite") {
        report.error(&redirect, "found uri and prefixRewrite, expected only one of them");
    }
    let is_prefix = |m: &At<'_>| !m.get("uri").exists() || m.path(&["uri", "prefix"]).exists();
    if has("prefixRewrite") && !rule.get("match").items().iter().all(is_prefix) {
        report.error(
            &redirect.get("prefixRewrite"),
            "found prefixRewrite with a match that is no prefix, expected prefix matches of the URI",
        );
    }
    let to_port = redirect.get("port").exists() || redirect.get("derivePort").exists();
    if !to_port && !["uri", "prefixRewrite", "authority", "scheme"].iter().any(|name| has(name)) {
        report.missing(&redirect, "one of uri, prefixRewrite, authority, scheme, port and derivePort");
    }
    let code = redirect.get("redirectCode");
    if code.int().is_some_and(|code| code != 0 && !(300..=399).contains(&code)) {
        report.invalid(&code, "a status from 300 to 399");
    }
    if has("scheme") && !matches!(redirect.get("scheme").text(), "http" | "https") {
        report.invalid(&redirect.get("scheme"), "http or https");
    }
    if redirect.get("port").int().is_some_and(|port| port > 0) {
        report.port(&redirect.get("port"));
    }
}

/// Bytes of a body that every proxy holds for every route; beyond it, and
/// beyond a tenth of it, the author is told.
const BODY_BYTES_MAX: usize = 1 << 20;

fn direct_response(response: &At<'_>, report: &Report<'_>) {
    let status = response.get("status");
    if response.exists() && !status.int().is_some_and(|status| (200..=600).contains(&status)) {
        report.invalid(&status, "an HTTP status from 200 to 599");
    }
    let body = response.get("body");
    let bytes = body.get("string").text().len().max(body.get("bytes").text().len() / 4 * 3);
    if bytes > BODY_BYTES_MAX {
        report.error(&body, format!("found a body of {bytes} bytes, expected at most {BODY_BYTES_MAX}"));
    } else if bytes > BODY_BYTES_MAX / 10 {
        report.warn(&body, format!("found a body of {bytes} bytes, which every proxy holds in memory"));
    }
}

fn retries(retries: &At<'_>, report: &Report<'_>) {
    let attempts = retries.get("attempts");
    if attempts.int().is_some_and(|attempts| attempts < 0) {
        report.invalid(&attempts, "0 or more");
    }
    let off = retries.exists() && attempts.int().unwrap_or(0) == 0;
    for name in ["perTryTimeout", "retryOn", "retryRemoteLocalities"] {
        let at = retries.get(name);
        if off && at.exists() && (name != "retryOn" || !at.text().is_empty()) {
            report.error(
                &at,
                format!("found {name} with 0 attempts, expected attempts of 1 or more: 0 switches retries off"),
            );
        }
    }
    let on = retries.get("retryOn");
    for condition in on.text().split(',').filter(|_| !on.text().is_empty()) {
        let is_status = condition.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status));
        if !is_status && !RETRY_ON.contains(&condition) {
            report.error(&on, format!("found {condition:?}, expected conditions of Envoy's retries such as 5xx, reset, connect-failure or 503"));
        }
    }
}

/// Source: Envoy's router filter, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

fn rewrite(rewrite: &At<'_>, report: &Report<'_>) {
    if !rewrite.exists() {
        return;
    }
    let regex = rewrite.get("uriRegexRewrite");
    let has = |name: &str| !rewrite.get(name).text().is_empty();
    if has("uri") && regex.exists() {
        report.error(rewrite, "found uri and uriRegexRewrite, expected only one of them");
    }
    if !has("uri") && !has("authority") && !regex.exists() {
        report.missing(rewrite, "one of uri, uriRegexRewrite and authority");
    }
    if regex.exists() {
        if regex.get("match").text().is_empty() || regex.get("rewrite").text().is_empty() {
            report.missing(&regex, "match and rewrite");
        }
        report.regex(&regex.get("match"));
    }
}
