//! Golden cases, found by glob: `testdata/<case>/{mesh,expect,requests}.yaml`.
//!
//! `mesh.yaml` is what a user writes. `requests.yaml` says as which node a
//! proxy connects, and for requests of its workload what becomes of them,
//! decided by the proxy's own engine. `expect.yaml` names the resources that
//! the case is about, as JSON; `UPDATE_GOLDEN=1` rewrites them, keeping the
//! names. Only the fields that an expectation names are compared.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_engine::runtime::RuntimeConfig;
use mesh_model::{Diagnostic, World};
use mesh_proto::{json, types};
use mesh_translate::{Proxy, ProxyResources, Translator};
use serde_json::{Map, Value};

mod golden {
    pub(crate) mod requests;
}

#[test]
fn every_case_gives_the_resources_that_it_says() {
    check(|case, node, _, fail| {
        let (resources, loading) = translate(case, node);
        compare(case, &resources, &loading, fail);
    });
}

#[test]
fn every_request_goes_where_its_case_says() {
    check(send);
}

/// Runs `one` for every case, with the node and the requests that it states.
fn check(one: impl Fn(&Path, &Value, &Value, &mut dyn FnMut(String))) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= CASES_MIN, "found {} cases in {}", cases.len(), root.display());
    let mut failures = Vec::new();
    for case in &cases {
        let stated = read(&case.join("requests.yaml"));
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let mut fail = |text: String| failures.push(format!("{name}: {text}"));
        one(case, &stated["node"], &stated["requests"], &mut fail);
    }
    assert!(failures.is_empty(), "\n{}\nUPDATE_GOLDEN=1 rewrites expect.yaml\n", failures.join("\n"));
}

fn send(case: &Path, node: &Value, requests: &Value, fail: &mut dyn FnMut(String)) {
    let (resources, _) = translate(case, node);
    let all: Vec<(&str, &[u8])> =
        resources.iter().flat_map(|(t, set)| set.iter().map(move |r| (t, &*r.body))).collect();
    // A gRPC library is no proxy of ours.
    if node["metadata"]["GENERATOR"] == "grpc" {
        return;
    }
    let (config, refused) = RuntimeConfig::from_resources(all);
    for error in refused {
        fail(format!("the engine refuses: {error}"));
    }
    for request in requests.as_array().into_iter().flatten() {
        golden::requests::check(&config, request, fail);
    }
}

fn translate(case: &Path, node: &Value) -> (Arc<ProxyResources>, Vec<Diagnostic>) {
    let (changes, diagnostics) = mesh_platform::files::load_once(&[case.join("mesh.yaml")]);
    let mut world = World::new();
    for change in changes {
        world.apply(change);
    }
    let proxy = Proxy::from_node(&json::from_json(node).unwrap()).unwrap();
    let snapshot = world.snapshot().0;
    (Translator::new().resources(&snapshot, &Arc::new(proxy)), diagnostics)
}

/// Compares every name that `expect.yaml` mentions, or rewrites it.
fn compare(case: &Path, resources: &ProxyResources, loading: &[Diagnostic], fail: &mut dyn FnMut(String)) {
    let path = case.join("expect.yaml");
    let expected = read(&path);
    let mut got = Map::new();
    for (section, wanted) in expected.as_object().into_iter().flatten() {
        let value = match (section.as_str(), kind(section)) {
            ("diagnostics", _) => diagnostics(case, resources, loading),
            (_, Some(type_url)) => named(resources, type_url, wanted),
            _ => match section.strip_suffix("_names").and_then(kind) {
                Some(type_url) => resources.set(type_url).unwrap().iter().map(|r| Value::from(&*r.name)).collect(),
                None => panic!("{}: section {section}", path.display()),
            },
        };
        got.insert(section.clone(), value);
    }
    let got = sorted(Value::Object(got));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, serde_saphyr::to_string(&got).unwrap()).unwrap();
    } else if got != sorted(expected.clone()) {
        for (section, value) in got.as_object().unwrap() {
            if *value != sorted(expected[section].clone()) {
                fail(format!("{section} differ, got:\n{}", serde_saphyr::to_string(value).unwrap()));
            }
        }
    }
}

fn kind(section: &str) -> Option<&'static str> {
    Some(match section {
        "clusters" | "cluster" => types::CLUSTER,
        "endpoints" | "endpoint" => types::ENDPOINT,
        "listeners" | "listener" => types::LISTENER,
        "routes" | "route" => types::ROUTE,
        "extensions" | "extension" => types::EXTENSION_CONFIG,
        _ => return None,
    })
}

/// The resources that `wanted` names; null where there is none.
fn named(resources: &ProxyResources, type_url: &str, wanted: &Value) -> Value {
    let set = resources.set(type_url).unwrap();
    let message = type_url.rsplit('/').next().unwrap();
    let of = |name: &String| set.get(name).map_or(Value::Null, |r| json::bytes_to_json(message, &r.body));
    Value::Object(wanted.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), of(name))).collect())
}

fn diagnostics(case: &Path, resources: &ProxyResources, loading: &[Diagnostic]) -> Value {
    let folder = format!("{}/", case.display());
    loading
        .iter()
        .chain(resources.diagnostics().iter())
        .map(|d| Value::from(d.to_string().replace(&folder, "")))
        .collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Fewer cases than this were lost, not removed.
const CASES_MIN: usize = 20;
