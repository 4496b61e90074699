//! Secrets by SDS and from files: waiting, rotation, and what is shown of them.

use std::time::{Duration, Instant};

use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use mesh_proto::types;

use super::pki::{Ask, Ca, Pair};
use super::{SERVER, socket};
use crate::support::{Proxy, eventually};
use crate::xds::ControlPlane;

/// A listener whose chain for each name takes a secret of that name.
fn listener(names: &[&str]) -> String {
    let chains: Vec<String> = names
        .iter()
        .map(|name| {
            let context = format!(
                "common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: 'kubernetes://{name}', sds_config: {{ads: {{}}, resource_api_version: V3}}}}]}}"
            );
            format!(
                "{{filter_chain_match: {{server_names: [{name}]}}, {}, filters: [{{name: envoy.filters.network.http_connection_manager, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: in, http_filters: [{{name: envoy.filters.http.router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}], route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}]}}]}}}}}}]}}",
                socket(SERVER, &context)
            )
        })
        .collect();
    format!(
        "{{name: in, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, listener_filters: [{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}], filter_chains: [{}]}}",
        chains.join(", ")
    )
}

fn secrets(control: &ControlPlane, pairs: &[(&str, &Pair)]) {
    let all: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, pair)| {
            let name = format!("kubernetes://{name}");
            (name.clone(), format!("{{name: '{name}', tls_certificate: {}}}", pair.yaml()))
        })
        .collect();
    let all: Vec<(&str, String)> = all.iter().map(|(n, y)| (n.as_str(), y.clone())).collect();
    control.set::<Secret>(types::SECRET, &all);
}

fn ask<'a>(name: &'a str) -> Ask<'a> {
    Ask { name, ..Ask::default() }
}

fn a_listener_waits_for_its_secrets_and_a_rotation_is_seen(kind: &str) {
    let control = ControlPlane::start();
    let proxy = Proxy::start(&control.bootstrap(kind));
    let ca = Ca::new("ca");
    let (first, second) = (ca.issue("first", &["a.test"]), ca.issue("second", &["a.test"]));
    control.set::<Listener>(types::LISTENER, &[("in", listener(&["a.test"]))]);
    if kind == "GRPC" {
        eventually("the listener warms", || proxy.stat("listener_manager.total_listeners_warming") == 1);
        assert!(proxy.handle.listener_addresses("in").is_empty());
    }
    secrets(&control, &[("a.test", &first)]);
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    let address = proxy.address("in");
    eventually("the certificate is shown", || ask("a.test").get(address).is_ok_and(|told| told.showed(&first)));
    let dump = proxy.admin("GET", "/config_dump").1;
    assert!(dump.contains("[redacted]") && !dump.contains("PRIVATE KEY"), "{dump}");
    let certs = proxy.json("/certs");
    assert_eq!(certs["certificates"][0]["cert_chain"][0]["subject_alt_names"][0]["dns"], "a.test", "{certs}");
    // A connection that stands goes on through the rotation.
    let mut connection = rustls::ClientConnection::new(ask("a.test").config(), "a.test".try_into().unwrap()).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut standing = rustls::Stream::new(&mut connection, &mut stream);
    let mut call = |last: bool| {
        use std::io::{Read, Write};
        let end = if last { "connection: close\r\n" } else { "" };
        standing.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{end}\r\n").as_bytes()).unwrap();
        let mut read = [0; 1024];
        let n = standing.read(&mut read).unwrap();
        String::from_utf8_lossy(&read[..n]).into_owned()
    };
    assert!(call(false).starts_with("HTTP/1.1 200"));
    secrets(&control, &[("a.test", &second)]);
    eventually("the new certificate is shown", || ask("a.test").get(address).unwrap().showed(&second));
    assert!(call(true).starts_with("HTTP/1.1 200"));
    assert!(control.refusals.lock().unwrap().is_empty(), "{:?}", control.refusals);
    // What cannot be a certificate is refused, and the old one stays.
    secrets(&control, &[("a.test", &Pair { key: first.key.clone(), ..second.clone() })]);
    eventually("the mismatch is refused", || control.refused("private key <inline>: does not fit the certificate"));
    assert!(ask("a.test").get(address).unwrap().showed(&second));
}

#[test]
fn a_listener_waits_for_its_secrets_and_a_rotation_is_seen_state_of_the_world() {
    a_listener_waits_for_its_secrets_and_a_rotation_is_seen("GRPC");
}

#[test]
fn a_listener_waits_for_its_secrets_and_a_rotation_is_seen_delta() {
    a_listener_waits_for_its_secrets_and_a_rotation_is_seen("DELTA_GRPC");
}

#[test]
fn a_secret_that_does_not_exist_costs_its_own_filter_chain_only() {
    let control = ControlPlane::start();
    let pair = Ca::new("ca").issue("a", &["a.test"]);
    secrets(&control, &[("a.test", &pair)]);
    control.set::<Listener>(types::LISTENER, &[("in", listener(&["a.test", "b.test"]))]);
    let proxy = Proxy::start(&control.bootstrap("DELTA_GRPC"));
    let began = Instant::now();
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "the server said that the secret does not exist");
    assert!(ask("a.test").get(proxy.address("in")).unwrap().showed(&pair));
    assert!(ask("b.test").get(proxy.address("in")).is_err());
    let counter = "listener.127.0.0.1_0.server_ssl_socket_factory.downstream_context_secrets_not_ready";
    assert_eq!(proxy.stat(counter), 1);
}

#[test]
fn a_file_that_changes_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let (first, second) = (ca.issue("first", &["a.test"]), ca.issue("second", &["a.test"]));
    let write = |pair: &Pair| {
        std::fs::write(folder.path().join("key.pem"), &pair.key).unwrap();
        std::fs::write(folder.path().join("cert.pem"), &pair.chain).unwrap();
    };
    write(&first);
    let control = ControlPlane::start();
    let at = |file: &str| format!("{{filename: {}}}", folder.path().join(file).display());
    let secret = format!(
        "{{name: 'kubernetes://a.test', tls_certificate: {{certificate_chain: {}, private_key: {}, watched_directory: {{path: {}}}}}}}",
        at("cert.pem"),
        at("key.pem"),
        folder.path().display()
    );
    control.set::<Secret>(types::SECRET, &[("kubernetes://a.test", secret)]);
    control.set::<Listener>(types::LISTENER, &[("in", listener(&["a.test"]))]);
    let proxy = Proxy::start(&control.bootstrap("DELTA_GRPC"));
    eventually("it listens", || !proxy.handle.listener_addresses("in").is_empty());
    assert!(ask("a.test").get(proxy.address("in")).unwrap().showed(&first));
    write(&second);
    eventually("the new file is read", || ask("a.test").get(proxy.address("in")).unwrap().showed(&second));
}
