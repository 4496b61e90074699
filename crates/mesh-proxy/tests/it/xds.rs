//! A proxy under a control plane.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::{Message, Name, json, types};
use mesh_xds::server::Event;
use mesh_xds::transport::server::{AdsServer, Observer, Options, Peer, Source};
use mesh_xds::{Node, Snapshot};
use tokio::sync::watch;

use crate::support::{Proxy, eventually, http1, server};

/// A control plane whose state the test sets.
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    state: watch::Sender<Arc<Snapshot>>,
    pub(crate) refusals: Arc<Mutex<Vec<String>>>,
}

struct State(watch::Receiver<Arc<Snapshot>>);

impl Source for State {
    async fn connect(&self, _: &Arc<Node>, _: &Peer) -> Result<watch::Receiver<Arc<Snapshot>>, tonic::Status> {
        Ok(self.0.clone())
    }
}

struct Refusals(Arc<Mutex<Vec<String>>>);

impl Observer for Refusals {
    fn event(&self, _: &Peer, _: &Arc<Node>, event: &Event) {
        if let Event::Nacked { .. } = event {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(Arc::new(Snapshot::default()));
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let server = AdsServer::new(State(watched), Refusals(refusals.clone()), Options::default());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let routes = server.routes();
                server.serve(listener, routes, std::future::pending()).await.unwrap();
            });
        });
        Self { address, state, refusals }
    }

    /// Replaces all resources of one type.
    pub(crate) fn set<M: Message + Name + Default>(&self, type_url: &str, resources: &[(&str, String)]) {
        let resources = resources.iter().map(|(name, yaml)| Resource::new(*name, &json::from_yaml::<M>(yaml).unwrap()));
        let set = Arc::new(ResourceSet::new(resources));
        self.state.send_modify(|s| *s = Arc::new(s.with(type_url, set.clone())));
    }

    pub(crate) fn refused(&self, text: &str) -> bool {
        self.refusals.lock().unwrap().iter().any(|r| r.contains(text))
    }

    pub(crate) fn bootstrap(&self, kind: &str) -> String {
        format!(
            "node: {{id: test, cluster: test}}
dynamic_resources:
  ads_config: {{api_type: {kind}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - {{name: xds, type: STATIC, load_assignment: {{cluster_name: xds, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}
",
            self.address.port()
        )
    }
}

const CLUSTER: &str = "{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}}";

fn endpoints(address: SocketAddr) -> String {
    format!(
        "{{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}",
        address.port()
    )
}

fn listener(name: &str, port: u16, table: &str) -> String {
    format!(
        "name: {name}
address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      rds: {{route_config_name: {table}, config_source: {{ads: {{}}, resource_api_version: V3}}}}
      http_filters:
      - name: envoy.filters.http.router
        typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"
    )
}

fn table(name: &str, action: &str) -> String {
    format!(
        "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, {action}}}]}}]}}"
    )
}

fn get(address: SocketAddr) -> String {
    http1(address, "GET /head HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

/// Resources for a listener `in` that forwards to `backend`.
fn serve(control: &ControlPlane, backend: SocketAddr) {
    control.set::<Cluster>(types::CLUSTER, &[("c", CLUSTER.to_owned())]);
    control.set::<ClusterLoadAssignment>(types::ENDPOINT, &[("c", endpoints(backend))]);
    control.set::<RouteConfiguration>(types::ROUTE, &[("r", table("r", "route: {cluster: c}"))]);
    control.set::<Listener>(types::LISTENER, &[("in", listener("in", 0, "r"))]);
}

fn a_proxy_serves_what_it_is_given(kind: &str) {
    let (backend, _) = server();
    let control = ControlPlane::start();
    let proxy = Proxy::start(&control.bootstrap(kind));
    serve(&control, backend);
    eventually("it is live", || proxy.handle.is_live() && !proxy.handle.listener_addresses("in").is_empty());
    let address = proxy.address("in");
    assert!(get(address).starts_with("HTTP/1.1 200"), "{:?}", control.refusals);
    // A changed table is seen by the next request, on the same socket.
    control.set::<RouteConfiguration>(types::ROUTE, &[("r", table("r", "direct_response: {status: 418}"))]);
    eventually("the new table is in force", || get(address).starts_with("HTTP/1.1 418"));
    let dump = proxy.json("/config_dump?resource=dynamic_route_configs");
    assert_eq!(dump["configs"][0]["route_config"]["name"], "r");
    assert_eq!(proxy.stat("control_plane.connected_state"), 1);
    assert!(control.refusals.lock().unwrap().is_empty(), "{:?}", control.refusals);
}

#[test]
fn a_proxy_serves_what_it_is_given_state_of_the_world() {
    a_proxy_serves_what_it_is_given("GRPC");
}

#[test]
fn a_proxy_serves_what_it_is_given_delta() {
    a_proxy_serves_what_it_is_given("DELTA_GRPC");
}

#[test]
fn one_bad_resource_is_refused_by_name_and_the_good_ones_go_into_force() {
    let (backend, _) = server();
    let control = ControlPlane::start();
    let proxy = Proxy::start(&control.bootstrap("GRPC"));
    serve(&control, backend);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bad = listener("bad", 0, "r").replace(
        "envoy.filters.network.http_connection_manager\n    typed_config",
        "no.such.filter\n    x_typed_config",
    );
    let bad = bad.split("    x_typed_config").next().unwrap().to_owned();
    let all = [("bad", bad), ("in", listener("in", 0, "r")), ("taken", listener("taken", port, "r"))];
    control.set::<Listener>(types::LISTENER, &all);
    eventually("the good one listens", || !proxy.handle.listener_addresses("in").is_empty());
    assert!(get(proxy.address("in")).starts_with("HTTP/1.1 200"));
    eventually(&format!("{:?}", control.refusals), || control.refused("port in use"));
    assert!(control.refused("listener bad: filter_chains[0].filters[0]"), "{:?}", control.refusals);
    let dump = proxy.json("/config_dump?resource=dynamic_listeners&name_regex=bad");
    assert!(dump["configs"][0]["error_state"]["details"].as_str().unwrap().contains("filters[0]"), "{dump}");
    drop(taken);
    eventually("the port is tried again", || !proxy.handle.listener_addresses("taken").is_empty());
}

#[test]
fn a_changed_listener_lets_open_connections_finish() {
    let (backend, _) = server();
    let control = ControlPlane::start();
    let proxy = Proxy::start(&control.bootstrap("DELTA_GRPC"));
    serve(&control, backend);
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    let address = proxy.address("in");
    let slow = std::thread::spawn(move || http1(address, "GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    eventually("the slow request is on its way", || proxy.stat("cluster.c.upstream_rq_active") == 1);
    let changed = listener("in", 0, "r").replace("stat_prefix: in", "stat_prefix: other");
    control.set::<Listener>(types::LISTENER, &[("in", changed)]);
    eventually("the new chain is in force", || {
        get(address).starts_with("HTTP/1.1 200") && proxy.stat("http.other.downstream_rq_total") > 0
    });
    assert!(slow.join().unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_removed_listener_accepts_no_more() {
    let (backend, _) = server();
    let control = ControlPlane::start();
    let proxy = Proxy::start(&control.bootstrap("GRPC"));
    serve(&control, backend);
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    let address = proxy.address("in");
    control.set::<Listener>(types::LISTENER, &[]);
    eventually("it is gone", || std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_control_plane_that_sends_garbage_stops_nothing() {
    use std::io::Write as _;
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = garbage.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in garbage.incoming() {
            let _ = stream.unwrap().write_all(&[0xff; 4096]);
        }
    });
    let (state, _) = watch::channel(Arc::new(Snapshot::default()));
    let control = ControlPlane { address, state, refusals: Arc::default() };
    let proxy = Proxy::start(&control.bootstrap("GRPC"));
    eventually("it keeps trying", || proxy.stat("cluster_manager.cds.update_failure") > 1);
    assert_eq!(proxy.admin("GET", "/ready"), (503, "PRE_INITIALIZING\n".to_owned()));
}
