//! Istio's own routing scenarios, read in place where they lie beside the
//! workspace, and skipped where they do not: Istio's objects through our
//! translation, each call through a reading of Envoy's rules (`envoy.rs`) and
//! through our engine, compared with what Istio says.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_engine::runtime::RuntimeConfig;
use mesh_model::World;
use mesh_proto::{json as proto_json, types};
use mesh_translate::{Features, Proxy, ProxyResources, Translator};
use serde_json::{Map, Value, json};

#[path = "simulation/envoy.rs"]
mod envoy;
#[path = "golden/requests.rs"]
mod requests;

use envoy::{Call, Envoy};

#[test]
fn istios_scenarios_end_where_istio_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio/simulation");
    if !root.is_dir() {
        eprintln!("skipped: {} is not there", root.display());
        return;
    }
    let mut failures = Vec::new();
    let mut checked = 0;
    for file in FILES {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let cases: Value = serde_saphyr::from_str(&text).unwrap();
        for case in cases.as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            if let Some((_, why)) = SKIPPED.iter().find(|(part, _)| mentions(case, part)) {
                eprintln!("skipped: {name}: {why}");
                continue;
            }
            checked += check(case, &mut |text| failures.push(format!("{name}: {text}")));
        }
    }
    eprintln!("{checked} expectations hold");
    assert!(failures.is_empty(), "{} of {checked}:\n{}", failures.len(), failures.join("\n"));
    assert!(checked >= CHECKS_MIN, "only {checked} expectations were looked at");
}

/// Whether the name or the text of a case contains `part`.
fn mentions(case: &Value, part: &str) -> bool {
    let texts = ["name", "config", "kubernetes"].map(|f| case[f].as_str().unwrap_or_default());
    let kind = format!("type: {}", case["proxy"]["type"].as_str().unwrap_or_default());
    texts.iter().any(|t| t.contains(part)) || case["features"].get(part).is_some() || kind == part
}

fn check(case: &Value, fail: &mut dyn FnMut(String)) -> usize {
    let resources = translate(case, Features { workload_certificates: true });
    let envoy = Envoy::new(&resources);
    let mut checked = 0;
    for call in case["calls"].as_array().into_iter().flatten() {
        let got = envoy.answer(&Call::new(&call["call"]));
        checked += compare(&got, &call["expect"], &mut |text| fail(format!("{}: {text}", call["name"])));
    }
    checked
        + check_engine(case, fail)
        + check_clusters(case, &resources, fail)
        + check_hosts(case, &resources, fail)
        + check_listeners(case, &envoy, fail)
}

/// Fields that are not expected are not compared, unless the scenario is strict.
fn compare(got: &Map<String, Value>, expect: &Value, fail: &mut dyn FnMut(String)) -> usize {
    let fields = ["error", "listener", "filter_chain", "route_config", "virtual_host", "route", "cluster"];
    let mut checked = 0;
    for field in fields {
        let stated = !expect[field].is_null();
        if !stated && field != "error" && expect["strict"] != true {
            continue;
        }
        checked += 1;
        let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (got, wanted) = (text(got.get(field)), text(expect.get(field)));
        if got != wanted {
            fail(format!("{field}: got {got:?}, expected {wanted:?}"));
        }
    }
    checked
}

/// What our engine makes of the calls that succeed in plaintext, without
/// certificates in the mesh.
fn check_engine(case: &Value, fail: &mut dyn FnMut(String)) -> usize {
    let resources = translate(case, Features::default());
    let all = resources.iter().flat_map(|(t, set)| set.iter().map(move |r| (t, &*r.body)));
    let (config, refused) = RuntimeConfig::from_resources(all);
    // A proxy of two IP versions binds by version, which ours cannot: it says
    // so, and does without the cluster.
    let refused = refused.iter().map(ToString::to_string).filter(|e| !e.contains("extra_source_addresses"));
    refused.for_each(|e| fail(format!("the engine refuses: {e}")));
    let mut checked = 0;
    for call in case["calls"].as_array().into_iter().flatten() {
        let (what, expect) = (&call["call"], &call["expect"]);
        if what["tls"] == "mtls" || !expect["error"].is_null() || mentions(case, "kind: PeerAuthentication") {
            continue;
        }
        let wanted: Map<String, Value> = ["listener", "virtual_host", "route", "cluster"]
            .into_iter()
            .filter(|f| !expect[*f].is_null())
            .map(|f| (f.to_owned(), expect[f].clone()))
            .collect();
        checked += wanted.len();
        requests::check(&config, &request(case, call, &wanted), fail);
    }
    checked
}

