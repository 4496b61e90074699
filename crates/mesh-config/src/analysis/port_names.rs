//! Names of Services' ports that say no protocol.

use super::codes::{EXTERNAL_NAME_PORT, PORT_NAME};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::SERVICE;
use crate::schema::At;
use crate::schema::rules::text::protocol;

/// Who manages a Service that belongs to a Gateway.
const MANAGED: [&str; 3] = ["istio.io-gateway-controller", "istio.io-mesh-controller", "istio.io-eastwest-controller"];
/// SMTP, DNS, MySQL and MongoDB: the server speaks first, so nothing is guessed.
const WELL_KNOWN: [i64; 4] = [25, 53, 3306, 27017];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for service in mesh.all(SERVICE).iter().filter(|service| !service.is_control_plane()) {
        if service.labels.get("gateway.istio.io/managed").is_some_and(|by| MANAGED.contains(&by)) {
            continue;
        }
        let external = service.spec().get("type").text() == "ExternalName";
        for port in service.spec().get("ports").items() {
            let name = port.get("name");
            if says_protocol(&port) && !(external && name.text() == "tcp") {
                continue;
            }
            let number = port.get("port").int().unwrap_or(0);
            if external {
                let message = format!(
                    "The name {:?} of port {number} of an ExternalName service says no protocol: its traffic may not be forwarded",
                    name.text()
                );
                findings.push_at(&EXTERNAL_NAME_PORT, service, &port, message);
            } else {
                let target = port.get("targetPort");
                let target = target.int().map_or_else(|| target.text().to_owned(), |target| target.to_string());
                let message = format!(
                    "Port name {:?} (port {number}, target port {target:?}) says no protocol, such as http or http-admin",
                    name.text()
                );
                findings.push_at(&PORT_NAME, service, &port, message);
            }
        }
    }
}

/// Source: `ConvertProtocol`, istio `pkg/config/kube`.
fn says_protocol(port: &At<'_>) -> bool {
    if port.get("protocol").text() == "UDP" {
        return true;
    }
    let application = port.get("appProtocol");
    let name = if application.exists() { application.text() } else { port.get("name").text() };
    if application.exists() && matches!(name, "kubernetes.io/h2c" | "kubernetes.io/ws" | "kubernetes.io/wss") {
        return true;
    }
    let is_grpc_web = name.get(..8).is_some_and(|front| front.eq_ignore_ascii_case("grpc-web"));
    let known = protocol(name.split('-').next().unwrap_or_default()).is_some();
    is_grpc_web || known || WELL_KNOWN.contains(&port.get("port").int().unwrap_or(0))
}
