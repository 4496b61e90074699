#![allow(clippy::unwrap_used)]

use mesh_model::{Code, Kind, ObjectRef, Severity, SourceLocation};
use mesh_proto::types;
use mesh_translate::Translator;
use serde_json::json;

use super::*;
use crate::testing;

/// The mesh of the tests, with the sidecar of `web` connected.
fn view() -> View {
    let mesh = testing::mesh();
    let node = Arc::new(testing::node("web", "10.0.0.9"));
    let proxy = Arc::new(Proxy::from_node(&node).unwrap());
    let resources = Translator::new().resources(&mesh, &proxy);
    let snapshot = Snapshot::new(resources.iter().map(|(t, set)| (t, set.clone())));
    let status = |type_url: &str, nonce: &str, error: Option<&str>| TypeStatus {
        type_url: type_url.into(),
        wildcard: true,
        names: Vec::new(),
        version_sent: Some("v2".into()),
        version_acked: Some("v1".into()),
        nonce_sent: Some(nonce.into()),
        nonce_acked: error.is_none().then(|| nonce.into()),
        nonce_nacked: error.map(|_| nonce.into()),
        last_error: error.map(Into::into),
        sent_at: None,
        pending: mesh_xds::server::Pending::All,
        in_sync: error.is_none(),
    };
    let connected = Connected {
        proxy,
        node,
        stream: 7,
        peer: None,
        types: vec![
            (status(types::CLUSTER, "c1", None), Some(SystemTime::UNIX_EPOCH)),
            (status(types::LISTENER, "l1", Some("no such filter")), None),
        ],
        snapshot: Some(Arc::new(snapshot)),
    };
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        code: Code::InvalidValue,
        object: Some(ObjectRef { kind: Kind::VirtualService, namespace: "shop".into(), name: "cart".into() }),
        location: Some(SourceLocation { file: "cart.yaml".into(), line: 3 }),
        field: "spec.http[0].timeout".to_owned(),
        message: "found \"soon\", expected a duration".to_owned(),
        consequence: "the rule is ignored".to_owned(),
    };
    View {
        mesh,
        synced: true,
        diagnostics: Arc::from([diagnostic]),
        refusals: Vec::new(),
        connected: vec![connected],
        metrics: Arc::new(Metrics::new()),
        uptime: Duration::from_secs(5),
    }
}

fn query(text: &str) -> Query {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.to_owned(), value.to_owned())
    };
    Query::new(text.split('&').filter(|part| !part.is_empty()).map(pair))
}

fn get(path: &str) -> Reply {
    let (path, parameters) = path.split_once('?').unwrap_or((path, ""));
    let page = PAGES.iter().find(|page| page.path == path).unwrap_or_else(|| panic!("no page {path}"));
    (page.answer)(&view(), &query(parameters))
}

fn json_of(path: &str) -> Value {
    match get(path) {
        Reply::Json(value) => value,
        other => panic!("{path}: {other:?}"),
    }
}

fn text_of(path: &str) -> String {
    match get(path) {
        Reply::Text(text) | Reply::Html(text) | Reply::Metrics(text) => text,
        other => panic!("{path}: {other:?}"),
    }
}

