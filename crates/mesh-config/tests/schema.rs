//! Istio's own validation documents and CRDs against our tables and rules, read
//! in place where they lie beside the project.

use std::fs;
use std::path::{Path, PathBuf};

use mesh_config::document::{self, Object};
use mesh_config::reader::Fallback;
use mesh_config::schema;
use mesh_config::yaml::{self, Node};
use mesh_model::Code;

fn istio(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn node(json: &serde_json::Value) -> Node {
    yaml::parse(json.to_string().as_bytes()).remove(0).root.expect("JSON is YAML")
}

/// Each document with the message that Istio refuses it with, if it does.
fn validation_cases(folder: &Path) -> Vec<(Object, Option<String>)> {
    let mut cases = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder).expect("it is a folder").flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        for document in yaml::parse(&fs::read(file).expect("it can be read")) {
            let mut json = document.root.expect("Istio's documents are YAML").to_json();
            // Some are refused for their name alone, which is not what they are about.
            let name = json["metadata"]["name"].as_str().unwrap_or_default().to_lowercase();
            json["metadata"]["name"] = name.into();
            let refused = json.as_object_mut().expect("documents are maps").remove("_err");
            let object = document::of_node(node(&json)).unwrap_or_else(|| panic!("no kind that is read: {json}"));
            cases.push((object, refused.map(|text| text.as_str().unwrap_or_default().to_owned())));
        }
    }
    cases
}

#[test]
fn every_validation_document_gets_istios_verdict() {
    let Some(folder) = istio("validation") else { return };
    let cases = validation_cases(&folder);
    assert!(cases.len() >= 100, "{}", cases.len());
    for (object, refused) in &cases {
        let found = schema::check(object, Fallback::Ignored);
        if let Some(wanted) = refused {
            println!("{}\n  istio: {wanted}", object.meta.object);
            found.iter().for_each(|d| println!("  ours:  {d}"));
        }
        assert_eq!(schema::is_refused(&found), refused.is_some(), "{} {refused:?}: {found:#?}", object.meta.object);
        assert!(found.iter().all(|d| d.code != Code::UnknownField), "{found:#?}");
    }
}

#[test]
fn every_field_of_istios_schemas_is_in_the_tables() {
    let Some(crds) = istio("crds/crd-all.gen.yaml") else { return };
    let mut checked = 0;
    for document in yaml::parse(&fs::read(crds).expect("it can be read")) {
        let crd = document.root.expect("CRDs are YAML").to_json();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
        let group = crd["spec"]["group"].as_str().unwrap_or_default().to_owned();
        for version in crd["spec"]["versions"].as_array().expect("a CRD has versions") {
            let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            let api_version = format!("{group}/{}", version["name"].as_str().unwrap_or_default());
            for (path, spec, wrong) in samples(schema) {
                check_sample(&api_version, &kind, &path, spec, wrong);
                checked += 1;
            }
        }
    }
    assert!(checked > 3000, "{checked}");
}

/// A field is known; and a value that its schema refuses is refused.
fn check_sample(api_version: &str, kind: &str, path: &str, spec: serde_json::Value, wrong: bool) {
    let json = serde_json::json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec,
    });
    let object = document::of_node(node(&json)).expect("its kind and version are served");
    let found = schema::check(&object, Fallback::Ignored);
    assert!(found.iter().all(|d| d.code != Code::UnknownField), "{kind} {path}: {found:#?}");
    let at_the_field = found.iter().any(|d| d.code == Code::InvalidValue && d.field == format!("spec{path}"));
    if wrong {
        assert!(at_the_field, "{kind} {path}: {spec} is not refused: {found:#?}", spec = json["spec"]);
    }
}

/// For every leaf of a schema: its path, a small document that holds it, and
/// whether the schema refuses the value that is in it.
fn samples(schema: &serde_json::Value) -> Vec<(String, serde_json::Value, bool)> {
    use serde_json::json;
    if let Some(properties) = schema["properties"].as_object() {
        let wrap = |(name, inner): (&String, &serde_json::Value)| {
            let name = name.clone();
            let inner = samples(inner).into_iter();
            inner
                .map(move |(path, value, wrong)| (format!(".{name}{path}"), json!({ name.clone(): value }), wrong))
                .collect::<Vec<_>>()
        };
        return properties.iter().flat_map(wrap).collect();
    }
    if schema["type"] == "array" {
        let inner = samples(&schema["items"]).into_iter();
        return inner.map(|(path, value, wrong)| (format!("[0]{path}"), json!([value]), wrong)).collect();
    }
    if schema["additionalProperties"].is_object() {
        let inner = samples(&schema["additionalProperties"]).into_iter();
        return inner.map(|(path, value, wrong)| (format!("[key]{path}"), json!({ "key": value }), wrong)).collect();
    }
    let mut values = vec![(json!({"a": 1}), schema["type"] != "object"), (json!([]), true)];
    match schema["type"].as_str() {
        Some("integer" | "number") => {
            values.extend([(json!(1), schema["minimum"].as_f64().is_some_and(|min| min > 1.0)), (json!("1x"), true)]);
            values.extend(schema["minimum"].as_f64().map(|min| (json!(min - 1.0), true)));
            values.extend(schema["maximum"].as_f64().map(|max| (json!(max + 1.0), true)));
        }
        Some("boolean") => values.extend([(json!(true), false), (json!("true"), true)]),
        Some("string") => {
            values.push((json!(7), true));
            values.extend(schema["enum"].as_array().map(|words| (words[0].clone(), false)));
            values.extend(schema["enum"].as_array().map(|_| (json!("NO_SUCH_WORD"), true)));
            values.extend(schema["minLength"].as_u64().filter(|n| *n > 0).map(|_| (json!(""), true)));
            values.extend(schema["maxLength"].as_u64().map(|n| (json!("x".repeat(n as usize + 1)), true)));
            values.extend(schema["pattern"].as_str().map(|_| (json!("* \u{7f}"), true)));
        }
        _ => {}
    }
    values.extend(Some((serde_json::Value::Null, schema["nullable"] != true)));
    values.into_iter().map(|(value, wrong)| (String::new(), value, wrong)).collect()
}
