//! Policies that select the Pods of a Kubernetes Gateway by labels: they must
//! name the Gateway.

use super::codes::INEFFECTIVE_SELECTOR;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{AUTHORIZATION_POLICY, POD, REQUEST_AUTHENTICATION, TELEMETRY, WASM_PLUGIN};
use super::selector;

/// Pods of a Kubernetes Gateway carry its name here.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let kinds = [AUTHORIZATION_POLICY, REQUEST_AUTHENTICATION, TELEMETRY, WASM_PLUGIN];
    for policy in kinds.iter().flat_map(|kind| mesh.all(*kind)) {
        let spec = policy.spec();
        let at = spec.get("selector");
        if spec.get("targetRef").exists() || !at.exists() {
            continue;
        }
        let wanted = selector::labels(&at.get("matchLabels"));
        let pods = mesh.all(POD).iter().filter(|pod| pod.namespace == policy.namespace && wanted.selects(&pod.labels));
        for gateway in pods.filter_map(|pod| pod.labels.get(GATEWAY_NAME)) {
            let message =
                format!("The selector has no effect on the Kubernetes Gateway {gateway}; write targetRefs instead");
            findings.push_at(&INEFFECTIVE_SELECTOR, policy, &at, message);
        }
    }
}