fn status_of(path: &str) -> u16 {
    match get(path) {
        Reply::Failure(status, _) => status.as_u16(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn endpointz_lists_every_endpoint_by_host_and_port_name() {
    let pages = json_of("/debug/endpointz");
    assert_eq!(pages[0]["svc"], "cart.shop.svc.cluster.local:grpc");
    let instances = pages[0]["ep"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    let endpoint = &instances[0]["endpoint"];
    assert_eq!(
        (&endpoint["Family"], &endpoint["Address"], &endpoint["Port"]),
        (&json!(0), &json!("10.0.0.1"), &json!(9000))
    );
    assert_eq!(endpoint["ServicePort"], json!({ "name": "grpc", "port": 8000, "protocol": "GRPC" }));
    let service = &instances[0]["service"];
    assert_eq!(service["hostname"], "cart.shop.svc.cluster.local");
    assert_eq!(service["address"], "10.96.0.20");
    assert_eq!(service["cluster-vips"], json!({ "Kubernetes": "10.96.0.20" }));
    assert_eq!(instances[0]["labels"], json!({ "app": "cart" }));
    assert_eq!(instances[0]["serviceaccount"], "spiffe://cluster.local/ns/shop/sa/cart");
}

#[test]
fn brief_endpointz_is_a_line_per_endpoint() {
    let text = text_of("/debug/endpointz?brief=1");
    let expected =
        "cart.shop.svc.cluster.local:grpc 0 10.0.0.1:9000 app=cart [] spiffe://cluster.local/ns/shop/sa/cart";
    assert_eq!(text.lines().next(), Some(expected));
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn endpoint_shards_are_by_host_namespace_and_registry() {
    let page = json_of("/debug/endpointShardz");
    let shard = &page["cart.shop.svc.cluster.local"]["shop"];
    assert_eq!(shard["Shards"]["Kubernetes/Kubernetes"][1]["Addresses"], json!(["10.0.0.2"]));
    assert_eq!(shard["ServiceAccounts"], json!({ "spiffe://cluster.local/ns/shop/sa/cart": {} }));
}

#[test]
fn registryz_has_istios_fields() {
    let page = json_of("/debug/registryz");
    let service = &page[0];
    assert_eq!(service["hostname"], "cart.shop.svc.cluster.local");
    assert_eq!(service["Attributes"]["Namespace"], "shop");
    assert_eq!(service["Attributes"]["Labels"], json!({ "team": "a" }));
    assert_eq!(service["Attributes"]["LabelSelectors"], json!({ "app": "cart" }));
    assert_eq!(service["ports"][0], json!({ "name": "grpc", "port": 8000, "protocol": "GRPC", "targetPort": 9000 }));
    assert_eq!(service["clusterVIPs"], json!({ "Addresses": { "Kubernetes": ["10.96.0.20"] } }));
    assert_eq!((&service["defaultAddress"], &service["Resolution"]), (&json!("10.96.0.20"), &json!("ClientSideLB")));
}

#[test]
fn configz_shows_rules_as_written_and_objectz_where_they_stand() {
    let page = json_of("/debug/configz");
    assert_eq!(page[0]["kind"], "DestinationRule");
    assert_eq!(page[0]["spec"]["host"], "cart.shop.svc.cluster.local");
    let places = json_of("/debug/objectz");
    assert!(places["DestinationRule/shop/cart"]["file"].as_str().unwrap().ends_with("shop.yaml"));
    let line = places["DestinationRule/shop/cart"]["line"].as_u64().unwrap() as usize;
    let document = testing::SHOP.lines().skip(line - 1).take(3).collect::<Vec<_>>().join("\n");
    assert!(document.contains("kind: DestinationRule"), "line {line}");
    assert!(crate::offline::locations_from_json(&places).unwrap().len() >= 4);
}

#[test]
fn adsz_tells_who_is_connected_and_what_they_watch() {
    let page = json_of("/debug/adsz");
    assert_eq!(page["totalClients"], 1);
    let client = &page["clients"][0];
    assert_eq!(client["connectionId"], "sidecar~10.0.0.9~web.shop~shop.svc.cluster.local-7");
    assert_eq!(client["watches"][types::CLUSTER], json!(["*"]));
    assert_eq!(client["metadata"]["ISTIO_VERSION"], "1.30.0");
    assert_eq!(client["labels"], json!({ "app": "web" }));
    assert!(json_of("/debug/connections")["clients"][0].get("watches").is_none());
    assert!(matches!(get("/debug/adsz?push=1"), Reply::Push));
    assert!(matches!(get("/debug/adsz?push=true"), Reply::Push));
    assert!(matches!(get("/debug/adsz?push=false"), Reply::Json(_)));
}

#[test]
fn syncz_has_nonces_and_the_last_error() {
    let page = json_of("/debug/syncz");
    let status = &page[0];
    assert_eq!(status["proxy"], "web.shop");
    assert_eq!((&status["cluster_sent"], &status["cluster_acked"]), (&json!("c1"), &json!("c1")));
    assert_eq!((&status["listener_sent"], status.get("listener_acked")), (&json!("l1"), None));
    assert_eq!(status["resources"][types::LISTENER]["lastError"], "no such filter");
    assert_eq!(status["resources"][types::CLUSTER]["sentTime"], "1970-01-01T00:00:00Z");
    assert_eq!(json_of("/debug/syncz?namespace=other"), json!([]));
}

#[test]
fn a_config_dump_has_envoys_sections_in_order() {
    let sections = |path: &str| -> Vec<String> {
        let page = json_of(path);
        let name = |c: &Value| c["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        page["configs"].as_array().unwrap().iter().map(name).collect()
    };
    let without = ["Bootstrap", "Clusters", "Listeners", "ScopedRoutes", "Routes", "Secrets"];
    let expected: Vec<String> = without.iter().map(|s| format!("{s}ConfigDump")).collect();
    assert_eq!(sections("/debug/config_dump?proxyID=web.shop"), expected);
    assert_eq!(sections("/debug/config_dump?proxyID=web.shop&include_eds")[2], "EndpointsConfigDump");
    assert!(sections("/debug/config_dump?proxyID=web.shop&types=cds").iter().all(|s| s == "Cluster"));
}

#[test]
fn a_config_dump_holds_the_resources_themselves() {
    let page = json_of("/debug/config_dump?proxyID=web.shop&include_eds");
    let configs = page["configs"].as_array().unwrap();
    let clusters = configs[1]["dynamic_active_clusters"].as_array().unwrap();
    let cart = clusters.iter().find(|c| c["cluster"]["name"] == "outbound|8000||cart.shop.svc.cluster.local").unwrap();
    assert_eq!(cart["cluster"]["@type"], types::CLUSTER);
    assert_eq!(configs[1]["version_info"], "v1");
    assert!(configs[3]["dynamic_listeners"][0]["active_state"]["listener"]["name"].is_string());
    assert!(configs[5]["dynamic_route_configs"][0]["route_config"]["name"].is_string());
    assert!(configs[2]["dynamic_endpoint_configs"][0]["endpoint_config"]["cluster_name"].is_string());
}

#[test]
fn a_page_about_one_proxy_says_which_it_lacks() {
    assert_eq!(status_of("/debug/config_dump"), 400);
    assert_eq!(status_of("/debug/config_dump?proxyID=nobody"), 404);
    assert_eq!(status_of("/debug/config_dump?proxyID=web.shop&types=xyz"), 400);
    assert_eq!(status_of("/debug/resources?workload=web"), 400);
    assert_eq!(status_of("/debug/resources?workload=shop/nobody"), 404);
}

#[test]
fn resources_of_a_workload_need_no_connected_proxy() {
    let there = json_of("/debug/resources?proxyID=web.shop");
    assert_eq!(there["connected"], true);
    let absent = json_of("/debug/resources?workload=shop/cart-1");
    assert_eq!(absent["connected"], false);
    let clusters = absent["resources"][types::CLUSTER].as_array().unwrap();
    let cart = clusters.iter().find(|c| c["name"] == "outbound|8000||cart.shop.svc.cluster.local").unwrap();
    let origins: Vec<&str> = cart["origins"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(origins.contains(&"DestinationRule/shop/cart"), "{origins:?}");
    let read = crate::offline::ProxyView::from_json(&absent).unwrap();
    assert_eq!(read.resources[types::CLUSTER].len(), clusters.len());
    let seen = json_of("/debug/sidecarz?workload=shop/cart-1");
    assert_eq!(seen["services"], json!(["cart.shop.svc.cluster.local"]));
    assert_eq!(seen["destinationRules"], json!([{ "namespace": "shop", "name": "cart" }]));
}

#[test]
fn cdsz_and_edsz_show_each_resource() {
    let page = json_of("/debug/cdsz");
    assert!(page[0]["clusters"].as_array().unwrap().iter().any(|c| c["name"] == "PassthroughCluster"));
    let page = json_of("/debug/edsz");
    assert_eq!(page[0]["cluster_name"], "outbound|8000||cart.shop.svc.cluster.local");
}

#[test]
fn instancesz_gives_the_ports_that_a_proxy_serves() {
    let mut view = view();
    let node = Arc::new(testing::node("cart-1", "10.0.0.1"));
    view.connected[0].proxy = Arc::new(Proxy::from_node(&node).unwrap());
    let Reply::Json(page) = registry::instancesz(&view, &query("")) else { panic!("not JSON") };
    assert_eq!(page["cart-1.shop"][0]["Port"]["TargetPort"], 9000);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let page = json_of("/debug/diagnosticsz");
    assert_eq!(
        (&page[0]["file"], &page[0]["line"], &page[0]["code"]),
        (&json!("cart.yaml"), &json!(3), &json!("invalid-value"))
    );
    let line = "error [invalid-value] cart.yaml:3: VirtualService shop/cart: spec.http[0].timeout: found \"soon\", expected a duration; the rule is ignored\n";
    assert_eq!(text_of("/debug/diagnosticsz?format=text"), line);
    let status = json_of("/debug/push_status");
    assert!(status["pilot_total_rejected_configs"]["VirtualService/shop/cart"]["message"].is_string());
}

#[test]
fn mesh_settings_have_istios_names() {
    let page = json_of("/debug/mesh");
    assert_eq!(page["outboundTrafficPolicy"]["mode"], "ALLOW_ANY");
    assert_eq!((&page["connectTimeout"], &page["proxyListenPort"]), (&json!("10s"), &json!(15001)));
    assert_eq!(page["defaultServiceExportTo"], json!(["*"]));
}

#[test]
fn metrics_count_what_is_there() {
    let text = text_of("/metrics");
    for line in ["pilot_services 1", "pilot_xds{version=\"1.30.0\"} 1", "istiod_uptime_seconds 5.0"] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn the_index_is_drawn_from_the_table() {
    let (html, text, list) = (text_of("/debug"), text_of("/debug?format=text"), json_of("/debug/list"));
    for page in PAGES {
        assert!(html.contains(&format!("href=\"{}\"", page.path)) && text.contains(page.path), "{}", page.path);
        assert!(page.path.starts_with("/debug") == (page.audience == Audience::Loopback), "{}", page.path);
    }
    assert!(list.as_array().unwrap().contains(&json!("endpointz")));
}

#[test]
fn a_pilot_is_ready_once_it_has_read_the_mesh() {
    assert!(matches!(server::ready(&view(), &query("")), Reply::Text(_)));
    let early = View { synced: false, ..view() };
    assert!(matches!(server::ready(&early, &query("")), Reply::Failure(StatusCode::SERVICE_UNAVAILABLE, _)));
    assert_eq!(json_of("/version")["version"], env!("CARGO_PKG_VERSION"));
}
