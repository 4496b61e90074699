//! The debug pages, `explain`, and what the proxies do are three views of one mesh.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mesh_e2e::grpc::{Client, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, PORT, Pilot};
use mesh_e2e::sidecar::{Kind, start_frontend};
use mesh_e2e::{binary, http1, wait};
use serde_json::Value;

const LIMIT_S: u64 = 60;
const CLUSTER: &str = "outbound|8000||backend.default.svc.cluster.local";

/// `explain` as a JSON document.
fn explain(arguments: &[&str]) -> Value {
    let mut command = binary::command();
    let to = format!("grpc://{BACKEND}:{PORT}/mesh.Echo/Unary");
    command.args(["explain", "--from", "frontend.default", "--to", &to, "-o", "json"]).args(arguments);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn explained_endpoints(explanation: &Value) -> BTreeSet<String> {
    let list = explanation["endpoints"].as_array().unwrap_or_else(|| panic!("no endpoints: {explanation:#}"));
    list.iter().map(|e| format!("{}:{}", e["address"].as_str().unwrap(), e["port"])).collect()
}

/// Addresses of the cluster in the proxy's own `/clusters`.
fn used_endpoints(clusters: &str) -> BTreeSet<String> {
    let rows = clusters.lines().filter_map(|line| line.strip_prefix(&format!("{CLUSTER}::")));
    rows.filter_map(|row| row.split_once("::").map(|(address, _)| address))
        .filter(|address| address.parse::<SocketAddr>().is_ok())
        .map(str::to_owned)
        .collect()
}

fn endpointz_addresses(endpointz: &Value) -> BTreeSet<String> {
    let list = endpointz.as_array().unwrap_or_else(|| panic!("not an array: {endpointz:#}"));
    let service = list.iter().find(|s| s["svc"].as_str().is_some_and(|svc| svc == format!("{BACKEND}:grpc")));
    let endpoints = service.and_then(|s| s["ep"].as_array()).unwrap_or_else(|| panic!("no {BACKEND}: {endpointz:#}"));
    let endpoint =
        |e: &Value| format!("{}:{}", e["endpoint"]["Address"].as_str().unwrap_or_default(), e["endpoint"]["Port"]);
    endpoints.iter().map(endpoint).collect()
}

async fn check_agreement(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let sidecar = start_frontend(kind, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        spread(&client, 3).await.unwrap();

        let expected: BTreeSet<String> = (1..=3).map(|n| format!("{}:{PORT}", mesh.replica(n))).collect();
        let dir = mesh.path().display().to_string();
        let offline = explain(&["-f", &dir]);
        let online = explain(&["--pilot", &pilot.monitoring.to_string()]);
        assert_eq!(explained_endpoints(&offline), expected, "explain -f");
        assert_eq!(explained_endpoints(&online), expected, "explain --pilot");
        assert_eq!(endpointz_addresses(&pilot.page("/debug/endpointz").await.json()), expected, "endpointz");
        assert_eq!(used_endpoints(&sidecar.page("/clusters").await.body), expected, "the proxy");
        for explanation in [&offline, &online] {
            assert_eq!(explanation["outcome"]["kind"], "forward", "{explanation:#}");
            assert_eq!(explanation["outcome"]["clusters"][0]["name"], CLUSTER, "{explanation:#}");
            let because = explanation["steps"].to_string();
            assert!(
                because.contains("DestinationRule") && because.contains("destination-rule.yaml"),
                "{explanation:#}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn explain_the_debug_pages_and_the_native_proxy_name_the_same_endpoints() {
    check_agreement(&Kind::Native).await;
}

#[tokio::test]
async fn explain_the_debug_pages_and_envoy_name_the_same_endpoints() {
    let Some(envoy) = Kind::envoy() else { return };
    check_agreement(&envoy).await;
}

#[tokio::test]
async fn the_founding_documents_greps_find_what_they_look_for_in_envoy() {
    let Some(envoy) = Kind::envoy() else { return };
    check_greps(&envoy).await;
}

#[tokio::test]
async fn the_founding_documents_greps_find_what_they_look_for() {
    check_greps(&Kind::Native).await;
}

async fn check_greps(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(2);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let sidecar = start_frontend(kind, &mesh, &pilot).await;
        let dump = sidecar.page("/config_dump?include_eds").await;
        assert!(dump.json()["configs"].is_array());
        let grepped = dump.body.lines().filter(|line| line.contains("8000") && line.contains("cluster"));
        assert!(grepped.clone().any(|line| line.contains(CLUSTER)), "{:?}", grepped.collect::<Vec<_>>());
        let brief = pilot.page("/debug/endpointz?brief=1").await.body;
        let address = mesh.replica(1).to_string();
        assert!(brief.lines().any(|line| line.contains(BACKEND) && line.contains(&address)), "{brief}");
    })
    .await;
}

#[tokio::test]
async fn every_debug_page_of_the_index_answers() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(2);
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let proxy = "proxyID=frontend.default";
        for page in [
            "registryz",
            "endpointz",
            "endpointShardz",
            "configz",
            "adsz",
            "edsz",
            "cdsz",
            "syncz",
            "config_dump",
            "push_status",
        ] {
            let answer = pilot.page(&format!("/debug/{page}?{proxy}&pretty")).await;
            assert!(!answer.json().is_null() && answer.body.contains('\n'), "{page}: `pretty` makes lines");
        }
        assert!(pilot.page("/debug").await.body.contains("/debug/endpointz"));
        assert!(pilot.page("/metrics").await.body.contains("pilot_xds"));
        assert!(!pilot.page("/version").await.body.is_empty());
        assert_eq!(http1::get(pilot.monitoring, "/debug/nonsense").await.unwrap().status, 404);
        let syncz = pilot.page("/debug/syncz").await.body;
        assert!(syncz.contains("frontend.default"), "{syncz}");
    })
    .await;
}
