//! The commands that a newcomer meets first: `demo` and `up`.

use std::process::Command;
use std::time::Duration;

use mesh_e2e::grpc::{Client, spread};
use mesh_e2e::mesh::{BACKEND, Mesh};
use mesh_e2e::process::Process;
use mesh_e2e::sidecar::{Kind, wait_listening};
use mesh_e2e::{address, binary, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::balance::assert_even;

const LIMIT_S: u64 = 90;
const CALLS: u64 = 300;

/// The arguments by which a command that starts sidecars takes this data plane.
pub(crate) fn choose(command: &mut Command, kind: &Kind) {
    match kind {
        Kind::Native => command.args(["--proxy", "native"]),
        Kind::Envoy(path) => command.args(["--proxy", "envoy", "--envoy-path"]).arg(path),
    };
}

fn calls_per_replica(run: &Value) -> Vec<u64> {
    let list = run["per_replica"].as_array().unwrap_or_else(|| panic!("no per_replica: {run:#}"));
    list.iter().map(|calls| calls.as_u64().unwrap()).collect()
}

async fn check_demo(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mut command = binary::command();
        command.args(["demo", "--requests", &CALLS.to_string(), "-o", "json"]);
        choose(&mut command, kind);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {err}", output.status);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));

        let mut without = calls_per_replica(&report["without_mesh"]);
        without.sort_unstable();
        assert_eq!(without, [0, 0, CALLS], "without the mesh one replica gets everything");
        let with = calls_per_replica(&report["with_mesh"]);
        assert!(with.len() == 3 && with.iter().all(|calls| calls.abs_diff(CALLS / 3) <= 1), "{with:?}");
        assert!(report["with_mesh"]["cov"].as_f64().unwrap() < 0.01, "{report:#}");
        assert_eq!(report["explain"]["outcome"]["kind"], "forward", "{report:#}");
        assert_eq!(report["explain"]["endpoints"].as_array().map(Vec::len), Some(3), "{report:#}");
    })
    .await;
}

#[tokio::test]
async fn the_demo_shows_the_story_with_native_sidecars() {
    check_demo(&Kind::Native).await;
}

#[tokio::test]
async fn the_demo_shows_the_story_with_envoy_sidecars() {
    let Some(envoy) = Kind::envoy() else { return };
    check_demo(&envoy).await;
}

async fn check_up(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_applications();
        let local = [127, 0, 0, 1].into();
        let (grpc, monitoring) = (address::free(local).to_string(), address::free(local).to_string());
        let mut command = binary::command();
        command.arg("up").arg(mesh.path()).args(["--grpc-addr", &grpc, "--monitoring-addr", &monitoring]);
        command.args(["--http-addr", "", "--concurrency", "1"]);
        choose(&mut command, kind);
        let mut up = Process::start("pilothouse up", &mut command);
        wait_listening(mesh.entrance()).await;
        for n in 1..=mesh.replicas {
            wait_listening((mesh.replica(n), mesh_e2e::mesh::PORT).into()).await;
        }
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, 30).await.unwrap(), 3);

        mesh.write_endpoints(2);
        wait::until("a saved file changes the mesh", Duration::from_secs(10), || async {
            let spread = spread(&client, 6).await?;
            if spread.len() == 2 { Ok(()) } else { Err(format!("{spread:?}")) }
        })
        .await;
        up.signal(Signal::SIGTERM);
        assert!(up.wait(Duration::from_secs(30)).success(), "it ends in order");
    })
    .await;
}

#[tokio::test]
async fn up_runs_a_mesh_from_a_folder_with_native_sidecars() {
    check_up(&Kind::Native).await;
}

#[tokio::test]
async fn up_runs_a_mesh_from_a_folder_with_envoy_sidecars() {
    let Some(envoy) = Kind::envoy() else { return };
    check_up(&envoy).await;
}
