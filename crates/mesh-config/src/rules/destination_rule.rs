//! DestinationRule: a host, its subsets, and what holds for them.
//!
//! Source: `ValidateDestinationRule`, istio `pkg/config/validation`; the schema
//! of its CRD.

mod balancer;
pub(crate) mod locality;
mod policy;
mod pool;
pub(crate) mod upstream;

use std::sync::Arc;

use mesh_model::rules::destination_rule::{Subset, TrafficPolicy};
use mesh_model::rules::{DestinationRule, Spec};
use mesh_model::{Name, Visibility};

use super::{Scope, exports, selector};
use crate::reader::{Fields, Value};

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let host = spec.required("host", "a service's host name");
    let host = host.and_then(|v| v.resolved_host(scope.meta.namespace(), &scope.mesh.domain));
    let selector = selector::read(spec, "matchLabels");
    let export_to = export_to(spec, scope, selector.is_some());
    let policy = policy_of(spec);
    let subsets = spec.optional("subsets").map_or(Some(Vec::new()), |v| subsets(&v));
    spec.finish();
    Some(Spec::DestinationRule(Arc::new(DestinationRule {
        meta: scope.meta.clone(),
        host: host?,
        export_to,
        workload_selector: selector.unwrap_or_default(),
        policy,
        subsets: subsets?,
    })))
}

/// A rule with a selector is about workloads of its own namespace, and so is
/// not seen elsewhere.
fn export_to(spec: &Fields<'_>, scope: &Scope<'_>, selective: bool) -> Visibility {
    let own = scope.meta.namespace();
    let default = match selective {
        true => Visibility::Namespaces(vec![own.clone()]),
        false => scope.mesh.default_destination_rule_export_to.clone(),
    };
    let export_to = exports::read(spec, scope, &default);
    if selective
        && export_to != default
        && let Some(value) = spec.optional("exportTo")
    {
        value.invalid::<()>("the rule's own namespace alone, since it has a workloadSelector");
    }
    export_to
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
    let expected = "a subset's name of letters, digits and '-' inside, at most 63 long";
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
    let bytes = text.as_bytes();
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let inside = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    bytes.len() <= 63 && end(bytes.first()) && end(bytes.last()) && bytes.iter().all(inside)
}
