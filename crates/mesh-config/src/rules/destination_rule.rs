//! DestinationRule: a host, its subsets, and what holds for them.
//!
//! Source: `ValidateDestinationRule`, istio `pkg/config/validation`; the schema
//! of its CRD.

mod policy;
mod pool;

use std::sync::Arc;

use mesh_model::Name;
use mesh_model::rules::destination_rule::{Subset, TrafficPolicy};
use mesh_model::rules::{DestinationRule, Spec};

use super::{Scope, exports, selector};
use crate::reader::{Fields, Value};

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let host = spec.required("host", "a service's host name");
    let host = host.and_then(|v| v.resolved_host(scope.meta.namespace(), &scope.mesh.domain));
    let export_to = exports::read(spec, scope, &scope.mesh.default_destination_rule_export_to);
    let workload_selector = selector::read(spec, "matchLabels").unwrap_or_default();
    let policy = policy_of(spec);
    let subsets = spec.optional("subsets").map_or(Some(Vec::new()), |v| subsets(&v));
    spec.finish();
    Some(Spec::DestinationRule(Arc::new(DestinationRule {
        meta: scope.meta.clone(),
        host: host?,
        export_to,
        workload_selector,
        policy,
        subsets: subsets?,
    })))
}

fn policy_of(fields: &Fields<'_>) -> TrafficPolicy {
    fields.optional("trafficPolicy").and_then(|v| policy::read(&v)).unwrap_or_default()
}

fn subsets(value: &Value<'_>) -> Option<Vec<Subset>> {
    let mut subsets: Vec<Subset> = Vec::new();
    for item in value.items()? {
        let Some(subset) = subset(&item) else { continue };
        if subsets.iter().any(|other| other.name == subset.name) {
            item.error::<()>(format!("subset {} stands twice, expected each name once", subset.name));
        }
        subsets.push(subset);
    }
    Some(subsets)
}

fn subset(value: &Value<'_>) -> Option<Subset> {
    let fields = value.fields()?;
    let expected = "a subset's name of letters, digits, '-', '_' and '.', at most 63 long";
    let name = fields.required("name", expected).and_then(|v| {
        let name: Name = v.text()?;
        if is_subset_name(&name) { Some(name) } else { v.invalid(expected) }
    });
    let labels = fields.optional("labels").map_or(Some(Default::default()), |v| v.labels());
    let policy = policy_of(&fields);
    fields.finish();
    Some(Subset { name: name?, labels: labels?, policy })
}

/// A subset's name stands between `|` in the names of clusters.
fn is_subset_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
