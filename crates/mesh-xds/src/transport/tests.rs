//! Both drivers on loopback.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_proto::resource::ResourceSet;
use mesh_proto::types::{CLUSTER, ENDPOINT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use super::client::{self, Event, Handle, Target, connect};
use super::server::{AdsServer, Observer, Options, Peer, Source};
use crate::client::{AdsClient, Update, Wanted};
use crate::server::Event as ServerEvent;
use crate::tests::{named, snapshot};
use crate::{Node, Snapshot, Variant};

struct Fixed(watch::Sender<Arc<Snapshot>>);

impl Source for Fixed {
    async fn connect(&self, node: &Arc<Node>, _: &Peer) -> Result<watch::Receiver<Arc<Snapshot>>, Status> {
        if node.id == "stranger" { Err(Status::permission_denied("no")) } else { Ok(self.0.subscribe()) }
    }

    fn answer(&self, _: &Arc<Node>, type_url: &str, names: &[&str]) -> Option<Arc<ResourceSet>> {
        (type_url == "debug").then(|| Arc::new(ResourceSet::new(names.iter().map(|name| named(name, 1)))))
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn connected(&self, _: &Peer, node: &Arc<Node>) {
        self.0.lock().unwrap().push(format!("connected {}", node.id));
    }
    fn event(&self, _: &Peer, _: &Arc<Node>, event: &ServerEvent) {
        match event {
            ServerEvent::Acked { type_url, .. } => self.0.lock().unwrap().push(format!("acked {type_url}")),
            ServerEvent::Nacked { error, .. } => self.0.lock().unwrap().push(format!("nacked {error}")),
            _ => {}
        }
    }
    fn rejected(&self, _: &Peer, _: Option<&Arc<Node>>, status: &Status) {
        self.0.lock().unwrap().push(format!("rejected {}", status.message()));
    }
    fn disconnected(&self, _: &Peer, node: &Arc<Node>) {
        self.0.lock().unwrap().push(format!("disconnected {}", node.id));
    }
}

struct Control {
    address: String,
    snapshots: watch::Sender<Arc<Snapshot>>,
    log: Arc<Log>,
    server: AdsServer<Fixed, Arc<Log>>,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<()>,
}

async fn control(first: Snapshot) -> Control {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let snapshots = watch::Sender::new(Arc::new(first));
    let log = Arc::new(Log::default());
    let server = AdsServer::new(Fixed(snapshots.clone()), log.clone(), Options::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.clone();
    let done = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serving.serve(listener, serving.routes(), shutdown).await.unwrap();
    });
    Control { address, snapshots, log, server, stop, done }
}

fn client(variant: Variant, id: &str, address: &str) -> (Handle, mpsc::Receiver<Event>) {
    let node = Node { id: id.to_owned(), ..Node::default() };
    let options = client::Options {
        backoff_base: Duration::from_millis(5),
        backoff_max: Duration::from_millis(20),
        ..client::Options::new(Target::parse(address))
    };
    connect(AdsClient::new(variant, node), options)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap()
}

async fn update(events: &mut mpsc::Receiver<Event>) -> Update {
    loop {
        if let Event::Update(update) = next(events).await {
            return update;
        }
    }
}

fn names(update: &Update) -> Vec<&str> {
    update.added.iter().map(|(name, _)| name.as_str()).collect()
}

async fn a_change_reaches_the_client(variant: Variant) {
    let control = control(snapshot(&[(CLUSTER, &[("a", 1), ("b", 1)]), (ENDPOINT, &[("a", 1), ("b", 1)])])).await;
    let (handle, mut events) = client(variant, "proxy", &control.address);
    handle.want(CLUSTER, Wanted::Wildcard);
    let clusters = update(&mut events).await;
    assert_eq!(names(&clusters), ["a", "b"]);
    handle.ack(CLUSTER, clusters.nonce);
    handle.want(ENDPOINT, Wanted::Names(BTreeSet::from(["b".to_owned()])));
    let endpoints = update(&mut events).await;
    assert_eq!(names(&endpoints), ["b"]);
    handle.ack(ENDPOINT, endpoints.nonce);

    let current = control.snapshots.borrow().clone();
    let set = current.get(ENDPOINT).unwrap().with([("b".into(), Some(named("b", 2)))]).unwrap();
    control.snapshots.send_replace(Arc::new(current.with(ENDPOINT, Arc::new(set))));
    let endpoints = update(&mut events).await;
    assert_eq!(names(&endpoints), ["b"]);
    handle.nack(ENDPOINT, endpoints.nonce, "I would rather not");
    tokio::time::timeout(Duration::from_secs(10), async {
        while !control.log.0.lock().unwrap().iter().any(|line| line == "nacked I would rather not") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();

    let status = control.server.streams().status().await;
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].node.id, "proxy");
    assert!(status[0].types[0].0.in_sync && !status[0].types[1].0.in_sync);
    drop((handle, events));
    tokio::time::timeout(Duration::from_secs(10), async {
        while control.server.streams().count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(control.log.0.lock().unwrap().last().unwrap(), "disconnected proxy");
}

#[tokio::test]
async fn a_change_reaches_a_sotw_client_and_its_refusal_the_server() {
    a_change_reaches_the_client(Variant::Sotw).await;
}

#[tokio::test]
async fn a_change_reaches_a_delta_client_and_its_refusal_the_server() {
    a_change_reaches_the_client(Variant::Delta).await;
}

#[tokio::test]
async fn shutdown_ends_the_streams_and_the_client_comes_back_to_the_next_server() {
    let first = control(snapshot(&[(CLUSTER, &[("a", 1)])])).await;
    let (handle, mut events) = client(Variant::Delta, "proxy", &first.address);
    handle.want(CLUSTER, Wanted::Wildcard);
    let clusters = update(&mut events).await;
    handle.ack(CLUSTER, clusters.nonce);
    first.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), first.done).await.unwrap().unwrap();
    let Event::Disconnected { reason, .. } = next(&mut events).await else { panic!("expected a disconnect") };
    assert!(reason.contains("shutting down"), "{reason}");

    let listener = TcpListener::bind(&first.address).await.unwrap();
    let snapshots = watch::Sender::new(Arc::new(snapshot(&[(CLUSTER, &[("a", 1), ("b", 1)])])));
    let server = AdsServer::new(Fixed(snapshots), (), Options::default());
    tokio::spawn(async move { server.serve(listener, server.routes(), std::future::pending()).await });
    let clusters = update(&mut events).await;
    assert_eq!(names(&clusters), ["b"], "what the client holds is not sent again");
}

#[tokio::test]
async fn a_stranger_is_refused_with_the_sources_status_and_a_nameless_one_with_invalid_argument() {
    let control = control(Snapshot::default()).await;
    for (id, expected) in [("stranger", "PermissionDenied: no"), ("", "InvalidArgument: the first request")] {
        let (handle, mut events) = client(Variant::Sotw, id, &control.address);
        handle.want(CLUSTER, Wanted::Wildcard);
        let reason = loop {
            if let Event::Disconnected { reason, .. } = next(&mut events).await {
                break reason;
            }
        };
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert!(control.log.0.lock().unwrap().iter().all(|line| line.starts_with("rejected")));
}

#[tokio::test]
async fn a_type_that_no_snapshot_holds_is_answered_on_demand() {
    let control = control(Snapshot::default()).await;
    let (handle, mut events) = client(Variant::Sotw, "proxy", &control.address);
    handle.want("debug", Wanted::Names(BTreeSet::from(["syncz".to_owned()])));
    assert_eq!(names(&update(&mut events).await), ["syncz"]);
}

#[tokio::test]
async fn garbage_from_the_server_is_reported_and_the_client_tries_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_handle, mut events) = client(Variant::Sotw, "proxy", &address);
    for _ in 0..2 {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\nno HTTP/2 here, I am afraid").await.unwrap();
        let Event::Disconnected { .. } = next(&mut events).await else { panic!("expected a disconnect") };
    }
}

