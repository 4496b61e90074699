//! A whole control plane in this process: a folder goes in, a real ADS client
//! and real HTTP requests see what comes out.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mesh_proto::google::protobuf::Any;
use mesh_proto::{json as protobuf, types};
use mesh_xds::Variant;
use mesh_xds::client::{AdsClient, Wanted};
use mesh_xds::transport::client::{self, Event, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing;

const CART: &str = "outbound|8000||cart.shop.svc.cluster.local";
/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy that holds what it is sent, and refuses what it is told to.
struct Client {
    handle: client::Handle,
    events: mpsc::Receiver<Event>,
    held: BTreeMap<(String, String), Any>,
    updates: usize,
    refuse: Option<(&'static str, String)>,
    reason: Option<String>,
}

impl Client {
    fn connect(grpc: SocketAddr, variant: Variant, node: mesh_xds::Node) -> Self {
        let mut ads = AdsClient::new(variant, node);
        ads.want(types::CLUSTER, Wanted::Wildcard);
        ads.want(types::LISTENER, Wanted::Wildcard);
        ads.want(types::ENDPOINT, Wanted::Names(BTreeSet::from([CART.to_owned()])));
        let options = client::Options {
            backoff_base: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            ..client::Options::new(Target::Tcp(grpc.to_string()))
        };
        let (handle, events) = client::connect(ads, options);
        Self { handle, events, held: BTreeMap::new(), updates: 0, refuse: None, reason: None }
    }

    fn of_web(grpc: SocketAddr, variant: Variant) -> Self {
        Self::connect(grpc, variant, testing::node("web", "10.0.0.9"))
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let wait = async {
            while !reached(self) {
                match self.events.recv().await.unwrap() {
                    Event::Update(update) => self.take(update),
                    Event::Disconnected { reason, .. } => self.reason = Some(reason),
                    Event::Connected | Event::Refused(_) => {}
                }
            }
        };
        let reached_in_time = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(reached_in_time, "not reached: {what}; held: {:?}", self.held.keys());
    }

    fn take(&mut self, update: mesh_xds::client::Update) {
        self.updates += 1;
        match &self.refuse {
            Some((type_url, text)) if *type_url == update.type_url => {
                self.handle.nack(update.type_url, update.nonce, text);
                return;
            }
            _ => self.handle.ack(&update.type_url, update.nonce),
        }
        for name in update.removed {
            self.held.remove(&(update.type_url.clone(), name));
        }
        for (name, any) in update.added {
            self.held.insert((update.type_url.clone(), name), any);
        }
    }

    fn json(&self, type_url: &str, name: &str) -> String {
        let any = self.held.get(&(type_url.to_owned(), name.to_owned()));
        any.map(|any| protobuf::any_to_json(&any.type_url, &any.value).to_string()).unwrap_or_default()
    }

    fn has_endpoint(&self, ip: &str) -> bool {
        self.json(types::ENDPOINT, CART).contains(&format!("\"{ip}\""))
    }
}

async fn start(folder: &Path) -> Handle {
    let options = Options::on_free_ports([folder.to_path_buf()]);
    let pilot = Pilot::start(options).await.unwrap();
    tokio::time::timeout(PATIENCE, pilot.wait_synced()).await.unwrap();
    pilot
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    testing::write(folder.path());
    folder
}

async fn get(pilot: &Handle, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(pilot.addresses().monitoring.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn until_diagnosed(pilot: &Handle, what: &str, found: impl Fn(&[Diagnostic]) -> bool) -> Arc<[Diagnostic]> {
    let mut diagnostics = pilot.diagnostics();
    let wait = tokio::time::timeout(PATIENCE, diagnostics.wait_for(|list| found(list))).await;
    let list = wait.unwrap_or_else(|_| panic!("not diagnosed: {what}: {:?}", pilot.diagnostics().borrow())).unwrap();
    list.clone()
}

async fn edits_reach_a_client(variant: Variant) {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let mut client = Client::of_web(pilot.addresses().grpc, variant);
    let complete = |c: &Client| {
        let listener = c.json(types::LISTENER, "virtualOutbound");
        c.has_endpoint("10.0.0.2") && !c.json(types::CLUSTER, CART).is_empty() && !listener.is_empty()
    };
    client.until("the first state", complete).await;

    std::fs::write(folder.path().join("slice.yaml"), testing::slice(&["10.0.0.3"])).unwrap();
    client.until("an endpoint edit", |c| c.has_endpoint("10.0.0.3") && !c.has_endpoint("10.0.0.2")).await;

    let edited = testing::SHOP.replace("ROUND_ROBIN", "RANDOM");
    std::fs::write(folder.path().join("shop.yaml"), edited).unwrap();
    client.until("a rule edit", |c| c.json(types::CLUSTER, CART).contains("\"RANDOM\"")).await;
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_file_reaches_a_delta_client() {
    edits_reach_a_client(Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_file_reaches_a_state_of_the_world_client() {
    edits_reach_a_client(Variant::Sotw).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_keeps_the_last_good_state_and_is_told_with_its_line() {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let mut client = Client::of_web(pilot.addresses().grpc, Variant::Delta);
    client.until("the first state", |c| c.updates >= 3).await;
    let before = pilot.snapshot();

    std::fs::write(folder.path().join("shop.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {{{\n").unwrap();
    let found = until_diagnosed(&pilot, "broken YAML", |list| !list.is_empty()).await;
    let location = found[0].location.clone().unwrap();
    assert!(location.file.ends_with("shop.yaml") && location.line >= 1, "{found:?}");
    assert_eq!(pilot.snapshot().services.len(), before.services.len());
    let (status, page) = get(&pilot, "/debug/diagnosticsz?format=text").await;
    assert!(status == 200 && page.contains("shop.yaml:"), "{page}");

    testing::write(folder.path());
    until_diagnosed(&pilot, "the repair", <[Diagnostic]>::is_empty).await;
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_control_plane_is_joined_again() {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let grpc = pilot.addresses().grpc;
    let mut client = Client::of_web(grpc, Variant::Delta);
    client.until("the first state", |c| c.has_endpoint("10.0.0.2")).await;
    pilot.shutdown().await;
    client.until("the disconnect", |c| c.reason.is_some()).await;
    assert!(client.has_endpoint("10.0.0.2"));

    std::fs::write(folder.path().join("slice.yaml"), testing::slice(&["10.0.0.4"])).unwrap();
    let options = Options { grpc_address: grpc, ..Options::on_free_ports([folder.path().to_path_buf()]) };
    let pilot = Pilot::start(options).await.unwrap();
    client.until("the new state", |c| c.has_endpoint("10.0.0.4")).await;
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_resource_is_told_with_the_rule_behind_it() {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let mut client = Client::of_web(pilot.addresses().grpc, Variant::Delta);
    client.refuse = Some((types::CLUSTER, format!("cluster {CART}: lb_policy: not known here")));
    client.until("an answer", |c| c.updates >= 1).await;
    let refused = |list: &[Diagnostic]| list.iter().any(|d| d.code == mesh_model::Code::Refused);
    let found = until_diagnosed(&pilot, "the refusal", refused).await;
    let diagnostic = found.iter().find(|d| d.code == mesh_model::Code::Refused).unwrap();
    assert_eq!(diagnostic.object.as_ref().unwrap().to_string(), "DestinationRule shop/cart");
    assert!(diagnostic.location.as_ref().unwrap().file.ends_with("shop.yaml"));
    assert!(diagnostic.message.contains("lb_policy: not known here"), "{diagnostic}");
    let (_, metrics) = get(&pilot, "/metrics").await;
    assert!(metrics.contains("pilot_total_xds_rejects 1"), "{metrics}");
    drop(client);
    until_diagnosed(&pilot, "the end of the stream", |list| !refused(list)).await;
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_to_nowhere_is_told_before_any_proxy_asks() {
    let folder = folder();
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: cart, namespace: shop }\n\
        spec:\n  hosts: [cart]\n  http:\n    - route: [{ destination: { host: cart, subset: v9 } }]\n";
    std::fs::write(folder.path().join("rule.yaml"), rule).unwrap();
    let pilot = start(folder.path()).await;
    let missing = |list: &[Diagnostic]| list.iter().any(|d| d.code == mesh_model::Code::MissingReference);
    let found = until_diagnosed(&pilot, "the missing subset", missing).await;
    assert!(found.iter().any(|d| d.to_string().contains("v9")), "{found:?}");
    std::fs::remove_file(folder.path().join("rule.yaml")).unwrap();
    until_diagnosed(&pilot, "the end of the rule", <[Diagnostic]>::is_empty).await;
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_mesh_settings_is_followed_and_keeps_its_last_good_state() {
    use mesh_model::rules::mesh_config::OutboundTrafficPolicy::{AllowAny, RegistryOnly};
    let (folder, settings) = (folder(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(settings.path(), "trustDomain: shop.example\noutboundTrafficPolicy: { mode: REGISTRY_ONLY }\n")
        .unwrap();
    let options = Options {
        mesh_config: Some(settings.path().to_path_buf()),
        ..Options::on_free_ports([folder.path().to_path_buf()])
    };
    let pilot = Pilot::start(options).await.unwrap();
    pilot.wait_synced().await;
    let mesh = pilot.snapshot().mesh.clone();
    assert_eq!((&*mesh.trust_domain, mesh.outbound_traffic_policy), ("shop.example", RegistryOnly));
    std::fs::write(settings.path(), "trustDomain: shop.example\noutboundTrafficPolicy: { mode: NONSENSE }\n").unwrap();
    let found = until_diagnosed(&pilot, "the bad mode", |list| !list.is_empty()).await;
    assert_eq!(found[0].location.as_ref().unwrap().line, 2, "{found:?}");
    assert_eq!(pilot.snapshot().mesh.outbound_traffic_policy, RegistryOnly);
    std::fs::write(settings.path(), "trustDomain: shop.example\n").unwrap();
    let mut snapshots = pilot.snapshots();
    let followed = snapshots.wait_for(|s| s.mesh.outbound_traffic_policy == AllowAny);
    tokio::time::timeout(PATIENCE, followed).await.unwrap().unwrap();
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_read_is_refused_by_name() {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let node = mesh_xds::Node { id: "nobody".to_owned(), ..Default::default() };
    let mut client = Client::connect(pilot.addresses().grpc, Variant::Sotw, node);
    client.until("the refusal", |c| c.reason.is_some()).await;
    assert!(client.reason.as_ref().unwrap().contains("expected type~ip~name.namespace~domain"), "{:?}", client.reason);
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_what_proxies_have() {
    let folder = folder();
    let pilot = start(folder.path()).await;
    let mut client = Client::of_web(pilot.addresses().grpc, Variant::Delta);
    client.until("the first state", |c| c.has_endpoint("10.0.0.2") && c.updates >= 3).await;
    for (path, expected) in [
        ("/ready", ""),
        ("/version", "\"version\""),
        ("/metrics", "pilot_xds{version=\"1.30.0\"} 1"),
        ("/metrics", "pilot_xds_pushes{type=\"cds\"} 1"),
        ("/debug/endpointz", "cart.shop.svc.cluster.local:grpc"),
        ("/debug/endpointz?brief=1", "cart.shop.svc.cluster.local:grpc 0 10.0.0.1:9000"),
        ("/debug/adsz", "\"totalClients\":1"),
        ("/debug/adsz?pretty", "\"totalClients\": 1"),
        ("/debug/syncz", "\"cluster_acked\""),
        ("/debug/config_dump?proxyID=web.shop", CART),
        ("/debug/adsz?push=1", "Pushed to 1 servers"),
        ("/debug", "/debug/endpointz"),
    ] {
        let (status, body) = get(&pilot, path).await;
        assert!(status == 200 && body.contains(expected), "{path}: {status} {body}");
    }
    let (status, body) = get(&pilot, "/debug/nothing").await;
    assert!(status == 404 && body.contains("/debug"), "{body}");
    pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_control_planes_share_a_process_and_a_taken_port_is_told() {
    let (one, two) = (folder(), tempfile::tempdir().unwrap());
    let (first, second) = (start(one.path()).await, start(two.path()).await);
    assert!(!first.snapshot().services.is_empty() && second.snapshot().services.is_empty());
    let taken = Options { grpc_address: first.addresses().grpc, ..Options::on_free_ports([one.path().to_path_buf()]) };
    let error = Pilot::start(taken).await.err().unwrap().to_string();
    assert!(error.contains("xDS") && error.contains("nothing was started"), "{error}");
    let view = first.view(&WorkloadKey { namespace: "shop".into(), name: "web".into() }).unwrap();
    assert!(view.resources[types::CLUSTER].get(CART).is_some());
    first.shutdown().await;
    second.shutdown().await;
}
