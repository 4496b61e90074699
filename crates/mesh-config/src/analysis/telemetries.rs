//! Telemetry without provider, of no Pod, or twice for one.

use std::collections::{BTreeMap, HashSet};

use super::codes::{DEPRECATED, NOT_FOUND, TELEMETRIES_WITHOUT_SELECTOR, TELEMETRY_CONFLICT, TELEMETRY_PROVIDER};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{POD, TELEMETRY};
use super::sidecars::names;
use super::{Shared, selector};

/// Access logs that no provider takes.
pub(super) fn providers(mesh: &Mesh, findings: &mut Findings) {
    if !mesh.config(&["defaultProviders", "accessLogging"]).is_empty() {
        return;
    }
    for telemetry in mesh.all(TELEMETRY) {
        for logging in telemetry.spec().get("accessLogging").items() {
            if !logging.get("disabled").is_true() && logging.get("providers").is_empty() {
                let message = format!(
                    "The access logging of Telemetry {} has no providers and there is no default one, so it is ignored",
                    telemetry.full_name()
                );
                findings.push_at(&TELEMETRY_PROVIDER, telemetry, &logging, message);
            }
        }
    }
}

/// Selectors that select no Pod, and Pods that several select.
pub(super) fn selectors(mesh: &Mesh, findings: &mut Findings) {
    let mut of_pods: BTreeMap<String, (&Shared, Vec<&Shared>)> = BTreeMap::new();
    for telemetry in mesh.all(TELEMETRY) {
        let at = telemetry.at(&["spec", "selector", "matchLabels"]);
        let wanted = selector::labels(&at);
        if wanted.is_empty() {
            continue;
        }
        let mut found = false;
        for pod in mesh.all(POD).iter().filter(|p| p.namespace == telemetry.namespace && wanted.selects(&p.labels)) {
            found = true;
            of_pods.entry(pod.full_name()).or_insert((pod, Vec::new())).1.push(telemetry);
        }
        if !found {
            let message = format!("Referenced selector not found: {:?}", selector::text(&wanted));
            findings.push_at(&NOT_FOUND, telemetry, &selector::first(&at), message);
        }
    }
    for (pod, telemetries) in of_pods.values().filter(|(_, telemetries)| telemetries.len() > 1) {
        for telemetry in telemetries {
            let message = format!(
                "The Telemetries {} of namespace {:?} select the same Pod {:?}; only one is used",
                names(telemetries),
                pod.namespace,
                pod.name
            );
            findings.push_at(&TELEMETRY_CONFLICT, telemetry, &telemetry.at(&["metadata", "name"]), message);
        }
    }
}

/// Namespaces with several Telemetries for all of their workloads.
pub(super) fn defaults(mesh: &Mesh, findings: &mut Findings) {
    let mut of_namespaces: BTreeMap<&str, Vec<&Shared>> = BTreeMap::new();
    for telemetry in mesh.all(TELEMETRY).iter().filter(|telemetry| !telemetry.spec().get("selector").exists()) {
        of_namespaces.entry(&telemetry.namespace).or_default().push(telemetry);
    }
    for (namespace, telemetries) in of_namespaces.iter().filter(|(_, telemetries)| telemetries.len() > 1) {
        for telemetry in telemetries {
            let message = format!(
                "The Telemetries {} of namespace {namespace:?} have no selector; only one is used",
                names(telemetries)
            );
            findings.push_at(&TELEMETRIES_WITHOUT_SELECTOR, telemetry, &telemetry.at(&["metadata", "name"]), message);
        }
    }
}

/// A provider of tracing that is given up.
pub(super) fn lightstep(mesh: &Mesh, findings: &mut Findings) {
    let providers = mesh.config(&["extensionProviders"]).items();
    let given_up = providers.iter().filter(|provider| provider.get("lightstep").exists());
    let names: HashSet<&str> = given_up.map(|provider| provider.get("name").text()).collect();
    for telemetry in mesh.all(TELEMETRY) {
        let tracing = telemetry.spec().get("tracing").items();
        for at in
            tracing.iter().flat_map(|tracing| tracing.get("providers").items()).map(|provider| provider.get("name"))
        {
            if names.contains(at.text()) {
                let message =
                    format!("Deprecated: the provider {} is of Lightstep; use one of OpenTelemetry", at.text());
                findings.push_at(&DEPRECATED, telemetry, &at, message);
            }
        }
    }
}
