//! Clusters that come when they are needed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::types;
use mesh_proxy::Options;

use crate::support::{Proxy, eventually, http1, server};
use crate::xds::ControlPlane;

const SERVICES: usize = 500;

/// A listener that takes a request's cluster from its header `to`.
fn listener() -> String {
    "{name: in, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [{name: envoy.filters.network.http_connection_manager, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: in, http_filters: [{name: envoy.filters.http.router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster_header: to}}]}]}}}]}]}".to_owned()
}

fn serve(control: &ControlPlane, backend: SocketAddr) {
    let names: Vec<String> = (0..SERVICES).map(|i| format!("s{i}")).collect();
    let cluster = |name: &String| {
        format!(
            "{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}, resource_api_version: V3}}}}}}"
        )
    };
    let endpoints = |name: &String| {
        format!(
            "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}",
            backend.port()
        )
    };
    let clusters: Vec<(&str, String)> = names.iter().map(|n| (n.as_str(), cluster(n))).collect();
    let assignments: Vec<(&str, String)> = names.iter().map(|n| (n.as_str(), endpoints(n))).collect();
    control.set::<ClusterLoadAssignment>(types::ENDPOINT, &assignments);
    control.set::<Cluster>(types::CLUSTER, &clusters);
    control.set::<Listener>(types::LISTENER, &[("in", listener())]);
}

fn get(proxy: &Proxy, to: &str) -> String {
    http1(proxy.address("in"), &format!("GET / HTTP/1.1\r\nhost: a\r\nto: {to}\r\nconnection: close\r\n\r\n"))
}

fn on_demand() -> Options {
    Options { on_demand_clusters: true, ..Options::default() }
}

#[test]
fn a_proxy_holds_the_clusters_that_it_uses_and_no_first_request_is_lost() {
    let (backend, seen) = server();
    let control = ControlPlane::start();
    serve(&control, backend);
    let proxy = Proxy::start_with(&control.bootstrap("DELTA_GRPC"), on_demand());
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    assert_eq!(proxy.stat("cluster_manager.active_clusters"), 1, "the control plane's own");
    let first: Vec<_> = std::thread::scope(|s| {
        let calls = (0..20).map(|i| {
            let proxy = &proxy;
            s.spawn(move || get(proxy, &format!("s{}", i % 5)))
        });
        calls.collect::<Vec<_>>().into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert!(first.iter().all(|a| a.starts_with("HTTP/1.1 200")), "{first:?}");
    assert_eq!(seen.requests.load(std::sync::atomic::Ordering::SeqCst), 20);
    assert_eq!(proxy.stat("cluster_manager.active_clusters"), 6, "5 of {SERVICES}, and the control plane's own");
    let dump = proxy.json("/config_dump?include_eds");
    assert_eq!(dump["configs"][1]["dynamic_active_clusters"].as_array().unwrap().len(), 5);
    assert_eq!(dump["configs"][3]["dynamic_endpoint_configs"].as_array().unwrap().len(), 5);
}

#[test]
fn a_cluster_that_does_not_exist_is_answered_at_once_and_found_when_it_does() {
    let (backend, _) = server();
    let control = ControlPlane::start();
    serve(&control, backend);
    let proxy = Proxy::start_with(&control.bootstrap("DELTA_GRPC"), on_demand());
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    let began = Instant::now();
    assert!(get(&proxy, "later").starts_with("HTTP/1.1 503"));
    assert!(began.elapsed() < Duration::from_secs(3), "the control plane said that there is none");
    let later = format!(
        "{{name: later, type: STATIC, load_assignment: {{cluster_name: later, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}",
        backend.port()
    );
    control.set::<Cluster>(types::CLUSTER, &[("later", later)]);
    eventually("the subscription stands", || get(&proxy, "later").starts_with("HTTP/1.1 200"));
}
