//! Admin pages against a running proxy.

use crate::support::{Proxy, TO_BACKEND, bootstrap, http1, server};

#[test]
fn pages_have_envoys_shapes() {
    let (backend, _) = server();
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, ""));
    assert_eq!(proxy.admin("GET", "/ready"), (200, "LIVE\n".to_owned()));
    let dump = proxy.json("/config_dump?include_eds");
    let types: Vec<&str> = dump["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["@type"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    let expected = [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "EcdsConfigDump",
        "EndpointsConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ];
    assert_eq!(types, expected);
    assert_eq!(dump["configs"][1]["static_clusters"][0]["cluster"]["name"], "backend");
    let one = proxy.json("/config_dump?resource=static_clusters&mask=cluster.name");
    assert_eq!(one["configs"][0]["cluster"]["name"], "backend");
    assert!(one["configs"][0]["cluster"]["type"].is_null());
    assert_eq!(proxy.admin("GET", "/config_dump?resource=nosuch").1, "nosuch not found in config dump");
    let clusters = proxy.json("/clusters?format=json");
    let host = &clusters["cluster_statuses"][0]["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"]["port_value"], backend.port());
    assert!(proxy.admin("GET", "/clusters").1.contains(&format!("backend::{backend}::health_flags::healthy")));
    assert!(proxy.admin("GET", "/listeners").1.starts_with("in::127.0.0.1:"));
    assert_eq!(proxy.json("/server_info")["state"], "LIVE");
}

#[test]
fn changes_want_post_and_unknown_paths_list_the_pages() {
    let (backend, _) = server();
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, ""));
    assert_eq!(proxy.admin("GET", "/quitquitquit"), (405, "Method GET not allowed, POST required.".to_owned()));
    let (status, body) = proxy.admin("GET", "/nosuch");
    assert!(status == 404 && body.starts_with("invalid path. admin commands are:\n"), "{body}");
    assert_eq!(proxy.admin("POST", "/healthcheck/fail"), (200, "OK\n".to_owned()));
    assert_eq!(proxy.admin("GET", "/ready"), (503, "DRAINING\n".to_owned()));
    assert_eq!(proxy.admin("POST", "/healthcheck/ok").0, 200);
    http1(proxy.address("in"), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_total"), 1);
    let prometheus = proxy.admin("GET", "/stats/prometheus").1;
    assert!(prometheus.contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"backend\"} 1"), "{prometheus}");
    proxy.admin("POST", "/reset_counters");
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_total"), 0);
}
