//! Routing by claims at gateways that check no tokens.

use super::codes::CLAIMS_WITHOUT_AUTHENTICATION;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{GATEWAY, POD, REQUEST_AUTHENTICATION, VIRTUAL_SERVICE};
use super::virtual_service_gateways::full_name;
use super::{Shared, selector};
use crate::schema::At;
use crate::schema::rules::text::is_jwt_claim;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for rule in mesh.all(VIRTUAL_SERVICE) {
        let Some((key, at)) = claim(rule) else { continue };
        for name in rule.spec().get("gateways").texts().into_iter().filter(|name| *name != "mesh") {
            let (namespace, name) = full_name(&rule.namespace, name);
            let Some(gateway) = mesh.find(GATEWAY, namespace, name) else { continue };
            let wanted = selector::labels(&gateway.spec().get("selector"));
            let pods = mesh.all(POD).iter().filter(|pod| wanted.selects(&pod.labels));
            for pod in pods.filter(|pod| !is_checked(pod, mesh)) {
                let message = format!(
                    "Routes by the claim {key}, but no RequestAuthentication selects Pod {} of gateway {}",
                    pod.name,
                    gateway.full_name()
                );
                findings.push_at(&CLAIMS_WITHOUT_AUTHENTICATION, rule, &at, message);
            }
        }
    }
}

fn claim(rule: &Shared) -> Option<(&str, At<'_>)> {
    let matches = rule.spec().get("http").items().into_iter().flat_map(|http| http.get("match").items());
    let headers = matches.flat_map(|m| ["headers", "withoutHeaders"].map(|name| m.get(name).entries())).flatten();
    headers.into_iter().find(|(name, _)| is_jwt_claim(name))
}

fn is_checked(pod: &Shared, mesh: &Mesh) -> bool {
    mesh.all(REQUEST_AUTHENTICATION).iter().any(|authentication| {
        let in_reach =
            authentication.namespace == pod.namespace || authentication.namespace == *mesh.system_namespace();
        in_reach && selector::labels(&authentication.at(&["spec", "selector", "matchLabels"])).selects(&pod.labels)
    })
}
