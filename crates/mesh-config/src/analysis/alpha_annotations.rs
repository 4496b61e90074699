//! Annotations of alpha features.

use super::annotation::{self, AUTOMATIC};
use super::codes::ALPHA_ANNOTATION;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, NAMESPACE, POD, SERVICE};

/// Set by injection on every Pod, where a CNI plugin and not an init container
/// redirects traffic.
const BY_INJECTION: [&str; 4] = [
    "sidecar.istio.io/interceptionMode",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for object in [NAMESPACE, SERVICE, POD, DEPLOYMENT].iter().flat_map(|kind| mesh.all(*kind)) {
        let init = object.spec().get("initContainers").items();
        let by_injection = object.is(POD) && !init.iter().any(|c| c.get("name").text() == "istio-init");
        for (name, at) in object.at(&["metadata", "annotations"]).entries() {
            let alpha = annotation::find(name).is_some_and(annotation::Annotation::is_alpha);
            if alpha && !AUTOMATIC.contains(&name) && !(by_injection && BY_INJECTION.contains(&name)) {
                let message = format!("Annotation {name} belongs to an alpha feature, which may change");
                findings.push_at(&ALPHA_ANNOTATION, object, &at, message);
            }
        }
    }
}
