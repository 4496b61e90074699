//! What is wrong: `diagnosticsz` and `push_status`; and what became of rules:
//! `rule_status`.

use std::sync::Arc;

use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::resource::ResourceSet;
use serde_json::{Map, Value, json};

use super::{Connected, Query, Reply, View, server};
use crate::objects;
use crate::rule_status::{self, Member, RuleStatus};

pub(super) fn diagnosticsz(view: &View, query: &Query) -> Reply {
    if query.get("format") == Some("text") {
        let line = |d: &Diagnostic| format!("{} [{}] {d}\n", d.severity, d.code.as_str());
        return Reply::Text(view.diagnostics.iter().map(line).collect());
    }
    Reply::Json(view.diagnostics.iter().map(diagnostic).collect())
}

/// `{metric: {proxy or host: {"proxy"?, "message"}}}`
pub(super) fn push_status(view: &View, _: &Query) -> Reply {
    let mut status: Map<String, Value> = Map::new();
    let mut add = |metric: &str, key: String, message: String| {
        status.entry(metric).or_insert_with(|| json!({}))[key] = json!({ "message": message });
    };
    for host in server::without_instances(view) {
        add("pilot_eds_no_instances", host.to_owned(), "the service has no endpoint".to_owned());
    }
    for (host, count) in server::unready(view) {
        add("pilot_endpoint_not_ready", host.to_owned(), format!("{count} endpoints are not ready"));
    }
    for diagnostic in view.diagnostics.iter() {
        let key = match &diagnostic.object {
            Some(object) => objects::key(object),
            None => diagnostic.location.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        let metric = match (diagnostic.code, diagnostic.severity) {
            (Code::Refused, _) => "pilot_total_xds_rejects",
            (Code::Conflict, _) | (_, Severity::Error) => "pilot_total_rejected_configs",
            (Code::MissingReference, _) => "pilot_missing_reference",
            _ => continue,
        };
        add(metric, key, diagnostic.to_string());
    }
    Reply::Json(Value::Object(status))
}

/// `[RuleStatus]`, sorted by object.
pub(super) fn rule_status(view: &View, query: &Query) -> Reply {
    let resources = |connected: &'_ Connected| -> Vec<(String, Arc<ResourceSet>)> {
        let snapshot = connected.snapshot.iter().flat_map(|s| s.iter());
        snapshot.map(|(type_url, set)| (type_url.to_string(), set.clone())).collect()
    };
    let held: Vec<_> = view.connected.iter().map(|c| (c, resources(c))).collect();
    let members: Vec<Member<'_>> = held
        .iter()
        .map(|(connected, resources)| Member {
            proxy: &connected.proxy.node_id,
            resources: resources.iter().map(|(type_url, set)| (type_url.as_str(), set)).collect(),
            watches: connected.types.iter().map(|(status, _)| status).collect(),
        })
        .collect();
    let all = rule_status::of(&view.mesh, &view.diagnostics, Some(&members));
    let wanted = query.get("object");
    let shown = all.iter().filter(|s| wanted.is_none_or(|w| objects::key(&s.object) == w));
    Reply::Json(shown.map(RuleStatus::to_json).collect())
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": diagnostic.severity.to_string(),
        "code": diagnostic.code.as_str(),
        "kind": diagnostic.object.as_ref().map(|o| o.kind.as_str()),
        "namespace": diagnostic.object.as_ref().map(|o| &*o.namespace),
        "name": diagnostic.object.as_ref().map(|o| &*o.name),
        "file": diagnostic.location.as_ref().map(|l| &*l.file),
        "line": diagnostic.location.as_ref().map(|l| l.line),
        "field": diagnostic.field,
        "message": diagnostic.message,
        "consequence": diagnostic.consequence,
    })
}
