//! Istio's own documents: its validation cases, samples and CRDs, read in place
//! where they lie beside the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_config::document::{self, Object};
use mesh_config::reader::Fallback;
use mesh_config::rules::{self, workload_entry};
use mesh_config::yaml::{self, Node, Value};
use mesh_model::rules::MeshConfig;
use mesh_model::{Code, Diagnostic, Kind, Severity};

fn istio(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn findings(object: &Object) -> Vec<Diagnostic> {
    if object.kind() == Kind::WorkloadEntry {
        return workload_entry::parse(object, Fallback::Ignored).diagnostics;
    }
    rules::parse(object, &MeshConfig::default(), Fallback::Ignored).diagnostics
}

/// Documents of kinds that are applied, with whether Istio refuses them.
fn validation_cases(folder: &Path) -> Vec<(Object, bool)> {
    let applied = [Kind::VirtualService, Kind::DestinationRule, Kind::ServiceEntry, Kind::Sidecar, Kind::WorkloadEntry];
    let mut cases = Vec::new();
    for file in fs::read_dir(folder).expect("it is a folder").flatten() {
        let bytes = fs::read(file.path()).expect("it can be read");
        for document in yaml::parse(&bytes) {
            let root = document.root.expect("Istio's documents are YAML");
            let refused = root.get("_err").is_some();
            let Some(object) = document::of_node(without_err(root)) else { continue };
            if applied.contains(&object.kind()) {
                cases.push((object, refused));
            }
        }
    }
    cases
}

/// The document as JSON and back, without the expected message.
fn without_err(root: Node) -> Node {
    let mut json = root.to_json();
    json.as_object_mut().expect("documents are maps").remove("_err");
    yaml::parse(json.to_string().as_bytes()).remove(0).root.expect("JSON is YAML")
}

#[test]
fn what_istio_accepts_is_accepted_and_what_it_refuses_is_refused() {
    let Some(folder) = istio("validation") else { return };
    let cases = validation_cases(&folder);
    assert!(cases.len() > 30, "{}", cases.len());
    for (object, refused) in cases {
        let found = findings(&object);
        let failed = found.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(failed, refused, "{}: {found:#?}", object.meta.object);
    }
}

#[test]
fn every_field_of_istios_schemas_is_applied_or_said_to_be_not_applied() {
    let Some(crds) = istio("crds/crd-all.gen.yaml") else { return };
    let bytes = fs::read(crds).expect("it can be read");
    let mut checked = 0;
    for document in yaml::parse(&bytes) {
        let crd = document.root.expect("CRDs are YAML").to_json();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
        let applied = ["VirtualService", "DestinationRule", "ServiceEntry", "Sidecar", "WorkloadEntry"];
        if !applied.contains(&&*kind) {
            continue;
        }
        for version in crd["spec"]["versions"].as_array().expect("a CRD has versions") {
            let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            let api_version = format!("networking.istio.io/{}", version["name"].as_str().unwrap_or_default());
            for sample in samples(schema) {
                check_known(&api_version, &kind, sample);
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

fn check_known(api_version: &str, kind: &str, spec: serde_json::Value) {
    let json = serde_json::json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec,
    });
    let root = yaml::parse(json.to_string().as_bytes()).remove(0).root.expect("JSON is YAML");
    let object = document::of_node(root).expect("its kind and version are served");
    let unknown: Vec<String> =
        findings(&object).iter().filter(|d| d.code == Code::UnknownField).map(|d| d.to_string()).collect();
    assert!(unknown.is_empty(), "{kind} {}: {unknown:?}", json["spec"]);
}

/// For every leaf of a schema, the smallest document that holds it.
fn samples(schema: &serde_json::Value) -> Vec<serde_json::Value> {
    if let Some(properties) = schema["properties"].as_object() {
        let wrap = |(name, inner): (&String, &serde_json::Value)| {
            let name = name.clone();
            samples(inner).into_iter().map(move |value| serde_json::json!({ name.clone(): value })).collect::<Vec<_>>()
        };
        return properties.iter().flat_map(wrap).collect();
    }
    if schema["type"] == "array" {
        return samples(&schema["items"]).into_iter().map(|value| serde_json::json!([value])).collect();
    }
    if schema["additionalProperties"].is_object() {
        let inner = samples(&schema["additionalProperties"]);
        return inner.into_iter().map(|value| serde_json::json!({ "key": value })).collect();
    }
    vec![match schema["type"].as_str() {
        Some("integer" | "number") => serde_json::json!(1),
        Some("boolean") => serde_json::json!(true),
        _ => match schema["enum"][0].as_str() {
            Some(word) => serde_json::json!(word),
            None => serde_json::json!("x"),
        },
    }]
}

#[test]
fn no_document_of_istios_makes_the_reader_panic() {
    let Some(root) = istio("") else { return };
    let mut folders = vec![root];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "json") {
                let name: Arc<str> = path.to_string_lossy().into();
                let contents = document::read(&name, &fs::read(&path).expect("it can be read"));
                for object in &contents.objects {
                    findings(object);
                    assert!(matches!(object.root.value, Value::Map(_)));
                }
                files += 1;
            }
        }
    }
    assert!(files > 100, "{files}");
}
