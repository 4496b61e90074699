//! What goes on when something is killed: the control plane, or a replica.

use std::time::Duration;

use mesh_e2e::grpc::{Client, Reply, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, Pilot};
use mesh_e2e::sidecar::{Kind, start_frontend};
use mesh_e2e::wait;

use crate::balance::assert_even;

const LIMIT_S: u64 = 90;
const REJOIN_LIMIT: Duration = Duration::from_secs(40);

const RETRIES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: default}
spec:
  hosts: [backend]
  http:
  - retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'connect-failure,refused-stream,unavailable,reset,5xx'}
    route: [{destination: {host: backend}}]
";

async fn check_control_plane_killed(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let mut pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(kind, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        pilot.process.kill();
        assert_even(&spread(&client, 30).await.unwrap(), 3);

        // What changes while it is away is in force once it is back, and no call fails meanwhile.
        mesh.write_endpoints(2);
        let _pilot = pilot.restart().await;
        let rejoined = tokio::time::Instant::now() + REJOIN_LIMIT;
        loop {
            let spread = spread(&client, 30).await.expect("no call fails while the proxy joins again");
            if spread.len() == 2 {
                break;
            }
            assert!(tokio::time::Instant::now() < rejoined, "not joined again within {REJOIN_LIMIT:?}: {spread:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn native_traffic_outlives_the_control_plane_and_joins_the_next_one() {
    check_control_plane_killed(&Kind::Native).await;
}

#[tokio::test]
async fn envoy_traffic_outlives_the_control_plane_and_joins_the_next_one() {
    let Some(envoy) = Kind::envoy() else { return };
    check_control_plane_killed(&envoy).await;
}

/// Kills one of three replicas under `workers` concurrent callers; what the failed calls failed with.
async fn failures_when_a_replica_dies(kind: &Kind, rule: Option<&str>, workers: usize) -> Vec<String> {
    let mesh = Mesh::new(3);
    let mut replicas = mesh.start_replicas();
    replicas.iter().for_each(|replica| replica.delay(Duration::from_millis(5)));
    rule.into_iter().for_each(|rule| mesh.write("rule.yaml", rule));
    let pilot = Pilot::start(mesh.path()).await;
    let _sidecar = start_frontend(kind, &mesh, &pilot).await;
    let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
    let before = spread(&client, 9).await.unwrap();
    assert_even(&before, 3);

    let callers: Vec<_> = (0..workers).map(|_| tokio::spawn(calls(client.clone(), 60))).collect();
    tokio::time::sleep(Duration::from_millis(60)).await;
    drop(replicas.pop());
    tokio::time::sleep(Duration::from_millis(60)).await;
    mesh.write_endpoints(2);
    let mut failures = Vec::new();
    for caller in callers {
        failures.extend(caller.await.unwrap());
    }
    wait::until("the dead replica's share has moved", Duration::from_secs(10), || async {
        let after = spread(&client, 10).await?;
        if after.values().copied().eq([5, 5]) { Ok(()) } else { Err(format!("{after:?}")) }
    })
    .await;
    failures
}

/// Makes calls one after the other; what the failed ones failed with.
async fn calls(client: Client, count: usize) -> Vec<String> {
    let mut failures = Vec::new();
    for _ in 0..count {
        if let Err(why) = client.call().await.and_then(Reply::replica) {
            failures.push(why);
        }
    }
    failures
}

async fn check_replica_killed(kind: &Kind, rule: Option<&str>, failures_max: usize, workers: usize) {
    wait::bounded(LIMIT_S, async {
        let failures = failures_when_a_replica_dies(kind, rule, workers).await;
        assert!(failures.len() <= failures_max, "{} failed: {failures:?}", failures.len());
    })
    .await;
}

#[tokio::test]
async fn with_retries_no_call_fails_when_a_replica_dies() {
    check_replica_killed(&Kind::Native, Some(RETRIES), 0, 6).await;
}

#[tokio::test]
async fn a_dying_replica_costs_no_more_than_the_calls_in_flight() {
    check_replica_killed(&Kind::Native, None, 6, 6).await;
}

#[tokio::test]
async fn behind_envoy_with_retries_no_call_fails_when_a_replica_dies() {
    let Some(envoy) = Kind::envoy() else { return };
    check_replica_killed(&envoy, Some(RETRIES), 0, 6).await;
}
