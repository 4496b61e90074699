//! AuthorizationPolicies that no workload has, or that speak of a namespace
//! that is not there.

use std::collections::HashMap;

use super::codes::{NO_WORKLOADS, NOT_FOUND};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{AUTHORIZATION_POLICY, NAMESPACE, POD};
use super::{Shared, injected, selector};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut pods: HashMap<&str, Vec<&Shared>> = HashMap::new();
    for pod in mesh.all(POD) {
        if injected::pod(pod, mesh) || injected::is_ambient(pod) {
            pods.entry(&pod.namespace).or_default().push(pod);
        }
    }
    for policy in mesh.all(AUTHORIZATION_POLICY) {
        workloads(policy, mesh, &pods, findings);
        namespaces(policy, mesh, findings);
    }
}

fn workloads(policy: &Shared, mesh: &Mesh, pods: &HashMap<&str, Vec<&Shared>>, findings: &mut Findings) {
    let at = policy.spec().get("selector");
    let wanted = selector::labels(&at.get("matchLabels"));
    let in_namespace = || pods.get(&*policy.namespace).into_iter().flatten();
    let found = match (*policy.namespace == *mesh.root_namespace(), at.exists()) {
        (true, false) => true,
        (true, true) => pods.values().flatten().any(|pod| wanted.selects(&pod.labels)),
        (false, _) => in_namespace().any(|pod| wanted.selects(&pod.labels)),
    };
    if !found {
        let message = format!("No matching workloads for this policy with the labels: {}", selector::text(&wanted));
        findings.push_at(&NO_WORKLOADS, policy, &at, message);
    }
}

fn namespaces(policy: &Shared, mesh: &Mesh, findings: &mut Findings) {
    for from in policy.spec().get("rules").items().iter().flat_map(|rule| rule.get("from").items()) {
        let source = from.get("source");
        for at in ["namespaces", "notNamespaces"].iter().flat_map(|name| source.get(name).items()) {
            if !mesh.all(NAMESPACE).iter().any(|namespace| matches(&namespace.name, at.text())) {
                let message = format!("Referenced namespace not found: {:?}", at.text());
                findings.push_at(&NOT_FOUND, policy, &at, message);
            }
        }
    }
}

fn matches(namespace: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => namespace.ends_with(suffix),
        (None, Some(prefix)) => namespace.starts_with(prefix),
        (None, None) => namespace.eq_ignore_ascii_case(pattern),
    }
}