/// `expect_listeners`: how many are on a port, and the shape of one of them.
fn check_listeners(case: &Value, envoy: &Envoy, fail: &mut dyn FnMut(String)) -> usize {
    let expected = &case["expect_listeners"];
    let Some(port) = expected["port"].as_u64() else { return 0 };
    let listeners = envoy.listeners_on(port);
    let (exact, least) = (expected["count"].as_u64(), expected["min_count"].as_u64().unwrap_or(0));
    let count = listeners.len() as u64;
    if exact.is_some_and(|e| e != count) || count < least {
        fail(format!("{count} listeners on port {port}, expected {exact:?}, at least {least}"));
    }
    if let Some(name) = expected["listener"].as_str() {
        match listeners.iter().find(|l| l["name"] == name) {
            Some(listener) => check_shape(listener, expected, fail),
            None => fail(format!("no listener {name}")),
        }
    }
    1
}

fn check_shape(listener: &Value, expected: &Value, fail: &mut dyn FnMut(String)) {
    let presence = |field: &str| if listener[field].is_null() { "absent" } else { "present" };
    for field in ["filter_chain_matcher", "default_filter_chain"] {
        let wanted = expected[field].as_str();
        if wanted.is_some_and(|w| w != presence(field)) {
            fail(format!("{field} is {}, expected {wanted:?}", presence(field)));
        }
    }
    let chains = listener["filter_chains"].as_array().unwrap();
    let ranges: Vec<&Vec<Value>> =
        chains.iter().filter_map(|c| c["filter_chain_match"]["prefix_ranges"].as_array()).collect();
    if expected["filter_chains_with_prefix_ranges"].as_u64().is_some_and(|n| n != ranges.len() as u64) {
        fail(format!("{} chains with prefix ranges, expected {expected}", ranges.len()));
    }
    let length = &expected["prefix_len"];
    if !length.is_null() && ranges.iter().copied().flatten().any(|r| r["prefix_len"] != *length) {
        fail(format!("prefix ranges {ranges:?}, expected length {length}"));
    }
}

/// A call in the terms of our golden cases.
fn request(case: &Value, call: &Value, expect: &Map<String, Value>) -> Value {
    let what = &call["call"];
    let text = |field: &str| what[field].as_str();
    let address = text("address").unwrap_or("1.3.3.7");
    let port = &what["port"];
    let to = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    let inbound = text("mode") == Some("inbound");
    let mut request = json!({
        "name": call["name"],
        "to": to,
        "from": format!("{}:40000", case["proxy"]["ip"].as_str().unwrap()),
        "captured_by": if inbound { "0.0.0.0:15006" } else { "0.0.0.0:15001" },
        "path": text("path").unwrap_or("/"),
        "expect": expect,
    });
    let http = matches!(text("protocol"), Some("http" | "http2"));
    if text("tls") == Some("tls") {
        request["sni"] = json!(text("sni").or(text("host")).unwrap_or_default());
    } else if http {
        request["host"] = json!(text("host").unwrap_or_default());
        request["http2"] = json!(text("protocol") == Some("http2"));
    }
    request
}

/// `expect_clusters`: exactly these begin with the prefix, for these hosts.
fn check_clusters(case: &Value, resources: &ProxyResources, fail: &mut dyn FnMut(String)) -> usize {
    let expected = &case["expect_clusters"];
    let Some(prefix) = expected["prefix"].as_str() else { return 0 };
    let set = resources.set(types::CLUSTER).unwrap();
    let got: BTreeMap<String, Value> = set
        .iter()
        .filter(|r| r.name.starts_with(prefix))
        .map(|r| {
            let cluster = proto_json::bytes_to_json("envoy.config.cluster.v3.Cluster", &r.body);
            let services = cluster["metadata"]["filter_metadata"]["istio"]["services"].as_array().cloned();
            let hosts: Vec<Value> = services.into_iter().flatten().map(|s| s["host"].clone()).collect();
            (r.name.to_string(), json!([hosts, cluster["load_assignment"].is_null()]))
        })
        .collect();
    let wanted: BTreeMap<String, Value> = expected["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let hosts = c["services"].as_array().cloned().unwrap_or_default();
            (c["name"].as_str().unwrap().to_owned(), json!([hosts, c["endpoints"].is_null()]))
        })
        .collect();
    if got != wanted {
        fail(format!("clusters {prefix}: got {got:?}, expected {wanted:?}"));
    }
    1
}

