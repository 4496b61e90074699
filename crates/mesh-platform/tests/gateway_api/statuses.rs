//! Istio's statuses beside ours: conditions by type, status and reason.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::document;
use mesh_model::{Kind, MeshSnapshot};
use serde_json::Value;

use super::preset::readable;

/// What differs between the statuses of `mesh` and those of `golden`.
pub(crate) fn compare(mesh: &MeshSnapshot, golden: &str) -> Vec<String> {
    let contents = document::read(&"status.yaml".into(), readable(golden).as_bytes());
    let mut problems: Vec<String> = contents.diagnostics.iter().map(ToString::to_string).collect();
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in &contents.objects {
        let status = object.root.to_json()["status"].clone();
        if is_in_scope(object.kind(), object.meta.name(), &status) {
            wanted.insert(object.meta.object.to_string(), facts(&status));
        }
    }
    let statuses = mesh.statuses.iter().filter(|(object, _)| is_in_scope(object.kind, &object.name, &Value::Null));
    let found: BTreeMap<String, BTreeSet<String>> =
        statuses.map(|(object, status)| (object.to_string(), facts(&status.to_json(object.kind)))).collect();
    for (object, facts) in &wanted {
        let none = BTreeSet::new();
        let found = found.get(object).unwrap_or(&none);
        problems.extend(facts.difference(found).map(|fact| format!("{object}: expected {fact}")));
        problems.extend(found.difference(facts).map(|fact| format!("{object}: found {fact}")));
    }
    for (object, facts) in found.iter().filter(|(object, _)| !wanted.contains_key(*object)) {
        problems.extend(facts.iter().map(|fact| format!("{object}: found {fact}")));
    }
    problems
}

/// InferencePools and waypoints are not in scope; what another controller says is
/// not ours.
fn is_in_scope(kind: Kind, name: &str, status: &Value) -> bool {
    let foreign = status["parents"].as_array().is_some_and(|parents| {
        !parents.is_empty()
            && parents.iter().all(|p| p["controllerName"].as_str() == Some("example.com/waypoint-controller"))
    });
    let pool = name.contains("infpool") || name.contains("inferencepool");
    let waypoint = kind == Kind::KubernetesGateway && name == "waypoint";
    !(foreign || pool || waypoint)
}

/// Each fact on a line of its own.
fn facts(status: &Value) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    conditions("", status, &mut facts);
    for (list, reference) in [("parents", "parentRef"), ("ancestors", "ancestorRef")] {
        for parent in items(status, list).filter(|p| p["controllerName"].as_str().unwrap().starts_with("istio.io/")) {
            let name = format!("{} {}: ", parent_name(&parent[reference]), parent["controllerName"].as_str().unwrap());
            conditions(&name, parent, &mut facts);
        }
    }
    for listener in items(status, "listeners") {
        let name = format!("listener {}: ", listener["name"].as_str().unwrap());
        conditions(&name, listener, &mut facts);
        facts.insert(format!("{name}{} routes", listener["attachedRoutes"]));
        for kind in items(listener, "supportedKinds") {
            facts.insert(format!("{name}takes {}", kind["kind"].as_str().unwrap()));
        }
    }
    if let Some(sets) = status["attachedListenerSets"].as_u64() {
        facts.insert(format!("{sets} listener sets"));
    }
    facts
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn parent_name(parent: &Value) -> String {
    let text = |name: &str, default: &str| parent[name].as_str().unwrap_or(default).to_owned();
    let group = text("group", "gateway.networking.k8s.io");
    let kind = text("kind", "Gateway");
    let place = [text("namespace", ""), text("name", ""), text("sectionName", "")].join("/");
    format!("{group}/{kind} {place} {}", parent["port"])
}

fn conditions(of: &str, value: &Value, facts: &mut BTreeSet<String>) {
    for condition in items(value, "conditions") {
        let text = |name: &str| condition[name].as_str().unwrap_or_default();
        // A word of the ambient mode.
        if text("type") != "ResolvedWaypoints" {
            facts.insert(format!("{of}{} {} {}", text("type"), text("status"), text("reason")));
        }
    }
}
