#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use mesh_proto::types;
use mesh_xds::Variant;
use mesh_xds::transport::server::Source;

use super::*;
use crate::testing;

fn peer(stream: u64) -> Peer {
    Peer { stream, address: None, variant: Variant::Delta, connected_at: SystemTime::now() }
}

fn served(mesh: Arc<MeshSnapshot>) -> Option<Served> {
    Some(Served { mesh, changed_at: Instant::now() })
}

/// A fleet with one worker that fails for nodes that contain `bad` while the
/// switch is on.
fn fleet(mesh: Option<Served>) -> (Arc<Fleet>, watch::Sender<Option<Served>>, Arc<AtomicBool>) {
    let (sender, receiver) = watch::channel(mesh);
    let failing = Arc::new(AtomicBool::new(true));
    let (translator, switch) = (Translator::new(), failing.clone());
    let translate = move |mesh: &Arc<MeshSnapshot>, proxy: &Arc<Proxy>| {
        assert!(!(switch.load(Ordering::SeqCst) && proxy.node_id.contains("bad")), "a rule nobody thought of");
        translator.resources(mesh, proxy)
    };
    let fleet = Arc::new(Fleet::with_translation(receiver, Arc::new(Metrics::new()), Box::new(translate)));
    let worker = fleet.clone();
    std::thread::spawn(move || worker.work());
    (fleet, sender, failing)
}

async fn connect(fleet: &Fleet, stream: u64, name: &str) -> Result<watch::Receiver<Arc<Snapshot>>, Status> {
    fleet.connect(&Arc::new(testing::node(name, "10.0.0.9")), &peer(stream)).await
}

#[tokio::test]
async fn a_stream_begins_with_a_complete_translation() {
    let (fleet, ..) = fleet(served(testing::mesh()));
    let receiver = connect(&fleet, 1, "web").await.unwrap();
    let snapshot = receiver.borrow().clone();
    let clusters = snapshot.get(types::CLUSTER).unwrap();
    assert!(clusters.get("outbound|8000||cart.shop.svc.cluster.local").is_some());
    assert!(!snapshot.get(types::LISTENER).unwrap().is_empty());
}

#[tokio::test]
async fn a_proxy_that_comes_before_the_mesh_waits_for_it() {
    let (fleet, mesh, _) = fleet(None);
    let (connected, ()) = tokio::join!(connect(&fleet, 1, "web"), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        mesh.send_replace(served(testing::mesh()));
    });
    assert!(connected.unwrap().borrow().get(types::CLUSTER).is_some());
}

#[tokio::test]
async fn a_translation_that_fails_costs_one_proxy_its_turn_and_nobody_else_theirs() {
    let (fleet, mesh, failing) = fleet(served(testing::mesh()));
    let refused = connect(&fleet, 1, "bad").await.unwrap_err();
    assert!(refused.message().contains("a rule nobody thought of"), "{refused}");
    failing.store(false, Ordering::SeqCst);
    let bad = connect(&fleet, 2, "bad").await.unwrap();
    let mut good = connect(&fleet, 3, "web").await.unwrap();
    failing.store(true, Ordering::SeqCst);
    let before = bad.borrow().clone();
    mesh.send_replace(served(Arc::default()));
    fleet.mesh_changed();
    good.changed().await.unwrap();
    assert!(Arc::ptr_eq(&before, &bad.borrow()), "the last good state stays");
    let found: Vec<String> = fleet.diagnostics().iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|d| d.contains("bad.shop") && d.contains("a rule nobody thought of")), "{found:?}");
    failing.store(false, Ordering::SeqCst);
    fleet.mesh_changed();
    let mut bad = bad;
    bad.changed().await.unwrap();
    assert!(!fleet.diagnostics().iter().any(|d| d.message.contains("bad.shop")));
}

#[tokio::test]
async fn what_did_not_change_is_not_published_again() {
    let (fleet, ..) = fleet(served(testing::mesh()));
    let receiver = connect(&fleet, 1, "web").await.unwrap();
    fleet.mesh_changed();
    // A second stream is served after the first: its state is then settled.
    connect(&fleet, 2, "web").await.unwrap();
    assert!(!receiver.has_changed().unwrap());
}

#[tokio::test]
async fn a_node_that_is_no_sidecar_is_refused_by_name() {
    let (fleet, ..) = fleet(served(testing::mesh()));
    let node = Arc::new(Node { id: "nobody".to_owned(), ..Node::default() });
    let refused = fleet.connect(&node, &peer(1)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("expected type~ip~name.namespace~domain"), "{refused}");
    assert!(fleet.members().is_empty());
}

#[tokio::test]
async fn a_stream_that_gives_up_waiting_leaves_nothing_behind() {
    let (sender, receiver) = watch::channel(served(testing::mesh()));
    let fleet = Fleet::new(receiver, Arc::new(Metrics::new()));
    // Nobody works, so the first translation never comes.
    let waited = tokio::time::timeout(Duration::from_millis(20), connect(&fleet, 1, "web")).await;
    assert!(waited.is_err());
    assert!(fleet.members().is_empty());
    drop(sender);
}

#[tokio::test]
async fn what_is_wrong_with_rules_outlasts_the_last_proxy_that_asked() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: cart, namespace: shop }\n\
        spec:\n  hosts: [cart]\n  http:\n    - route: [{ destination: { host: cart, subset: v9 } }]\n";
    let (fleet, mesh, _) = fleet(served(testing::mesh_with(rule)));
    connect(&fleet, 1, "web").await.unwrap();
    let found = fleet.diagnostics();
    assert!(!found.is_empty());
    fleet.leave(1);
    assert_eq!(fleet.diagnostics(), found);
    mesh.send_replace(served(testing::mesh()));
    fleet.probe();
    assert!(fleet.diagnostics().is_empty());
}