#[tokio::test]
async fn a_response_over_the_limit_ends_the_stream_with_a_message() {
    let control = control(snapshot(&[(CLUSTER, &[("a", 1)])])).await;
    let node = Node { id: "proxy".to_owned(), ..Node::default() };
    let options = client::Options { response_bytes_max: 16, ..client::Options::new(Target::parse(&control.address)) };
    let (handle, mut events) = connect(AdsClient::new(Variant::Sotw, node), options);
    handle.want(CLUSTER, Wanted::Wildcard);
    assert!(matches!(next(&mut events).await, Event::Connected));
    let Event::Disconnected { reason, .. } = next(&mut events).await else { panic!("expected a disconnect") };
    assert!(reason.starts_with("OutOfRange"), "{reason}");
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    use tokio_stream::wrappers::UnixListenerStream;
    let path = std::env::temp_dir().join(format!("mesh-xds-{}-{:x}", std::process::id(), rand::random::<u32>()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let snapshots = watch::Sender::new(Arc::new(snapshot(&[(CLUSTER, &[("a", 1)])])));
    let server = AdsServer::new(Fixed(snapshots), (), Options::default());
    let routes = server.routes();
    tokio::spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming).await
    });
    let (handle, mut events) = client(Variant::Delta, "proxy", &format!("unix://{}", path.display()));
    handle.want(CLUSTER, Wanted::Wildcard);
    assert_eq!(names(&update(&mut events).await), ["a"]);
    std::fs::remove_file(path).unwrap();
}
