//! Ports of Gateways that no Service of their Pods has.

use std::collections::BTreeSet;

use super::codes::{GATEWAY_PORT, NOT_FOUND};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{GATEWAY, POD, SERVICE};
use super::{Shared, selector};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for gateway in mesh.all(GATEWAY) {
        let at = gateway.spec().get("selector");
        let wanted = selector::labels(&at);
        let pods: Vec<&Shared> = mesh.all(POD).iter().filter(|pod| wanted.selects(&pod.labels)).collect();
        if pods.is_empty() {
            let message = format!("Referenced selector not found: {:?}", selector::text(&wanted));
            findings.push_at(&NOT_FOUND, gateway, &selector::first(&at), message);
            continue;
        }
        let open = ports(&pods, mesh);
        for server in gateway.spec().get("servers").items() {
            let number = server.path(&["port", "number"]);
            if server.get("port").exists() && !open.contains(&number.int().unwrap_or(0)) {
                let message = format!(
                    "The gateway listens on port {}, which no Service of its Pods ({}) has",
                    number.int().unwrap_or(0),
                    selector::text(&wanted)
                );
                findings.push_at(&GATEWAY_PORT, gateway, &number, message);
            }
        }
    }
}

/// Ports and target ports of the Services that select one of `pods`.
fn ports(pods: &[&Shared], mesh: &Mesh) -> BTreeSet<i64> {
    let selects = |service: &&Shared| {
        let selector = selector::labels(&service.spec().get("selector"));
        pods.iter().any(|pod| pod.namespace == service.namespace && selector.selects(&pod.labels))
    };
    let services = mesh.all(SERVICE).iter().filter(selects);
    let ports = services.flat_map(|service| service.spec().get("ports").items());
    // Without a protocol the port is TCP, which Istio's own analysis overlooks
    // in files: it reads what an API server has filled in.
    let tcp = ports.filter(|port| matches!(port.get("protocol").text(), "" | "TCP"));
    tcp.flat_map(|port| [port.get("port").int(), port.get("targetPort").int()])
        .flatten()
        .filter(|port| *port != 0)
        .collect()
}
