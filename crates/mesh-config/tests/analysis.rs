//! Istio's own analysis cases, read in place where they lie beside the project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mesh_config::analysis::{self, Filter, Mesh, Object, Settings};
use mesh_config::yaml::{self, Node};
use serde_json::Value;

fn istio(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn document(folder: &Path, name: &Value) -> Option<Node> {
    let bytes = fs::read(folder.join(name.as_str()?)).expect("the case's file is there");
    yaml::parse(&bytes).into_iter().next()?.root.ok()
}

/// The day after which none of the certificates in the cases has expired that
/// is meant to be valid, and the others have.
const NOW: i64 = 1_790_000_000;

/// Code and object of every finding of the case's analyzer.
fn findings(case: &Value, folder: &Path, namespace: &str) -> Vec<(String, String)> {
    let mut objects: Vec<Object> = Vec::new();
    for input in texts(&case["inputs"]) {
        let bytes = fs::read(folder.join(input)).expect("the case's input is there");
        objects.extend(analysis::read(&input.into(), &bytes, namespace).0);
    }
    let settings = Settings {
        mesh_config: document(folder, &case["mesh_config"]),
        mesh_networks: document(folder, &case["mesh_networks"]),
        now: NOW,
        ..Settings::default()
    };
    let mesh = Mesh::new(objects, settings);
    let name = case["analyzer"].as_str().expect("a case names its analyzer").to_owned();
    let analyzers = analysis::named(std::slice::from_ref(&name)).expect("the analyzer exists");
    let found = Filter::default().apply(analysis::analyze(&mesh, analyzers));
    let mut found: Vec<_> = found.iter().map(|f| (f.code.id.to_owned(), f.object.origin())).collect();
    found.sort();
    found
}

#[test]
fn every_case_of_istios_gives_its_codes_on_its_objects() {
    let Some(folder) = istio("analyze") else { return };
    let cases: Value =
        serde_json::from_slice(&fs::read(folder.join("cases.json")).expect("it can be read")).expect("it is JSON");
    let cases = cases.as_array().expect("it is a list");
    assert!(cases.len() >= 70, "{}", cases.len());
    // What an analyzer may issue at all is what it is expected to somewhere.
    let mut issued: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for case in cases {
        let codes = case["expected"].as_array().into_iter().flatten().filter_map(|e| e["code"].as_str());
        issued.entry(case["analyzer"].as_str().unwrap_or_default()).or_default().extend(codes);
    }
    let mut wrong = Vec::new();
    for case in cases {
        let codes = &issued[case["analyzer"].as_str().unwrap_or_default()];
        let expected = case["expected"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut expected: Vec<_> = expected.map(|e| (text(&e["code"]), text(&e["resource"]))).collect();
        expected.sort();
        let mut found = findings(case, &folder.join("inputs"), "");
        found.retain(|(code, _)| codes.contains(&**code));
        if found != expected {
            wrong.push(format!("{} {}\n  found    {found:?}\n  expected {expected:?}", case["name"], case["analyzer"]));
        }
        let mut in_default = findings(case, &folder.join("inputs"), "default");
        in_default.retain(|(code, _)| codes.contains(&**code));
        let mut expected: Vec<_> =
            expected.into_iter().map(|(code, object)| (code, in_default_namespace(&object))).collect();
        expected.sort();
        if in_default != expected {
            wrong.push(format!("{} in default\n  found    {in_default:?}\n  expected {expected:?}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// `Kind name` of a namespaced kind as `Kind default/name`.
fn in_default_namespace(object: &str) -> String {
    let (kind, name) = object.split_once(' ').unwrap_or_default();
    match name.contains('/') || kind == "Namespace" || kind.ends_with("WebhookConfiguration") {
        true => object.to_owned(),
        false => format!("{kind} default/{name}"),
    }
}
