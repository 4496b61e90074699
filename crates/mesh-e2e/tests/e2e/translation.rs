//! Real Envoy takes everything that translation makes of the golden cases.
//!
//! Each case's mesh is served by a control plane of its own, an unmodified Envoy
//! connects as the case's node, and the control plane says what Envoy refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_e2e::address::{self, Network};
use mesh_e2e::mesh::Pilot;
use mesh_e2e::sidecar::{self, Kind, Sidecar};
use mesh_e2e::{binary, wait};
use serde_json::{Value, json};

const LIMIT_S: u64 = 240;
/// How long a proxy may take to answer everything.
const SYNC_LIMIT: Duration = Duration::from_secs(20);
/// The folder's loopback addresses, which become the test's own.
const LOOPBACK: &str = "127.0.0.";

fn cases() -> Vec<PathBuf> {
    let dir = binary::workspace().join("crates/mesh-translate/testdata");
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut cases: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.join("mesh.yaml").is_file()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", dir.display());
    cases
}

/// Serves one case to one proxy; what the proxy refused.
async fn refusals(kind: &Kind, case: &Path) -> Vec<String> {
    let network = Network::new().ip(0).to_string();
    let own = |text: String| text.replace(LOOPBACK, network.trim_end_matches('0'));
    let read = |name: &str| own(std::fs::read_to_string(case.join(name)).unwrap());
    let stated: Value = serde_saphyr::from_str(&read("requests.yaml")).unwrap();
    let mut node = stated["node"].clone();
    if node["metadata"]["GENERATOR"] == "grpc" {
        return Vec::new();
    }
    node["cluster"] = json!("case");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mesh.yaml"), read("mesh.yaml")).unwrap();
    let pilot = Pilot::start(dir.path()).await;
    let admin = address::free([127, 0, 0, 1].into());
    let bootstrap = sidecar::bootstrap_of(&node, pilot.grpc, admin, "DELTA_GRPC");
    let _proxy = Sidecar::launch(kind, "case", &bootstrap, admin);
    wait::until("the proxy has answered", SYNC_LIMIT, || async { answered(&pilot).await }).await
}

/// What was refused, once listeners and clusters have been answered and nothing is under way.
async fn answered(pilot: &Pilot) -> Result<Vec<String>, String> {
    let page = pilot.page("/debug/syncz").await.json();
    let types = page[0]["resources"].as_object().ok_or("not connected")?;
    let mut refused = Vec::new();
    for needed in ["Listener", "Cluster"] {
        if !types.keys().any(|type_url| type_url.ends_with(needed)) {
            return Err(format!("no {needed} asked for yet"));
        }
    }
    for (type_url, status) in types {
        match (status["lastError"].as_str(), status["synced"].as_bool()) {
            (Some(error), _) => refused.push(format!("{type_url}: {error}")),
            (None, Some(true)) => {}
            (None, _) => return Err(format!("{type_url} is not answered: {status}")),
        }
    }
    let metrics = pilot.page("/metrics").await.body;
    let rejects = metrics.lines().find_map(|line| line.strip_prefix("pilot_total_xds_rejects"));
    if refused.is_empty() && rejects.is_none_or(|count| count.trim_start_matches("_total").trim() != "0") {
        refused.push(format!("something, though taken later: {rejects:?} refusals counted"));
    }
    Ok(refused)
}

async fn check(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mut all = Vec::new();
        for case in cases() {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            all.extend(refusals(kind, &case).await.into_iter().map(|why| format!("{name}: {why}")));
        }
        assert!(all.is_empty(), "{} refused:\n{}", all.len(), all.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn envoy_refuses_nothing_of_the_translation_cases() {
    let Some(envoy) = Kind::envoy() else { return };
    check(&envoy).await;
}

#[tokio::test]
async fn the_native_proxy_refuses_nothing_of_the_translation_cases() {
    check(&Kind::Native).await;
}
