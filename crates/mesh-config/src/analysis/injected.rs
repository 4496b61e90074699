//! Whether workloads are in the mesh.
//!
//! Source: istio `pkg/config/analysis/analyzers/util/in_mesh.go`.

use mesh_model::Labels;

use super::mesh::Mesh;
use super::object::{NAMESPACE, Object};
use crate::schema::At;

/// The label and annotation that ask for a sidecar, or refuse it.
pub(super) const INJECT: &str = "sidecar.istio.io/inject";
/// The label of a namespace.
pub(super) const INJECTION: &str = "istio-injection";
/// The label that names a revision.
pub(super) const REVISION: &str = "istio.io/rev";
/// The label that says which data plane a namespace has.
pub(super) const DATA_PLANE: &str = "istio.io/dataplane-mode";
/// The container that is the sidecar.
pub(super) const PROXY: &str = "istio-proxy";

/// Containers and init containers of a Pod's spec.
pub(super) fn containers<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    let mut all = spec.get("containers").items();
    all.extend(spec.get("initContainers").items());
    all
}

/// Whether the Pods of a Deployment are in the mesh.
pub(super) fn deployment(deployment: &Object, mesh: &Mesh) -> bool {
    let template = deployment.spec().get("template");
    let pairs = |name: &str| template.path(&["metadata", name]).pairs().into_iter().collect::<Labels>();
    let containers = template.path(&["spec", "containers"]).items();
    in_mesh(&containers, &pairs("labels"), &pairs("annotations"), &deployment.namespace, mesh)
}

/// Whether a Pod has a sidecar or will get one.
pub(super) fn pod(pod: &Object, mesh: &Mesh) -> bool {
    in_mesh(&containers(&pod.spec()), &pod.labels, &pod.annotations, &pod.namespace, mesh)
}

/// Whether a Pod is in the mesh without a sidecar.
pub(super) fn is_ambient(pod: &Object) -> bool {
    pod.annotations.get("ambient.istio.io/redirection") == Some("enabled")
}

/// Whether the Pods of a namespace are in the mesh without sidecars.
pub(super) fn is_ambient_namespace(namespace: &Object) -> bool {
    let labels = &namespace.labels;
    labels.get(INJECTION) != Some("enabled")
        && labels.get(REVISION).is_none_or(str::is_empty)
        && labels.get(DATA_PLANE) == Some("ambient")
}

fn in_mesh(containers: &[At<'_>], labels: &Labels, annotations: &Labels, namespace: &str, mesh: &Mesh) -> bool {
    let is_proxy = |c: &At<'_>| c.get("name").text() == PROXY && !c.get("image").text().is_empty();
    if containers.iter().any(is_proxy) {
        return true;
    }
    match labels.get(INJECT).or_else(|| annotations.get(INJECT)) {
        Some(asked) => asked == "true",
        None => mesh.find(NAMESPACE, "", namespace).is_some_and(|ns| ns.labels.get(INJECTION) == Some("enabled")),
    }
}
