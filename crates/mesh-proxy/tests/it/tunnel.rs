//! Tunnels through HTTP proxies, clusters by server name, and upgrades between
//! HTTP versions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};

use crate::support::{HTTP2, Proxy, TO_BACKEND, bootstrap, eventually, server};

fn tcp(backend: SocketAddr, proxy: &str, cluster: &str) -> String {
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    listener_filters: [{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}]
    filter_chains:
    - filters:
{proxy}
  clusters:
  - {{name: web.test, type: STATIC, connect_timeout: 2s, load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}{cluster}}}
",
        backend.port()
    )
}

fn tcp_proxy(more: &str) -> String {
    format!(
        "      - {{name: envoy.filters.network.tcp_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t{more}}}}}"
    )
}

fn tunnelled(more: &str) -> String {
    tcp_proxy(&format!(", cluster: web.test, tunneling_config: {{hostname: 'db.test:5432'{more}}}"))
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address("in")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// Reads to the end of a message head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut read = vec![0; length];
    stream.read_exact(&mut read).unwrap();
    String::from_utf8(read).unwrap()
}

#[test]
fn a_session_goes_through_connect_over_http1() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let header = ", headers_to_add: [{header: {key: x-from, value: '%FILTER_CHAIN_NAME%here'}}]";
    let proxy = Proxy::start(&tcp(listening.local_addr().unwrap(), &tunnelled(header), ""));
    let far = std::thread::spawn(move || {
        let mut stream = listening.accept().unwrap().0;
        let asked = head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nearly ").unwrap();
        let said = exactly(&mut stream, 4);
        stream.write_all(said.to_uppercase().as_bytes()).unwrap();
        asked
    });
    let mut client = connect(&proxy);
    client.write_all(b"ping").unwrap();
    assert_eq!(exactly(&mut client, 10), "early PING");
    let asked = far.join().unwrap();
    assert!(asked.starts_with("CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n"), "{asked}");
    assert!(asked.contains("x-from: "), "{asked}");
}

#[test]
fn a_session_goes_through_post_over_http1() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy =
        Proxy::start(&tcp(listening.local_addr().unwrap(), &tunnelled(", use_post: true, post_path: /tunnel"), ""));
    let far = std::thread::spawn(move || {
        let mut stream = listening.accept().unwrap().0;
        let asked = head(&mut stream);
        assert!(asked.starts_with("POST /tunnel HTTP/1.1\r\n") && asked.contains("transfer-encoding: chunked"));
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n").unwrap();
        assert_eq!(exactly(&mut stream, 9), "4\r\nping\r\n");
        stream.write_all(b"2\r\nde\r\n0\r\n\r\n").unwrap();
    });
    let mut client = connect(&proxy);
    client.write_all(b"ping").unwrap();
    assert_eq!(exactly(&mut client, 5), "abcde");
    far.join().unwrap();
}

#[test]
fn a_tunnel_that_is_refused_ends_the_connection() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&tcp(listening.local_addr().unwrap(), &tunnelled(""), ""));
    std::thread::spawn(move || {
        let mut stream = listening.accept().unwrap().0;
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
    });
    let mut client = connect(&proxy);
    client.write_all(b"ping").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    eventually("the attempt is counted", || proxy.stat("cluster.web.test.upstream_cx_connect_attempts_exceeded") == 1);
}

/// An HTTP/2 server that accepts every request's stream as a connection and sends back what comes, in capitals. Says
/// what it was asked.
fn h2_server(extended: bool) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    listening.set_nonblocking(true).unwrap();
    let address = listening.local_addr().unwrap();
    let (told, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listening = tokio::net::TcpListener::from_std(listening).unwrap();
            let stream = listening.accept().await.unwrap().0;
            let mut builder = h2::server::Builder::new();
            if extended {
                builder.enable_connect_protocol();
            }
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(request) = connection.accept().await {
                let (request, mut respond) = request.unwrap();
                let protocol = request.extensions().get::<h2::ext::Protocol>().map(|p| p.as_str().to_owned());
                told.send(format!("{} {} {protocol:?}", request.method(), request.uri())).unwrap();
                tokio::spawn(async move {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    let mut body = request.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        let _ = body.flow_control().release_capacity(data.len());
                        send.send_data(data.to_ascii_uppercase().into(), false).unwrap();
                    }
                    let _ = send.send_data(Bytes::new(), true);
                });
            }
        });
    });
    (address, asked)
}

#[test]
fn sessions_share_a_connection_through_connect_over_http2() {
    let (address, asked) = h2_server(false);
    let proxy = Proxy::start(&tcp(address, &tunnelled(""), HTTP2));
    for _ in 0..2 {
        let mut client = connect(&proxy);
        client.write_all(b"ping").unwrap();
        assert_eq!(exactly(&mut client, 4), "PING");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(asked.recv().unwrap(), "CONNECT db.test:5432 None");
    }
    assert_eq!(proxy.stat("cluster.web.test.upstream_cx_total"), 1);
}

#[test]
fn the_server_name_is_the_cluster_where_the_filter_says_so() {
    use crate::tls::pki::{Ask, Ca, server_config};
    let pair = Ca::new("ca").issue("web", &["web.test"]);
    let (backend, _) = crate::support::serve(Some(server_config(&pair, None, &[])));
    let filters = format!(
        "      - {{name: envoy.filters.network.sni_cluster, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster}}}}\n{}",
        tcp_proxy(", cluster: BlackHoleCluster")
    );
    let proxy = Proxy::start(&tcp(backend, &filters, ""));
    let told = Ask { name: "web.test", ..Ask::default() }.get(proxy.address("in")).unwrap();
    assert!(told.showed(&pair) && told.answer.starts_with("HTTP/1.1 200"));
    assert!(Ask { name: "other.test", ..Ask::default() }.get(proxy.address("in")).is_err());
}

#[test]
fn a_websocket_goes_to_an_http2_upstream_as_an_extended_connect() {
    let (address, asked) = h2_server(true);
    let upgrades = "          upgrade_configs: [{upgrade_type: websocket}]";
    let proxy = Proxy::start(&bootstrap(address, upgrades, TO_BACKEND, HTTP2));
    let mut client = connect(&proxy);
    client
        .write_all(b"GET /ws?x HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        .unwrap();
    let answer = head(&mut client).to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket"), "{answer}");
    client.write_all(b"ping").unwrap();
    assert_eq!(exactly(&mut client, 4), "PING");
    assert_eq!(asked.recv().unwrap(), "CONNECT http://a.test/ws?x Some(\"websocket\")");
}

#[test]
fn an_upgrade_to_an_http2_upstream_that_has_none_is_answered_with_503() {
    let (address, _asked) = h2_server(false);
    let upgrades = "          upgrade_configs: [{upgrade_type: websocket}]";
    let proxy = Proxy::start(&bootstrap(address, upgrades, TO_BACKEND, HTTP2));
    let mut client = connect(&proxy);
    client.write_all(b"GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn an_extended_connect_goes_to_an_http1_upstream_as_an_upgrade() {
    let (backend, _) = server();
    let hcm = "          upgrade_configs: [{upgrade_type: websocket}]\n          http2_protocol_options: {allow_connect: true}";
    let proxy = Proxy::start(&bootstrap(backend, hcm, TO_BACKEND, ""));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address("in")).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        while !send.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "http://a.test/ws".parse().unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from("ping"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut answer = response.into_body();
        assert_eq!(answer.data().await.unwrap().unwrap(), "ping");
    });
}
