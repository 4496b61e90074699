//! Sidecars whose image is not the one that injection would give them now.

use std::collections::{BTreeMap, HashMap};

use super::codes::PROXY_IMAGE;
use super::finding::Findings;
use super::injected::{self, INJECTION, PROXY, REVISION};
use super::injection::{config_map, values};
use super::mesh::Mesh;
use super::object::{CONFIG_MAP, NAMESPACE, Object, POD, PROXY_CONFIG};
use super::selector;
use crate::schema::At;
use crate::yaml;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let injectors = mesh.all(CONFIG_MAP).iter().filter(|map| map.name.starts_with("istio-sidecar-injector"));
    let images: HashMap<&str, String> = injectors.map(|map| (&*map.name, image(&values(map)))).collect();
    if images.is_empty() {
        return;
    }
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in mesh.all(POD) {
        let Some(revision) = mesh.find(NAMESPACE, "", &pod.namespace).and_then(|ns| revision(ns)) else { continue };
        let Some(image) = images.get(&*config_map(revision)) else { continue };
        if pod.annotations.get("sidecar.istio.io/proxyImage").is_some_and(|image| !image.is_empty()) {
            continue;
        }
        let variant = format!("{image}-{}", variant(pod, mesh));
        let spec = pod.spec();
        let proxies = injected::containers(&spec).into_iter().filter(|c| c.get("name").text() == PROXY);
        let differs = |c: &At<'_>| c.get("image").text() != image && c.get("image").text() != variant;
        if proxies.into_iter().any(|c| differs(&c)) {
            others.entry(&pod.namespace).or_default().push(&pod.name);
        }
    }
    for (namespace, mut pods) in others {
        pods.sort_unstable();
        if let Some(namespace) = mesh.find(NAMESPACE, "", namespace) {
            let message = format!(
                "The sidecars of these Pods run another image than injection gives, as after an upgrade: {}; restart their workloads",
                pods.join(", ")
            );
            findings.push(&PROXY_IMAGE, namespace, message);
        }
    }
}

/// The revision that injects into a namespace's Pods.
fn revision(namespace: &Object) -> Option<&str> {
    match namespace.labels.get(REVISION) {
        Some(revision) => Some(revision),
        None => (namespace.labels.get(INJECTION) == Some("enabled")).then_some("default"),
    }
}

fn image(values: &serde_json::Value) -> String {
    let global = &values["global"];
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let image = text(&global["proxy"]["image"]);
    if image.contains('/') { image } else { format!("{}/{image}:{}", text(&global["hub"]), text(&global["tag"])) }
}

/// The image type that a Pod's ProxyConfig asks for: mesh, root namespace,
/// namespace, workload, annotation; the last one wins.
fn variant(pod: &Object, mesh: &Mesh) -> String {
    let root = mesh.root_namespace();
    let of = |object: &Object| object.at(&["spec", "image", "imageType"]).text().to_owned();
    let has_selector = |object: &Object| object.spec().get("selector").exists();
    let mut layers = vec![mesh.config(&["defaultConfig", "image", "imageType"]).text().to_owned()];
    let configs = mesh.all(PROXY_CONFIG);
    layers.extend(configs.iter().filter(|c| &*c.namespace == root).map(|c| of(c)));
    let own = || configs.iter().filter(|c| c.namespace == pod.namespace && &*c.namespace != root);
    layers.extend(own().filter(|c| !has_selector(c)).map(|c| of(c)));
    let selects = |c: &Object| selector::labels(&c.at(&["spec", "selector", "matchLabels"])).selects(&pod.labels);
    layers.extend(own().filter(|c| has_selector(c) && selects(c)).map(|c| of(c)));
    let annotation = pod.annotations.get("proxy.istio.io/config").unwrap_or_default();
    let document = yaml::parse(annotation.as_bytes()).into_iter().next().and_then(|document| document.root.ok());
    layers.extend(document.map(|root| At::root(&root).path(&["image", "imageType"]).text().to_owned()));
    layers.into_iter().rfind(|layer| !layer.is_empty()).filter(|layer| layer != "default").unwrap_or_default()
}