/// `expect_virtual_hosts`: which clusters the routes of a domain lead to.
fn check_hosts(case: &Value, resources: &ProxyResources, fail: &mut dyn FnMut(String)) -> usize {
    let expected = &case["expect_virtual_hosts"];
    let Some(name) = expected["route_config"].as_str() else { return 0 };
    let table = resources.set(types::ROUTE).unwrap().get(name);
    let table = table.map(|r| proto_json::bytes_to_json("envoy.config.route.v3.RouteConfiguration", &r.body));
    let hosts = table.as_ref().and_then(|t| t["virtual_hosts"].as_array()).cloned().unwrap_or_default();
    let domains = expected["domains"].as_object().unwrap();
    for (domain, clusters) in domains {
        let of = hosts.iter().find(|h| h["domains"].as_array().unwrap().iter().any(|d| d == domain));
        let routes = of.and_then(|h| h["routes"].as_array()).cloned().unwrap_or_default();
        let mut got: Vec<String> = routes.iter().flat_map(clusters_of).collect();
        got.sort();
        let mut wanted: Vec<String> =
            clusters.as_array().into_iter().flatten().map(|c| c.as_str().unwrap().to_owned()).collect();
        wanted.sort();
        if got != wanted {
            fail(format!("table {name}, domain {domain}: got {got:?}, expected {wanted:?}"));
        }
    }
    domains.len()
}

fn clusters_of(route: &Value) -> Vec<String> {
    let weighted = route["route"]["weighted_clusters"]["clusters"].as_array().cloned().unwrap_or_default();
    let single = route["route"]["cluster"].as_str().map(str::to_owned);
    single.into_iter().chain(weighted.iter().map(|c| c["name"].as_str().unwrap().to_owned())).collect()
}

fn translate(case: &Value, features: Features) -> Arc<ProxyResources> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), case);
    let (changes, _) = mesh_platform::files::load_once(&[folder.path()]);
    let mut world = World::new();
    changes.into_iter().for_each(|c| world.apply(c));
    let proxy = &case["proxy"];
    let text = |field: &str| proxy[field].as_str().unwrap();
    let mut metadata = proxy["metadata"].clone();
    if let Some(ips) = proxy["ips"].as_array() {
        let ips: Vec<&str> = ips.iter().map(|ip| ip.as_str().unwrap()).collect();
        metadata["INSTANCE_IPS"] = json!(ips.join(","));
    }
    let id = format!("{}~{}~{}~{}", text("type"), text("ip"), text("id"), text("dns_domain"));
    let node = proto_json::from_json(&json!({ "id": id, "metadata": metadata })).unwrap();
    let proxy = Arc::new(Proxy::from_node(&node).unwrap());
    let snapshot = world.snapshot().0;
    Translator::with(features).resources(&snapshot, &proxy)
}

fn write(folder: &Path, case: &Value) {
    let file = |name: &str, text: &str| {
        let path: PathBuf = folder.join(name);
        std::fs::write(path, text).unwrap();
    };
    for field in ["config", "kubernetes"] {
        if let Some(text) = case[field].as_str() {
            // Kubernetes itself refuses two ports of one name and a slice that
            // does not say its address type, as these scenarios have them.
            let text = text.replace("kind: EndpointSlice\n", "kind: EndpointSlice\naddressType: IPv4\n");
            let text = text.replace("port: 8080\n    name: http\n", "port: 8080\n    name: http-2\n");
            file(&format!("{field}.yaml"), &text);
        }
    }
    let services = case["services"].as_array().into_iter().flatten();
    for (index, object) in services.enumerate() {
        file(&format!("service-{index}.yaml"), &object.to_string());
    }
    if !case["mesh_config"].is_null() {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": case["mesh_config"].to_string()},
        });
        file("mesh.yaml", &map.to_string());
    }
}

/// Where Istio's scenarios are, one file per test function.
const FILES: [&str; 13] = [
    "external_name_services.yaml",
    "gateway_conflicts.yaml",
    "headless_service_listener_shape.yaml",
    "headless_services.yaml",
    "http_gateway.yaml",
    "inbound.yaml",
    "inbound_clusters.yaml",
    "inbound_sidecar_tls_modes.yaml",
    "loop.yaml",
    "passthrough_traffic.yaml",
    "service_entry.yaml",
    "service_entry_duplicated_hostname.yaml",
    "sidecar_routes.yaml",
];

/// Cases that mention this (in their name, objects or features; or the type of
/// their proxy) are left out, and why.
const SKIPPED: [(&str, &str); 7] = [
    ("ALLOW_ANY_DYNAMIC_DNS", "this outbound policy is not applied yet"),
    ("  tls:\n", "TLS routes are not applied yet"),
    ("reused hosts should have auto allocated", "addresses are not allocated"),
    ("kind: Gateway", "gateways are not served yet"),
    ("type: router", "gateways are not served yet"),
    ("ingress:", "Sidecar ingress listeners are not applied yet"),
    ("PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER", "listeners of headless services have one shape"),
];

/// Fewer checks than this were lost, not removed.
const CHECKS_MIN: usize = 770;
