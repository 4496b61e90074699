//! Which of Istio's metrics are made, and with which tags.
//!
//! They are made by the filter `istio.stats`, which only proxies get that say
//! they have it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::Name;
use mesh_model::rules::MeshConfig;
use mesh_model::rules::provider::ProviderKind;
use mesh_model::rules::telemetry::{Role, STANDARD_METRICS, Telemetry};

use mesh_proto::google::protobuf::value::Kind;
use mesh_proto::google::protobuf::{Struct, Value};

use super::{prometheus_name, provider};
use crate::xds;

/// Changes to the standard metrics, by Prometheus name; a metric that is not
/// here is as Istio documents it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Metrics {
    pub(crate) changes: BTreeMap<Name, Change>,
}

/// How a metric differs from the documented one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) disabled: bool,
    /// Expression of each changed tag; `None`: removed.
    pub(crate) tags: BTreeMap<Name, Option<Name>>,
}

impl Metrics {
    /// The configuration of `istio.stats`, in Istio's form: only what differs
    /// from the documented metrics, whose names stand there without `istio_`.
    pub(crate) fn config(&self) -> Struct {
        let metric = |(name, change): (&Name, &Change)| {
            let text = |n: &Name| xds::text(n);
            let set = change.tags.iter().filter_map(|(tag, value)| Some((&**tag, text(value.as_ref()?))));
            let removed = change.tags.iter().filter(|(_, value)| value.is_none()).map(|(tag, _)| text(tag));
            xds::object([
                ("name", xds::text(name.strip_prefix("istio_").unwrap_or(name))),
                ("drop", Value { kind: Some(Kind::BoolValue(change.disabled)) }),
                ("dimensions", xds::object(set)),
                ("tags_to_remove", xds::list(removed)),
            ])
        };
        Struct { fields: [("metrics".to_owned(), xds::list(self.changes.iter().map(metric)))].into_iter().collect() }
    }
}

/// What Prometheus is given; `None` if it is no provider, or everything is
/// switched off.
pub(super) fn of(rules: &[&Telemetry], mesh: &MeshConfig, role: Role) -> Option<Metrics> {
    let is_prometheus = |name: &Name| provider(mesh, name).is_some_and(|p| p.kind == ProviderKind::Prometheus);
    let entries = || rules.iter().flat_map(|r| &r.metrics);
    let last = entries().map(|m| &m.providers).rfind(|p| !p.is_empty());
    let in_scope: BTreeSet<&Name> = last.unwrap_or(&mesh.default_providers.metrics).iter().collect();
    if !in_scope.iter().any(|name| is_prometheus(name)) {
        return None;
    }
    let mut metrics = Metrics::default();
    let mut all_disabled = false;
    let mut parents = &mesh.default_providers.metrics;
    for entry in entries() {
        if !entry.providers.is_empty() {
            parents = &entry.providers;
        }
        if !parents.iter().any(|name| in_scope.contains(name) && is_prometheus(name)) {
            continue;
        }
        for change in entry.overrides.iter().filter(|o| o.role.holds_for(role)) {
            if change.metric.is_none() && change.disabled == Some(true) {
                all_disabled = true;
                continue;
            }
            // Switched off for the mesh, and on again further down.
            all_disabled = false;
            let names: Vec<Name> = match &change.metric {
                Some(metric) => vec![prometheus_name(metric)],
                None => STANDARD_METRICS.iter().map(|(_, name)| Name::from(*name)).collect(),
            };
            for name in names {
                let row = metrics.changes.entry(name).or_default();
                row.disabled = change.disabled.unwrap_or(row.disabled);
                row.tags.extend(change.tags.iter().map(|(tag, value)| (tag.clone(), value.clone())));
            }
        }
    }
    (!all_disabled).then_some(metrics)
}
