//! One certificate in several Gateways: clients that reuse an HTTP/2 connection
//! ask the wrong one.

use super::codes::DUPLICATE_CERTIFICATE;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::GATEWAY;
use super::selector;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for gateway in mesh.all(GATEWAY) {
        let own = selector::labels(&gateway.spec().get("selector"));
        for other in mesh.all(GATEWAY).iter().filter(|other| other.full_name() != gateway.full_name()) {
            let theirs = selector::labels(&other.spec().get("selector"));
            if !own.selects(&theirs) {
                continue;
            }
            let servers = other.spec().get("servers").items();
            for at in gateway.spec().get("servers").items() {
                if servers.iter().any(|server| same(&at.get("tls"), &server.get("tls"))) {
                    let message = format!(
                        "Gateways {} and {} show one certificate: clients that reuse an HTTP/2 connection may get 404",
                        gateway.full_name(),
                        other.full_name()
                    );
                    findings.push_at(&DUPLICATE_CERTIFICATE, gateway, &gateway.at(&["metadata", "name"]), message);
                }
            }
        }
    }
}

fn same(a: &At<'_>, b: &At<'_>) -> bool {
    let text = |at: &At<'_>, name: &str| at.get(name).text().to_owned();
    let equal = |name: &str| !text(a, name).is_empty() && text(a, name) == text(b, name);
    match (text(a, "credentialName").is_empty(), text(b, "credentialName").is_empty()) {
        (false, false) => equal("credentialName"),
        (true, true) => equal("serverCertificate") && equal("privateKey"),
        _ => false,
    }
}
