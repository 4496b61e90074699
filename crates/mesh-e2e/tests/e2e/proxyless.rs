//! gRPC's own xDS clients, for Python and for Node, call a service by its mesh
//! name and need no proxy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mesh_e2e::mesh::{BACKEND, Mesh, PORT, Pilot};
use mesh_e2e::process::Process;
use mesh_e2e::{binary, peers, wait};
use serde_json::json;

use crate::balance::assert_even;

const CALLS: usize = 90;
const LIMIT_S: u64 = 90;

/// Runs `client`, which prints its calls per replica, against a mesh of three replicas.
async fn check(mut client: Command) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let dir = tempfile::tempdir().unwrap();
        let bootstrap = dir.path().join("bootstrap.json");
        std::fs::write(&bootstrap, bootstrap_of(&mesh, &pilot).to_string()).unwrap();

        client.arg(format!("xds:///{BACKEND}:{PORT}")).arg(CALLS.to_string()).env("GRPC_XDS_BOOTSTRAP", bootstrap);
        binary::without_proxy_settings(&mut client);
        let mut process = Process::start("gRPC client", &mut client);
        let status = wait::until("the client ends", Duration::from_secs(60), || {
            let ended = process.ended().ok_or("still running");
            async move { ended }
        })
        .await;
        assert!(status.success(), "{status}: {}", pilot.page("/debug/syncz?pretty").await.body);
        let output = process.output();
        let last = output.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        let spread: BTreeMap<String, u64> = serde_json::from_str::<serde_json::Map<_, _>>(last)
            .unwrap_or_else(|error| panic!("{error}: {output}"))
            .into_iter()
            .map(|(replica, calls)| (replica, calls.as_u64().unwrap()))
            .collect();
        assert_even(&spread, 3);
    })
    .await;
}

fn bootstrap_of(mesh: &Mesh, pilot: &Pilot) -> serde_json::Value {
    let address = mesh.frontend().to_string();
    json!({
        "xds_servers": [{
            "server_uri": pilot.grpc.to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": format!("sidecar~{address}~frontend.default~default.svc.cluster.local"),
            // The client for Node does not start without a locality.
            "locality": {"region": "region", "zone": "zone"},
            "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default", "INSTANCE_IPS": address, "CLUSTER_ID": "Kubernetes"},
        },
    })
}

fn script(name: &str) -> PathBuf {
    binary::workspace().join("crates/mesh-e2e/peers").join(name)
}

#[tokio::test]
async fn the_python_client_reaches_all_replicas_evenly() {
    let Some(python) = peers::grpc_python() else { return };
    let mut client = Command::new(python);
    client.arg(script("call.py"));
    check(client).await;
}

#[tokio::test]
async fn the_node_client_reaches_all_replicas_evenly() {
    let Some(modules) = peers::grpc_js() else { return };
    let mut client = Command::new("node");
    client.arg(script("call.js")).env("NODE_PATH", modules);
    check(client).await;
}
