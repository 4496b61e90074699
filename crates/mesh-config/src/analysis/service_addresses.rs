//! TCP services without an address: nothing tells their traffic apart.

use super::codes::ADDRESSES_REQUIRED;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::SERVICE_ENTRY;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let metadata = mesh.config(&["defaultConfig", "proxyMetadata"]);
    let is_on = |name: &str| metadata.get(name).text() == "true" || metadata.get(name).is_true();
    let allocated = is_on("ISTIO_META_DNS_CAPTURE")
        && (is_on("ISTIO_META_DNS_AUTO_ALLOCATE") || is_on("PILOT_ENABLE_IP_AUTOALLOCATE"));
    if allocated {
        return;
    }
    for entry in mesh.all(SERVICE_ENTRY) {
        let has_address =
            !entry.at(&["spec", "addresses"]).is_empty() || !entry.at(&["status", "addresses"]).is_empty();
        for port in entry.spec().get("ports").items().into_iter().filter(|_| !has_address) {
            let protocol = port.get("protocol").text();
            if protocol.is_empty() || protocol.eq_ignore_ascii_case("TCP") {
                let message = "ServiceEntry addresses are required for a port of TCP or of no protocol".to_owned();
                findings.push_at(&ADDRESSES_REQUIRED, entry, &port, message);
            }
        }
    }
}
