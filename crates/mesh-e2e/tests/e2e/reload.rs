//! Saving a file changes the running mesh; a broken file does not break it.

use std::time::{Duration, Instant};

use mesh_e2e::grpc::{Client, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, Pilot};
use mesh_e2e::sidecar::{Kind, start_frontend};
use mesh_e2e::wait;

use crate::balance::assert_even;

const LIMIT_S: u64 = 60;
/// The time that a change may take beyond the debounce.
const CHANGE_MAX: Duration = Duration::from_millis(100);
/// The control plane waits this long for more changes.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A machine that builds and tests at once is slower than one that serves; a regression to polling is slower still.
const SLACK: Duration = Duration::from_millis(400);

fn direct_response(status: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: backend, namespace: default}}\n\
         spec:\n  hosts: [backend]\n  http:\n  - directResponse: {{status: {status}}}\n"
    )
}

/// Calls until one gets this HTTP status; the time since `begun`.
async fn until_status(client: &Client, status: u16, begun: Instant) -> Duration {
    wait::until(&format!("calls answer {status}"), Duration::from_secs(10), || async {
        match client.call().await?.http {
            http if http == status => Ok(()),
            http => Err(format!("still {http}")),
        }
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn a_saved_file_reaches_the_proxy_a_tenth_of_a_second_after_the_debounce() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(1);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        let mut best = Duration::MAX;
        for status in [418, 419, 420, 421, 422] {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let begun = Instant::now();
            mesh.write("rule.yaml", &direct_response(status));
            best = best.min(until_status(&client, status, begun).await);
        }
        assert!(best < CHANGE_MAX + DEBOUNCE + SLACK, "the fastest of five changes took {best:?}");
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_state_and_is_reported_with_its_place() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        mesh.write("rule.yaml", &direct_response(418));
        let mut pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_eq!(client.call().await.unwrap().http, 418);

        mesh.write(
            "rule.yaml",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: backend\nspec: [",
        );
        wait::until("the broken file is reported", Duration::from_secs(10), || async {
            let said = pilot.process.output();
            if said.contains("rule.yaml:") { Ok(()) } else { Err(said) }
        })
        .await;
        assert_eq!(client.call().await.unwrap().http, 418, "the last good rule stays in force");
        assert!(pilot.process.ended().is_none(), "the control plane goes on");

        mesh.write("rule.yaml", &direct_response(419));
        until_status(&client, 419, Instant::now()).await;
        mesh.remove("rule.yaml");
        until_status(&client, 200, Instant::now()).await;
        assert_even(&spread(&client, 9).await.unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_added_replica_gets_its_share_of_an_open_connection() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(4);
        mesh.write_endpoints(2);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, 10).await.unwrap(), 2);
        mesh.write_endpoints(4);
        wait::until("four replicas share the calls", Duration::from_secs(10), || async {
            let spread = spread(&client, 8).await?;
            if spread.values().all(|calls| *calls == 2) { Ok(()) } else { Err(format!("{spread:?}")) }
        })
        .await;
    })
    .await;
}
