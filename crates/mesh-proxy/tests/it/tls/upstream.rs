//! TLS to endpoints.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::pki::{Ca, server_config};
use super::{CLIENT, socket};
use crate::support::{HTTP2, Proxy, TO_BACKEND, bootstrap, http1, serve, server};

fn get(proxy: &Proxy, host: &str) -> String {
    http1(proxy.address("in"), &format!("GET /head HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
}

/// A context that trusts `ca` and wants `name`.
fn trusting(ca: &Ca, name: &str, more: &str) -> String {
    let context = format!(
        "sni: web.test, common_tls_context: {{validation_context: {{trusted_ca: {{inline_string: {:?}}}, match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]}}{more}}}",
        ca.pem()
    );
    format!(", {}", socket(CLIENT, &context))
}

#[test]
fn http_of_both_versions_goes_over_tls_to_a_server_with_the_right_name() {
    let ca = Ca::new("ca");
    let pair = ca.issue("web", &["*.test"]);
    for (alpn, more) in [("http/1.1", ""), ("h2", HTTP2)] {
        let (backend, _) = serve(Some(server_config(&pair, None, &[alpn])));
        let proxy =
            Proxy::start(&bootstrap(backend, "", TO_BACKEND, &format!("{more}{}", trusting(&ca, "web.test", ""))));
        let answer = get(&proxy, "a");
        assert!(answer.starts_with("HTTP/1.1 200"), "{alpn}: {answer}");
        assert_eq!(proxy.stat("cluster.backend.ssl.handshake"), 1);
        assert_eq!(proxy.stat("cluster.backend.ssl.versions.TLSv1.2"), 1, "a client's highest version by default");
    }
}

#[test]
fn a_server_with_another_name_or_authority_is_refused_with_the_reason() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    for (issuer, name, reason, counter) in [
        (&ca, "other.test", "NotValidForName", "fail_verify_san"),
        (&other, "web.test", "UnknownIssuer", "fail_verify_error"),
    ] {
        let (backend, _) = serve(Some(server_config(&issuer.issue("web", &[name]), None, &[])));
        let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, &trusting(&ca, "web.test", "")));
        let answer = get(&proxy, "a");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("remote connection failure, transport failure reason: TLS_error:"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
        assert_eq!(proxy.stat(&format!("cluster.backend.ssl.{counter}")), 1);
    }
}

#[test]
fn our_own_certificate_is_shown_to_a_server_that_asks() {
    let ca = Ca::new("ca");
    let (backend, _) = serve(Some(server_config(&ca.issue("web", &["web.test"]), Some(&ca), &[])));
    let without = Proxy::start(&bootstrap(backend, "", TO_BACKEND, &trusting(&ca, "web.test", "")));
    assert!(get(&without, "a").starts_with("HTTP/1.1 503"));
    let own = format!(
        ", tls_params: {{tls_maximum_protocol_version: TLSv1_3}}, tls_certificates: [{}]",
        ca.issue("me", &["spiffe://me"]).yaml()
    );
    let with = Proxy::start(&bootstrap(backend, "", TO_BACKEND, &trusting(&ca, "web.test", &own)));
    assert!(get(&with, "a").starts_with("HTTP/1.1 200"));
    assert_eq!(with.stat("cluster.backend.ssl.versions.TLSv1.3"), 1);
}

#[test]
fn the_server_name_follows_the_request_where_the_cluster_says_so() {
    let ca = Ca::new("ca");
    let (backend, _) = serve(Some(server_config(&ca.issue("web", &["good.test"]), None, &[])));
    let options = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, explicit_http_config: {http_protocol_options: {}}}}";
    let context =
        format!("common_tls_context: {{validation_context: {{trusted_ca: {{inline_string: {:?}}}}}}}", ca.pem());
    let more = format!("{options}, {}", socket(CLIENT, &context));
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, &more));
    assert!(get(&proxy, "good.test:80").starts_with("HTTP/1.1 200"));
    assert!(get(&proxy, "bad.test").starts_with("HTTP/1.1 503"));
    assert!(get(&proxy, "good.test").starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.stat("cluster.backend.ssl.handshake"), 1, "the connection for a name is kept for that name");
}

#[test]
fn an_endpoints_metadata_chooses_its_transport_and_a_client_is_told_by_a_proxy_header() {
    let (plain, _) = server();
    let ca = Ca::new("ca");
    let (secure, _) = serve(Some(server_config(&ca.issue("web", &["web.test"]), None, &[])));
    let tls = socket(CLIENT, "sni: web.test");
    let more = format!(
        ", transport_socket_matches: [{{name: istio, match: {{tlsMode: istio}}, {tls}}}, {{name: raw, match: {{}}, transport_socket: {{name: envoy.transport_sockets.raw_buffer, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}}}]"
    );
    let yaml = bootstrap(plain, "", TO_BACKEND, &more);
    assert!(get(&Proxy::start(&yaml), "a").starts_with("HTTP/1.1 200"));
    let labelled = "metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}, endpoint:";
    let yaml = yaml.replace(&plain.port().to_string(), &secure.port().to_string()).replace("endpoint:", labelled);
    let proxy = Proxy::start(&yaml);
    assert!(get(&proxy, "a").starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.stat("cluster.backend.ssl.handshake"), 1);

    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxied = ", transport_socket: {name: envoy.transport_sockets.upstream_proxy_protocol, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {version: V1}, transport_socket: {name: envoy.transport_sockets.raw_buffer}}}";
    let proxy = Proxy::start(&bootstrap(listening.local_addr().unwrap(), "", TO_BACKEND, proxied));
    let mut client = TcpStream::connect(proxy.address("in")).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut read = [0; 256];
    let n = listening.accept().unwrap().0.read(&mut read).unwrap();
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.local_addr().unwrap().port(),
        proxy.address("in").port()
    );
    assert!(read[..n].starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&read[..n]));
}

#[test]
fn tcp_goes_over_tls_and_half_closes() {
    let ca = Ca::new("ca");
    let (backend, _) = serve(Some(server_config(&ca.issue("web", &["web.test"]), None, &[])));
    let context = trusting(&ca, "web.test", "");
    let yaml = format!(
        "static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: backend}}
  clusters:
  - {{name: backend, type: STATIC{context}, load_assignment: {{cluster_name: backend, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}
",
        backend.port()
    );
    let proxy = Proxy::start(&yaml);
    let body = "x".repeat(1_000_000);
    let text =
        format!("POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = http1(proxy.address("in"), &text);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > body.len(), "{}", answer.len());
}
