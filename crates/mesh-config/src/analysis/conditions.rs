//! Status conditions that say that something does not work.

use super::codes::NEGATIVE_CONDITION;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{
    AUTHORIZATION_POLICY, GRPC_ROUTE, HTTP_ROUTE, KUBERNETES_GATEWAY, KindName, SERVICE, SERVICE_ENTRY,
};
use crate::schema::At;

const BOUND: &[&str] = &["istio.io/WaypointBound"];
const ROUTED: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];

/// Which conditions of a kind must not be false.
const WATCHED: [(KindName, &[&str]); 6] = [
    (SERVICE, BOUND),
    (SERVICE_ENTRY, BOUND),
    (AUTHORIZATION_POLICY, &["ZtunnelAccepted", "WaypointAccepted"]),
    (KUBERNETES_GATEWAY, ROUTED),
    (HTTP_ROUTE, ROUTED),
    (GRPC_ROUTE, ROUTED),
];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for (kind, watched) in WATCHED {
        for object in mesh.all(kind) {
            let status = object.at(&["status"]);
            let mut conditions = status.get("conditions").items();
            if kind == HTTP_ROUTE || kind == GRPC_ROUTE {
                conditions =
                    status.get("parents").items().iter().flat_map(|parent| parent.get("conditions").items()).collect();
            }
            for condition in conditions.iter().filter(|condition| is_negative(kind, watched, condition)) {
                let text = |name: &str| condition.get(name).text();
                let message = format!(
                    "The status says that it does not work: type={}, reason={}, message={}",
                    text("type"),
                    text("reason"),
                    text("message")
                );
                findings.push_at(&NEGATIVE_CONDITION, object, condition, message);
            }
        }
    }
}

fn is_negative(kind: KindName, watched: &[&str], condition: &At<'_>) -> bool {
    let (of, status) = (condition.get("type"), condition.get("status"));
    let partly = kind == AUTHORIZATION_POLICY
        && of.text() == "WaypointAccepted"
        && condition.get("reason").text() == "PartiallyInvalid";
    partly || (watched.contains(&of.text()) && status.text() == "False")
}
