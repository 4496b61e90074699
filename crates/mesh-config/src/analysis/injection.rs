//! Whether namespaces say if their Pods get sidecars, and Pods have them.

use std::collections::HashSet;

use super::Shared;
use super::codes::{INJECTED_BY_DEFAULT, INJECTION_LABELS, NAMESPACE_NOT_INJECTED, POD_MISSING_PROXY};
use super::finding::Findings;
use super::injected::{self, DATA_PLANE, INJECT, INJECTION, PROXY, REVISION};
use super::mesh::Mesh;
use super::object::{CONFIG_MAP, NAMESPACE, POD};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut injected = HashSet::new();
    for namespace in mesh.all(NAMESPACE).iter().filter(|ns| ns.name != *mesh.system_namespace()) {
        if check_namespace(namespace, mesh, findings) {
            injected.insert(&*namespace.name);
        }
    }
    for pod in mesh.all(POD).iter().filter(|pod| injected.contains(&*pod.namespace)) {
        let asked = pod.labels.get(INJECT).or_else(|| pod.annotations.get(INJECT)).unwrap_or_default();
        let spec = pod.spec();
        let proxy = injected::containers(&spec).into_iter().find(|c| c.get("name").text() == PROXY);
        let has_proxy = proxy.is_some_and(|c| !c.get("image").text().is_empty());
        if !asked.eq_ignore_ascii_case("false") && !spec.get("hostNetwork").is_true() && !has_proxy {
            let message = format!("The Pod {} has no sidecar; one is added when it starts anew", pod.full_name());
            findings.push(&POD_MISSING_PROXY, pod, message);
        }
    }
}

/// Whether Pods of the namespace get sidecars by its label.
fn check_namespace(namespace: &Shared, mesh: &Mesh, findings: &mut Findings) -> bool {
    let labels = &namespace.labels;
    let injection = labels.get(INJECTION);
    let is_on = injection.is_none_or(|value| value == "enabled");
    let others = [REVISION, DATA_PLANE].into_iter().filter(|name| is_on && labels.get(name).is_some());
    let all: Vec<String> = injection
        .iter()
        .map(|value| format!("{INJECTION}={value}"))
        .chain(others.map(|name| format!("{name}={}", labels.get(name).unwrap_or_default())))
        .collect();
    let name = namespace.at(&["metadata", "name"]);
    if all.len() > 1 {
        let message = format!("The namespace has several labels for injection ({}), expected one", all.join(", "));
        findings.push_at(&INJECTION_LABELS, namespace, &name, message);
    }
    if labels.get(DATA_PLANE) == Some("ambient") {
        return false;
    }
    if injection.is_none_or(str::is_empty) && labels.get(REVISION).is_none() {
        if enabled_by_default(labels.get(REVISION).unwrap_or_default(), mesh) {
            let message = "The namespace gets sidecars without a label: enableNamespacesByDefault is on".to_owned();
            findings.push_at(&INJECTED_BY_DEFAULT, namespace, &name, message);
        } else {
            let message = format!(
                "The namespace gets no sidecars. Label it: kubectl label namespace {ns} {INJECTION}=enabled, or =disabled to say so",
                ns = namespace.name
            );
            findings.push_at(&NAMESPACE_NOT_INJECTED, namespace, &name, message);
        }
        return false;
    }
    injection == Some("enabled")
}

/// What the injector of a revision was installed with.
fn enabled_by_default(revision: &str, mesh: &Mesh) -> bool {
    let name = config_map(revision);
    let Some(map) = mesh.all(CONFIG_MAP).iter().find(|map| *map.name == *name) else { return false };
    let values = values(map);
    values["sidecarInjectorWebhook"]["enableNamespacesByDefault"].as_bool().unwrap_or(false)
}

/// The ConfigMap that the injector of `revision` reads.
pub(super) fn config_map(revision: &str) -> String {
    match revision {
        "" | "default" => "istio-sidecar-injector".to_owned(),
        revision => format!("istio-sidecar-injector-{revision}"),
    }
}

/// The values in an injector's ConfigMap.
pub(super) fn values(map: &Shared) -> serde_json::Value {
    serde_json::from_str(map.at(&["data", "values"]).text()).unwrap_or_default()
}
