//! ReferenceGrant, BackendTLSPolicy and XBackendTrafficPolicy.

use std::time::Duration;

use mesh_model::Name;
use mesh_model::rules::destination_rule::RetryBudget;
use mesh_model::rules::gateway_api::policy::PolicyTarget;
use mesh_model::rules::gateway_api::{BackendTlsPolicy, BackendTrafficPolicy, ReferenceGrant};

use super::{NOTHING, Scope, group_kind, items, reference, text};
use crate::reader::{Fields, Value};

pub(super) fn read_grant(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<ReferenceGrant> {
    let mut grant = ReferenceGrant { meta: scope.meta.clone(), from: Vec::new(), to: Vec::new() };
    for item in items(spec, "from") {
        let Some(fields) = item.fields() else { continue };
        let target = group_kind(&fields, NOTHING);
        let namespace = fields.required("namespace", "a namespace").and_then(|v| v.filled_text("a namespace"));
        fields.finish();
        grant.from.extend(namespace.map(|namespace| (target, namespace)));
    }
    for item in items(spec, "to") {
        let Some(fields) = item.fields() else { continue };
        let target = group_kind(&fields, NOTHING);
        // A name that cannot be read must not grant everything.
        let name = match fields.optional("name") {
            Some(value) => value.text().map(Some),
            None => Some(None),
        };
        fields.finish();
        grant.to.extend(name.map(|name| (target, name.filter(|n| !n.is_empty()))));
    }
    Some(grant)
}

pub(super) fn read_tls(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<BackendTlsPolicy> {
    let targets = targets(spec);
    let validation = spec.required("validation", "a map with hostname")?.fields()?;
    let hostname = validation.required("hostname", "a host name").and_then(|v| v.filled_text("a host name"));
    let authorities = items(&validation, "caCertificateRefs");
    let authorities = authorities.iter().filter_map(|item| {
        let fields = item.fields()?;
        let reference = reference(&fields, NOTHING, false);
        fields.finish();
        reference
    });
    let authorities = authorities.collect();
    let names = items(&validation, "subjectAltNames").iter().filter_map(subject_alt_name).collect();
    let well_known_authorities = text(&validation, "wellKnownCACertificates").filter(|t| !t.is_empty());
    validation.finish();
    spec.not_applied(&["options"]);
    Some(BackendTlsPolicy {
        meta: scope.meta.clone(),
        targets,
        hostname: hostname?,
        subject_alt_names: names,
        authorities,
        well_known_authorities,
    })
}

fn subject_alt_name(value: &Value<'_>) -> Option<Name> {
    let fields = value.fields()?;
    let kind = fields.required("type", "Hostname or URI")?.one_of(&[("Hostname", "hostname"), ("URI", "uri")])?;
    let (hostname, uri) = (text(&fields, "hostname"), text(&fields, "uri"));
    fields.finish();
    if kind == "uri" { uri } else { hostname }
}

pub(super) fn read_traffic(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<BackendTrafficPolicy> {
    let targets = targets(spec);
    let mut unsupported = Vec::new();
    if let Some(persistence) = spec.optional("sessionPersistence") {
        persistence.not_applied();
        unsupported.push("sessionPersistence".into());
    }
    let retry_budget = spec.optional("retryConstraint").and_then(|v| retry_budget(&v));
    Some(BackendTrafficPolicy { meta: scope.meta.clone(), targets, retry_budget, unsupported })
}

/// What holds where nothing is said.
const BUDGET_INTERVAL: Duration = Duration::from_secs(10);
const MIN_RETRIES: u32 = 10;

fn retry_budget(value: &Value<'_>) -> Option<RetryBudget> {
    let fields = value.fields()?;
    let mut budget =
        RetryBudget { percent: None, min_retry_concurrency: Some(MIN_RETRIES), budget_interval: Some(BUDGET_INTERVAL) };
    if let Some(shares) = fields.optional("budget").and_then(|v| v.fields()) {
        budget.percent = shares.optional("percent").and_then(|v| v.number(0.0, 100.0));
        if let Some(interval) = shares.optional("interval").and_then(|v| v.duration()) {
            budget.budget_interval = Some(interval);
        }
        shares.finish();
    }
    if let Some(rate) = fields.optional("minRetryRate").and_then(|v| v.fields()) {
        if let Some(count) = rate.optional("count").and_then(|v| v.count()) {
            budget.min_retry_concurrency = Some(count);
        }
        rate.ignore(&["interval"]);
        rate.finish();
    }
    fields.finish();
    Some(budget)
}

fn targets(spec: &Fields<'_>) -> Vec<PolicyTarget> {
    let target = |item: &Value<'_>| {
        let fields = item.fields()?;
        let reference = reference(&fields, NOTHING, false);
        let section = text(&fields, "sectionName").filter(|s| !s.is_empty());
        fields.finish();
        Some(PolicyTarget { reference: reference?, section })
    };
    items(spec, "targetRefs").iter().filter_map(target).collect()
}
