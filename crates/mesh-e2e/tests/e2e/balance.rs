//! The founding story: calls over one connection spread evenly over all replicas.

use std::collections::BTreeMap;

use mesh_e2e::grpc::{Client, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, PORT, Pilot};
use mesh_e2e::sidecar::{Kind, Node, Sidecar, start_frontend, wait_listening};
use mesh_e2e::wait;

const CALLS: usize = 300;
const LIMIT_S: u64 = 90;

/// Every replica got its share, one call more or less.
pub(crate) fn assert_even(spread: &BTreeMap<String, u64>, replicas: u64) {
    let total: u64 = spread.values().sum();
    let share = total / replicas;
    let even = spread.values().all(|calls| calls.abs_diff(share) <= 1);
    assert!(even && spread.len() as u64 == replicas, "uneven: {spread:?}");
}

/// A sidecar for the client and one for each replica.
async fn check_whole_mesh(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let replicas = mesh.start_applications();
        let pilot = Pilot::start(mesh.path()).await;
        let mut sidecars = Vec::new();
        for n in 1..=mesh.replicas {
            let node = Node::uncaptured(&format!("backend-{n}"), mesh.replica(n));
            sidecars.push(Sidecar::start(kind, &node, pilot.grpc).await);
            wait_listening((mesh.replica(n), PORT).into()).await;
        }
        sidecars.push(start_frontend(kind, &mesh, &pilot).await);
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, CALLS).await.unwrap(), 3);
        assert_eq!(replicas.iter().map(|r| r.calls()).sum::<u64>(), CALLS as u64, "every call reached an application");
    })
    .await;
}

/// A sidecar for the client only, in either ADS variant.
async fn check_variant(kind: &Kind, api_type: &str) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let node = Node::uncaptured("frontend", mesh.frontend());
        let _sidecar = Sidecar::start_with(kind, &node, pilot.grpc, api_type).await;
        wait_listening(mesh.entrance()).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, CALLS).await.unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn native_sidecars_balance_calls_of_one_connection() {
    check_whole_mesh(&Kind::Native).await;
}

#[tokio::test]
async fn envoy_sidecars_balance_calls_of_one_connection() {
    let Some(envoy) = Kind::envoy() else { return };
    check_whole_mesh(&envoy).await;
}

#[tokio::test]
async fn native_sidecar_balances_over_state_of_the_world_xds() {
    check_variant(&Kind::Native, "GRPC").await;
}

#[tokio::test]
async fn envoy_sidecar_balances_over_state_of_the_world_xds() {
    let Some(envoy) = Kind::envoy() else { return };
    check_variant(&envoy, "GRPC").await;
}

#[tokio::test]
async fn a_new_policy_reaches_calls_on_an_open_connection() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, 30).await.unwrap(), 3);
        mesh.write_load_balancer("RANDOM");
        wait::until("random choice is in force", std::time::Duration::from_secs(10), || async {
            let spread = spread(&client, 90).await?;
            let even = spread.values().all(|calls| calls.abs_diff(30) <= 1);
            if even { Err(format!("still even: {spread:?}")) } else { Ok(()) }
        })
        .await;
    })
    .await;
}
