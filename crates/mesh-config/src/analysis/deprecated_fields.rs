//! Kinds and fields that Istio has given up.

use super::codes::DEPRECATED;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{CUSTOM_RESOURCE, SIDECAR, VIRTUAL_SERVICE};

/// Kinds of the group `rbac.istio.io`.
const REMOVED: [&str; 4] = ["ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for rule in mesh.all(VIRTUAL_SERVICE) {
        for http in rule.spec().get("http").items() {
            let percent = http.path(&["fault", "delay", "percent"]);
            if percent.int().is_some_and(|percent| percent > 0) {
                let message = "Deprecated: fault.delay.percent; write fault.delay.percentage instead".to_owned();
                findings.push_at(&DEPRECATED, rule, &percent, message);
            }
        }
    }
    for sidecar in mesh.all(SIDECAR) {
        let proxy = sidecar.at(&["spec", "outboundTrafficPolicy", "egressProxy"]);
        if proxy.exists() {
            let message = "Deprecated: outboundTrafficPolicy.egressProxy; Istio ignores it".to_owned();
            findings.push_at(&DEPRECATED, sidecar, &proxy, message);
        }
    }
    for definition in mesh.all(CUSTOM_RESOURCE) {
        let (group, kind) = (definition.at(&["spec", "group"]), definition.at(&["spec", "names", "kind"]));
        if group.text() == "rbac.istio.io" && REMOVED.contains(&kind.text()) {
            let message = format!("Deprecated: the kind {} of rbac.istio.io is no more", kind.text());
            findings.push_at(&DEPRECATED, definition, &kind, message);
        }
    }
}
