//! Sidecars of no Pod, and Pods and namespaces with several.

use std::collections::{BTreeMap, HashSet};

use super::codes::{INEFFECTIVE_POLICY, NOT_FOUND, SIDECAR_CONFLICT, SIDECARS_WITHOUT_SELECTOR};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{NAMESPACE, POD, SIDECAR};
use super::{Shared, injected, selector};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut of_pods: BTreeMap<String, (&Shared, Vec<&Shared>)> = BTreeMap::new();
    let mut of_namespaces: BTreeMap<&str, Vec<&Shared>> = BTreeMap::new();
    for sidecar in mesh.all(SIDECAR) {
        let at = sidecar.at(&["spec", "workloadSelector", "labels"]);
        let wanted = selector::labels(&at);
        if wanted.is_empty() {
            of_namespaces.entry(&sidecar.namespace).or_default().push(sidecar);
            continue;
        }
        let mut found = false;
        for pod in mesh.all(POD).iter().filter(|pod| pod.namespace == sidecar.namespace && wanted.selects(&pod.labels))
        {
            found = true;
            of_pods.entry(pod.full_name()).or_insert((pod, Vec::new())).1.push(sidecar);
        }
        if !found {
            let message = format!("Referenced selector not found: {:?}", selector::text(&wanted));
            findings.push_at(&NOT_FOUND, sidecar, &selector::first(&at), message);
        }
    }
    let mut told = HashSet::new();
    for (pod, sidecars) in of_pods.values() {
        of_pod(pod, sidecars, &mut told, findings);
    }
    for (namespace, sidecars) in of_namespaces {
        if mesh.find(NAMESPACE, "", namespace).is_some_and(|ns| injected::is_ambient_namespace(ns)) {
            for sidecar in sidecars.into_iter().filter(|sidecar| told.insert(sidecar.full_name())) {
                let message = "The namespace is in ambient mode, where no Sidecar has an effect".to_owned();
                findings.push(&INEFFECTIVE_POLICY, sidecar, message);
            }
        } else if sidecars.len() > 1 {
            let names = names(&sidecars);
            for sidecar in sidecars {
                let message = format!(
                    "The Sidecars {names} of namespace {namespace:?} have no workload selector; only one is used"
                );
                findings.push_at(&SIDECARS_WITHOUT_SELECTOR, sidecar, &sidecar.at(&["metadata", "name"]), message);
            }
        }
    }
}

fn of_pod(pod: &Shared, sidecars: &[&Shared], told: &mut HashSet<String>, findings: &mut Findings) {
    let ambient = injected::is_ambient(pod);
    for sidecar in sidecars {
        if ambient {
            if told.insert(sidecar.full_name()) {
                let message = "The selected workload is in ambient mode, where no Sidecar has an effect".to_owned();
                findings.push(&INEFFECTIVE_POLICY, sidecar, message);
            }
        } else if sidecars.len() > 1 {
            let message = format!(
                "The Sidecars {} of namespace {:?} select the same Pod {:?}; only one is used",
                names(sidecars),
                pod.namespace,
                pod.name
            );
            findings.push_at(&SIDECAR_CONFLICT, sidecar, &sidecar.at(&["metadata", "name"]), message);
        }
    }
}

/// Names of objects, sorted.
pub(super) fn names(objects: &[&Shared]) -> String {
    let mut names: Vec<&str> = objects.iter().map(|object| &*object.name).collect();
    names.sort_unstable();
    names.join(", ")
}
