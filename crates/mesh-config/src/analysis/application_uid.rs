//! The user that the sidecar runs as: what runs as it is not redirected.

use super::codes::RESERVED_UID;
use super::finding::Findings;
use super::injected::PROXY;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, POD};
use crate::schema::At;

/// Source: Istio, "Application Requirements".
const PROXY_UID: i64 = 1337;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for object in mesh.all(POD).iter().chain(mesh.all(DEPLOYMENT)).filter(|object| !object.is_control_plane()) {
        let spec = if object.is(POD) { object.spec() } else { object.at(&["spec", "template", "spec"]) };
        let own = |c: &At<'_>| !matches!(c.get("name").text(), PROXY | "istio-operator");
        let users = spec.get("containers").items().into_iter().filter(own).map(|c| user(&c));
        let users: Vec<At<'_>> = std::iter::once(user(&spec)).chain(users).collect();
        if let Some(at) = users.iter().find(|at| at.int() == Some(PROXY_UID)) {
            let message = format!("User ID {PROXY_UID} is the sidecar's own: traffic of it bypasses the proxy");
            findings.push_at(&RESERVED_UID, object, at, message);
        }
    }
}

fn user<'a>(at: &At<'a>) -> At<'a> {
    at.path(&["securityContext", "runAsUser"])
}
