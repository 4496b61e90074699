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

/// A rule that marks every answer.
fn marking(mark: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: backend, namespace: default}}\n\
         spec:\n  hosts: [backend]\n  http:\n  - headers: {{response: {{set: {{x-mark: {mark}}}}}}}\n    \
         route: [{{destination: {{host: backend}}}}]\n"
    )
}

/// The mark on one answer.
async fn mark(client: &Client) -> Option<String> {
    let headers = client.call().await.unwrap().headers;
    headers.into_iter().find(|(name, _)| name == "x-mark").map(|(_, value)| value)
}

/// Calls until an answer has this mark; the time since `begun`.
async fn until_marked(client: &Client, expected: Option<&str>, begun: Instant) -> Duration {
    wait::until(&format!("answers marked {expected:?}"), Duration::from_secs(10), || async {
        let mark = mark(client).await;
        if mark.as_deref() == expected { Ok(()) } else { Err(format!("still {mark:?}")) }
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
        for change in ["one", "two", "three", "four", "five"] {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let begun = Instant::now();
            mesh.write("rule.yaml", &marking(change));
            best = best.min(until_marked(&client, Some(change), begun).await);
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
        mesh.write("rule.yaml", &marking("old"));
        let mut pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_eq!(mark(&client).await.as_deref(), Some("old"));

        mesh.write(
            "rule.yaml",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: backend\nspec: [",
        );
        wait::until("the broken file is reported", Duration::from_secs(10), || async {
            let said = pilot.process.output();
            if said.contains("rule.yaml:") { Ok(()) } else { Err(said) }
        })
        .await;
        assert_eq!(mark(&client).await.as_deref(), Some("old"), "the last good rule stays in force");
        assert!(pilot.process.ended().is_none(), "the control plane goes on");

        mesh.write("rule.yaml", &marking("new"));
        until_marked(&client, Some("new"), Instant::now()).await;
        mesh.remove("rule.yaml");
        until_marked(&client, None, Instant::now()).await;
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
