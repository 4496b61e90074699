//! The agent beside a proxy: bootstrap, restart, readiness, draining.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_e2e::grpc::{Client, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, Pilot};
use mesh_e2e::process::Process;
use mesh_e2e::sidecar::{Kind, wait_listening};
use mesh_e2e::{address, binary, http1, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::balance::assert_even;
use crate::commands::choose;

const LIMIT_S: u64 = 90;
const SOON: Duration = Duration::from_secs(30);

/// A running agent and where it and its proxy answer.
struct Agent {
    process: Process,
    admin: SocketAddr,
    status: SocketAddr,
    health: SocketAddr,
    prometheus: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Agent {
    fn start(kind: &Kind, mesh: &Mesh, pilot: &Pilot) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = || SocketAddr::from(([127, 0, 0, 1], address::free_port()));
        let (admin, status, health, prometheus) = (port(), port(), port(), port());
        let mut command = binary::command();
        command.current_dir(dir.path()).args(["agent", "proxy", "sidecar"]);
        command.env("POD_NAME", "frontend").env("POD_NAMESPACE", "default");
        command.env("INSTANCE_IP", mesh.frontend().to_string());
        command.env("ISTIO_META_INTERCEPTION_MODE", "NONE").env("ISTIO_META_CLUSTER_ID", "Kubernetes");
        command.env("ISTIO_METAJSON_LABELS", r#"{"app": "frontend"}"#);
        command.env("PROXY_CONFIG", format!("discoveryAddress: {}\nterminationDrainDuration: 1s\n", pilot.grpc));
        for (flag, address) in [
            ("--adminPort", admin),
            ("--statusPort", status),
            ("--healthPort", health),
            ("--prometheusPort", prometheus),
        ] {
            command.arg(flag).arg(address.port().to_string());
        }
        command.args(["--bind", "127.0.0.1", "--concurrency", "1"]);
        choose(&mut command, kind);
        Self { process: Process::start("pilothouse agent", &mut command), admin, status, health, prometheus, _dir: dir }
    }

    async fn ready(&self) {
        for address in [self.status, self.health] {
            wait::until(&format!("{address}/healthz/ready"), SOON, || async {
                match http1::get(address, "/healthz/ready").await?.status {
                    200 => Ok(()),
                    status => Err(status.to_string()),
                }
            })
            .await;
        }
    }
}

/// The process id of the agent's child.
fn child_of(process: &Process) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).ok()?;
    let by_main_thread = children.split_whitespace().next().map(str::to_owned);
    let of_threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).ok()?;
        let lists = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).next()
    };
    by_main_thread.or_else(of_threads)?.parse().ok().map(Pid::from_raw)
}

async fn check(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(3);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let mut agent = Agent::start(kind, &mesh, &pilot);
        agent.ready().await;
        wait_listening(mesh.entrance()).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, 9).await.unwrap(), 3);
        let metrics = http1::get(agent.prometheus, "/stats/prometheus").await.unwrap();
        assert!(metrics.status == 200 && metrics.body.contains("envoy_"), "{}", metrics.status);
        let merged = http1::get(agent.status, "/stats/prometheus").await.unwrap();
        assert!(merged.body.contains("envoy_"), "the agent passes on the proxy's metrics");
        let info = http1::get(agent.admin, "/server_info").await.unwrap().body;
        assert!(info.contains("frontend.default") && info.contains("LIVE"), "{info}");

        // A proxy that dies is started again, and joins the mesh again.
        let before = child_of(&agent.process).expect("the agent has a child");
        kill(before, Signal::SIGKILL).unwrap();
        wait::until("another proxy runs", SOON, || async {
            match child_of(&agent.process) {
                Some(child) if child != before => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        agent.ready().await;
        wait_listening(mesh.entrance()).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_even(&spread(&client, 9).await.unwrap(), 3);

        // SIGTERM drains: calls under way are answered, and agent and proxy end.
        let child = child_of(&agent.process).expect("the agent has a child");
        agent.process.signal(Signal::SIGTERM);
        let status = wait::until("the agent ends", SOON, || {
            let ended = agent.process.ended().ok_or("still running");
            async move { ended }
        })
        .await;
        assert!(status.success(), "{status}");
        assert!(kill(child, None).is_err(), "the proxy has ended with its agent");
    })
    .await;
}

#[tokio::test]
async fn the_agent_runs_a_native_proxy() {
    check(&Kind::Native).await;
}

#[tokio::test]
async fn the_agent_runs_envoy() {
    let Some(envoy) = Kind::envoy() else { return };
    check(&envoy).await;
}
