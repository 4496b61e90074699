//! Containers whose image injection should fill in, where nothing injects.

use mesh_model::Labels;

use super::codes::{IMAGE_AUTO_ERROR, IMAGE_AUTO_WARNING};
use super::finding::Findings;
use super::injected::PROXY;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, MUTATING_WEBHOOK, NAMESPACE, POD};
use super::selector;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for pod in mesh.all(POD) {
        if let Some(at) = auto(&pod.spec()) {
            let message = format!("Pod {} was made with `image: auto`, which no webhook has replaced", pod.name);
            findings.push_at(&IMAGE_AUTO_ERROR, pod, &at, message);
        }
    }
    let webhooks: Vec<At<'_>> =
        mesh.all(MUTATING_WEBHOOK).iter().flat_map(|object| object.at(&["webhooks"]).items()).collect();
    for deployment in mesh.all(DEPLOYMENT) {
        let Some(at) = auto(&deployment.at(&["spec", "template", "spec"])) else { continue };
        let pods: Labels = deployment.at(&["spec", "template", "metadata", "labels"]).pairs().into_iter().collect();
        let name = if deployment.namespace.is_empty() { "default" } else { &deployment.namespace };
        let none = Labels::default();
        let namespace = mesh.find(NAMESPACE, "", name).map_or(&none, |namespace| &namespace.labels);
        let injects = |webhook: &At<'_>| {
            webhook.get("name").text().ends_with("istio.io")
                && selector::matches(&webhook.get("namespaceSelector"), namespace)
                && selector::matches(&webhook.get("objectSelector"), &pods)
        };
        if !webhooks.iter().any(injects) {
            let message =
                format!("Deployment {} has `image: auto`, and no injection webhook selects its Pods", deployment.name);
            findings.push_at(&IMAGE_AUTO_WARNING, deployment, &at, message);
        }
    }
}

/// The image of the sidecar that injection is to fill in.
fn auto<'a>(spec: &At<'a>) -> Option<At<'a>> {
    let containers = spec.get("containers").items();
    let sidecar = containers.iter().find(|c| c.get("name").text() == PROXY && c.get("image").text() == "auto");
    sidecar.map(|c| c.get("image"))
}
