//! Which workloads and objects a policy is about, and who sees a rule.

use std::collections::HashSet;

use super::{Report, text};
use crate::schema::At;

/// `selector` with `matchLabels`.
pub(super) fn workload(selector: &At<'_>, report: &Report<'_>) {
    labels(selector, "matchLabels", report);
}

/// `workloadSelector` with `labels`.
pub(super) fn older(selector: &At<'_>, report: &Report<'_>) {
    labels(selector, "labels", report);
}

fn labels(selector: &At<'_>, field: &str, report: &Report<'_>) {
    if !selector.exists() {
        return;
    }
    let labels = selector.get(field);
    for (key, value) in labels.entries() {
        if key.is_empty() {
            report.error(&value, "found an empty key, expected a label's name: the key must not be empty");
        }
        if key.contains('*') {
            report.error(
                &value,
                format!("found key {key:?}, expected a label's name: a wildcard is not supported in a selector's key"),
            );
        }
        if value.text().contains('*') {
            report.invalid(&value, "a label's value: a wildcard is not supported in a selector's value");
        }
    }
    if labels.is_empty() {
        report.warn(selector, "found a selector without labels, which selects every workload in reach");
    }
}

/// `selector`, `targetRef` and `targetRefs` of a policy.
pub(super) fn policy(spec: &At<'_>, report: &Report<'_>) {
    let (selector, one, many) = (spec.get("selector"), spec.get("targetRef"), spec.get("targetRefs"));
    let set: Vec<&str> = [("selector", &selector), ("targetRef", &one), ("targetRefs", &many)]
        .into_iter()
        .filter(|(_, at)| at.exists())
        .map(|(name, _)| name)
        .collect();
    if set.len() > 1 {
        let message = format!("found {}, expected only one of targetRefs or selector", set.join(" and "));
        report.error(spec, message);
    }
    workload(&selector, report);
    if one.exists() {
        target(&one, report);
    }
    many.items().iter().for_each(|at| target(at, report));
}

fn target(at: &At<'_>, report: &Report<'_>) {
    if !at.get("namespace").text().is_empty() {
        report.invalid(&at.get("namespace"), "no namespace: a target in another namespace is not supported");
    }
    let (group, kind) = (at.get("group").text(), at.get("kind").text());
    let known = [
        ("", "Service"),
        ("core", "Service"),
        ("networking.istio.io", "ServiceEntry"),
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
    ];
    if !known.contains(&(group, kind)) {
        let message = format!(
            "found a target of kind {kind} in group {group:?}, expected a Service, a ServiceEntry \
             (networking.istio.io), or a Gateway or GatewayClass (gateway.networking.k8s.io)"
        );
        report.error(at, message);
    }
}

/// What `exportTo` may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exports {
    /// Namespaces, `.` and `*`.
    Rule,
    /// Also `~`.
    Service,
    /// Its own namespace only: a DestinationRule with a selector.
    Local,
}

pub(super) fn exports(at: &At<'_>, exports: Exports, report: &Report<'_>) {
    let items = at.items();
    let mut seen = HashSet::new();
    for item in &items {
        let namespace = if item.text() == "." { report.namespace } else { item.text() };
        let allowed = match namespace {
            "*" => true,
            "~" => exports == Exports::Service,
            name => text::is_dns_label(name),
        };
        if !allowed {
            report.invalid(item, "., * or a namespace's name");
        } else if !seen.insert(namespace) {
            report.error(item, format!("found {} a second time, expected each namespace once", item.text()));
        }
    }
    for everyone in ["*", "~"] {
        if seen.contains(everyone) && items.len() > 1 {
            report.error(at, format!("found {everyone} beside others, expected it alone"));
        }
    }
    if exports == Exports::Local && seen.iter().any(|namespace| *namespace != report.namespace) {
        report.error(at, "found another namespace, expected only . in exportTo of a rule with a workloadSelector");
    }
}
