//! What is wrong gives one clear message, nothing else is lost, and no process
//! exits unless it cannot start at all.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use mesh_e2e::address::{self, Network};
use mesh_e2e::garbage::Server;
use mesh_e2e::grpc::{Client, frame, spread};
use mesh_e2e::mesh::{BACKEND, Mesh, PORT, Pilot};
use mesh_e2e::process::Process;
use mesh_e2e::sidecar::{self, Kind, Node, Sidecar, start_frontend};
use mesh_e2e::{http1, wait};

const LIMIT_S: u64 = 60;
const SOON: Duration = Duration::from_secs(20);

fn local() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// The proxy goes on, answers its admin pages, and asks again, whatever the ADS server sends.
async fn check_garbage(bytes: Bytes) {
    wait::bounded(LIMIT_S, async {
        let server = Server::start(bytes).await;
        let admin = address::free(local());
        let node = Node::uncaptured("frontend", Network::new().ip(2));
        let bootstrap = sidecar::bootstrap(&node, server.address, admin, "DELTA_GRPC");
        let mut sidecar = Sidecar::launch(&Kind::Native, "frontend", &bootstrap, admin);
        wait::until("the proxy asks again", SOON, || async {
            match server.streams() {
                2.. => Ok(()),
                n => Err(format!("{n} streams")),
            }
        })
        .await;
        assert!(sidecar.process.ended().is_none(), "the proxy goes on");
        assert!(sidecar.page("/server_info").await.body.contains("frontend"));
    })
    .await;
}

#[tokio::test]
async fn an_ads_server_that_sends_no_protobuf_is_left_and_asked_again() {
    check_garbage(frame(&[0xff; 100])).await;
}

#[tokio::test]
async fn an_ads_server_that_sends_no_grpc_is_left_and_asked_again() {
    check_garbage(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\nhello")).await;
}

#[tokio::test]
async fn an_ads_server_that_announces_an_endless_message_is_left_and_asked_again() {
    check_garbage(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])).await;
}

#[tokio::test]
async fn a_control_plane_that_is_away_is_waited_for() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(2);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let (mut away, admin) = (pilot, address::free(local()));
        away.process.kill();
        let node = Node::uncaptured("frontend", mesh.frontend());
        let bootstrap = sidecar::bootstrap(&node, away.grpc, admin, "DELTA_GRPC");
        let mut sidecar = Sidecar::launch(&Kind::Native, "frontend", &bootstrap, admin);
        wait::until("the proxy answers, and is not ready", SOON, || async {
            match http1::get(admin, "/ready").await?.status {
                503 => Ok(()),
                status => Err(format!("/ready answers {status}")),
            }
        })
        .await;
        let _pilot = away.restart().await;
        sidecar.wait_live("frontend").await;
        sidecar::wait_listening(mesh.entrance()).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_eq!(spread(&client, 2).await.unwrap().len(), 2);
        assert!(sidecar.process.ended().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_whose_port_is_taken_says_so_and_exits() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(1);
        let taken = TcpListener::bind((local(), 0)).unwrap();
        let grpc = taken.local_addr().unwrap();
        let mut process = Process::start("discovery", &mut Pilot::command(mesh.path(), grpc, address::free(local())));
        assert!(!process.wait(SOON).success());
        let said = process.output();
        assert!(said.contains(&grpc.to_string()), "names the address: {said}");
    })
    .await;
}

#[tokio::test]
async fn a_listener_whose_port_is_taken_costs_that_listener_alone() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(2);
        let _replicas = mesh.start_replicas();
        mesh.write("second.yaml", &second_service(8001));
        let _taken = TcpListener::bind((mesh.frontend(), 8001)).unwrap();
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_eq!(spread(&client, 4).await.unwrap().len(), 2);
        wait::until("the refusal is reported to the control plane", SOON, || async {
            let page = pilot.page("/debug/syncz").await.body;
            if page.contains("8001") { Ok(()) } else { Err(page) }
        })
        .await;
    })
    .await;
}

fn second_service(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: second, namespace: default}}\nspec:\n  clusterIP: 10.96.0.11\n  \
         ports: [{{name: http, port: {port}}}]\n"
    )
}

#[tokio::test]
async fn oversized_headers_are_refused_and_cost_nothing_else() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(1);
        let _replicas = mesh.start_replicas();
        let pilot = Pilot::start(mesh.path()).await;
        let _sidecar = start_frontend(&Kind::Native, &mesh, &pilot).await;

        let huge = "x".repeat(4 << 20);
        let request = format!("GET / HTTP/1.1\r\nhost: {BACKEND}:{PORT}\r\nx-huge: {huge}\r\n\r\n");
        match http1::exchange(mesh.entrance(), request.as_bytes()).await {
            Ok(answer) => assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}"),
            Err(why) => assert!(why.contains("reset") || why.contains("pipe"), "{why}"),
        }
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        let refused = client.call_with("/mesh.Echo/Unary", &[("x-large", &"x".repeat(200_000))]).await;
        assert!(refused.as_ref().is_ok_and(|reply| reply.http == 431) || refused.is_err(), "{refused:?}");
        let client = Client::connect(mesh.entrance(), BACKEND).await.unwrap();
        assert_eq!(spread(&client, 3).await.unwrap().len(), 1, "others are served");
    })
    .await;
}

/// A proxy that cannot start says which file, and what is wrong with it.
async fn check_no_start(bootstrap: &str, expected: &str) {
    wait::bounded(LIMIT_S, async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bootstrap.yaml");
        std::fs::write(&path, bootstrap).unwrap();
        let mut command = Kind::Native.command();
        let mut process = Process::start("proxy", command.arg("-c").arg(&path));
        assert!(!process.wait(SOON).success());
        let said = process.output();
        assert!(said.contains(expected) && said.contains("bootstrap.yaml"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_bootstrap_that_is_no_yaml_is_named() {
    check_no_start("node: {id: a\nadmin: [", "bootstrap").await;
}

#[tokio::test]
async fn a_bootstrap_with_an_unknown_field_is_named_with_the_field() {
    check_no_start("node: {id: a, cluster: a}\nstatic_resauces: {}\n", "static_resauces").await;
}

#[tokio::test]
async fn an_unreadable_folder_is_named() {
    wait::bounded(LIMIT_S, async {
        let absent = std::path::Path::new("/nonexistent-folder-of-manifests");
        let (grpc, monitoring): (SocketAddr, SocketAddr) = (address::free(local()), address::free(local()));
        let process = Process::start("discovery", &mut Pilot::command(absent, grpc, monitoring));
        wait::until("the folder is named", SOON, || async {
            let said = process.output();
            if said.contains("/nonexistent-folder-of-manifests") { Ok(()) } else { Err(said) }
        })
        .await;
    })
    .await;
}
