//! HTTP through a proxy with a static bootstrap.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{HTTP2, Proxy, TO_BACKEND, bootstrap, eventually, http1, server};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a.b\r\nconnection: close\r\n\r\n")
}

#[test]
fn http1_goes_through_and_the_connection_is_kept() {
    let (backend, seen) = server();
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, ""));
    for _ in 0..3 {
        let answer = http1(proxy.address("in"), &get("/head"));
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("x-envoy-upstream-service-time") && answer.contains("server: envoy"), "{answer}");
        assert!(answer.contains("x-request-id") && answer.contains("\"x-forwarded-proto\": \"http\""), "{answer}");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 3);
    assert_eq!(proxy.stat("cluster.backend.upstream_cx_total"), 1);
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_200"), 3);
    eventually("the last connection is counted off", || proxy.stat("http.in.downstream_cx_active") == 0);
    assert_eq!(proxy.stat("http.in.downstream_rq_2xx"), 3);
}

#[test]
fn a_body_of_any_size_comes_back_over_both_protocols() {
    let (backend, _) = server();
    for more in ["", HTTP2] {
        let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, more));
        let body = "x".repeat(3_000_000);
        let text = format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = http1(proxy.address("in"), &text);
        let (head, echoed) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(echoed.len(), body.len(), "{head}");
    }
}

fn h2_call(
    address: SocketAddr,
    path: &'static str,
    headers: &[(&'static str, &'static str)],
    body: &'static str,
) -> (u16, String, Option<String>, hyper::HeaderMap) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://a.b{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = send.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailer = collected.trailers().and_then(|t| t.get("grpc-status")).map(|v| v.to_str().unwrap().to_owned());
        (parts.status.as_u16(), String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailer, parts.headers)
    })
}

#[test]
fn grpc_trailers_reach_the_client() {
    let (backend, _) = server();
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, HTTP2));
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let (status, body, trailer, _) = h2_call(proxy.address("in"), "/svc/trailers", &grpc, "hi");
    assert_eq!((status, body.as_str(), trailer.as_deref()), (200, "hello", Some("0")));
    assert_eq!(proxy.stat("cluster.backend.upstream_cx_http2_total"), 1);
}

#[test]
fn a_grpc_call_without_upstream_gets_its_status_in_the_headers() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(&bootstrap(nobody, "", TO_BACKEND, HTTP2));
    let (status, _, _, headers) = h2_call(proxy.address("in"), "/a/b", &[("content-type", "application/grpc")], "hi");
    assert_eq!((status, &headers["grpc-status"]), (200, &"14".parse::<hyper::header::HeaderValue>().unwrap()));
    assert!(headers["grpc-message"].to_str().unwrap().contains("remote connection failure"));
}

#[test]
fn local_replies_have_envoys_words() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let routes = "              - {match: {path: /gone}, route: {cluster: nope}}
              - {match: {path: /moved}, redirect: {host_redirect: c.d, path_redirect: /x}}
              - {match: {path: /said}, direct_response: {status: 418, body: {inline_string: tea}}}
              - {match: {prefix: /up}, route: {cluster: backend}}";
    let yaml = bootstrap(nobody, "", routes, "").replace("name: local", "name: local, validate_clusters: false");
    let yaml = yaml.replace(
        "            name: local, validate_clusters: false",
        "            name: local\n            validate_clusters: false",
    );
    let proxy = Proxy::start(&yaml);
    let ask = |path: &str| http1(proxy.address("in"), &get(path));
    assert!(ask("/none").starts_with("HTTP/1.1 404 Not Found"));
    assert!(ask("/gone").starts_with("HTTP/1.1 503"));
    let moved = ask("/moved");
    assert!(moved.starts_with("HTTP/1.1 301") && moved.contains("location: http://c.d/x"), "{moved}");
    assert!(ask("/said").ends_with("\r\n\r\ntea"));
    let failed = ask("/up");
    assert!(failed.starts_with("HTTP/1.1 503"), "{failed}");
    assert!(
        failed.ends_with(
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        ),
        "{failed}"
    );
}

#[test]
fn a_retry_sends_the_same_body_again() {
    let (backend, seen) = server();
    let routes = "              - {match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 5xx, num_retries: 3, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}}}";
    let proxy = Proxy::start(&bootstrap(backend, "", routes, ""));
    let text = "POST /fail/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    let answer = http1(proxy.address("in"), text);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 3);
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_retry"), 2);
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_retry_success"), 1);
}

#[test]
fn the_route_timeout_answers_504() {
    let (backend, _) = server();
    let routes = "              - {match: {prefix: /}, route: {cluster: backend, timeout: 0.1s}}";
    let proxy = Proxy::start(&bootstrap(backend, "", routes, ""));
    let began = Instant::now();
    let answer = http1(proxy.address("in"), &get("/slow"));
    assert!(answer.starts_with("HTTP/1.1 504") && answer.ends_with("upstream request timeout"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_timeout"), 1);
}

#[test]
fn a_websocket_goes_through_and_an_upgrade_that_is_not_allowed_does_not() {
    let (backend, _) = server();
    let upgrade = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let proxy =
        Proxy::start(&bootstrap(backend, "          upgrade_configs: [{upgrade_type: websocket}]", TO_BACKEND, ""));
    let mut stream = TcpStream::connect(proxy.address("in")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"ping").unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"ping");
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, ""));
    assert!(http1(proxy.address("in"), &upgrade.replace("Upgrade\r", "Upgrade, close\r")).starts_with("HTTP/1.1 403"));
}

#[test]
fn headers_past_the_limit_are_answered_with_the_limit() {
    let (backend, _) = server();
    let proxy = Proxy::start(&bootstrap(backend, "          max_request_headers_kb: 2", TO_BACKEND, ""));
    let text = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nbig: {}\r\n\r\n", "x".repeat(4000));
    let answer = http1(proxy.address("in"), &text);
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("limit 2 KiB"), "{answer}");
}

#[test]
fn past_the_request_limit_requests_are_refused() {
    let (backend, _) = server();
    let proxy =
        Proxy::start(&bootstrap(backend, "", TO_BACKEND, ", circuit_breakers: {thresholds: [{max_requests: 1}]}"));
    let address = proxy.address("in");
    let slow = std::thread::spawn(move || http1(address, &get("/slow")));
    eventually("the slow request is on its way", || proxy.stat("cluster.backend.upstream_rq_active") == 1);
    let refused = http1(address, &get("/"));
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("x-envoy-overloaded: true"), "{refused}");
    assert!(refused.ends_with("reset reason: overflow"), "{refused}");
    assert!(slow.join().unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn requests_over_the_connection_limit_wait_for_a_connection() {
    let (backend, _) = server();
    let proxy =
        Proxy::start(&bootstrap(backend, "", TO_BACKEND, ", circuit_breakers: {thresholds: [{max_connections: 1}]}"));
    let address = proxy.address("in");
    let calls: Vec<_> = (0..8).map(|_| std::thread::spawn(move || http1(address, &get("/head")))).collect();
    assert!(calls.into_iter().all(|c| c.join().unwrap().starts_with("HTTP/1.1 200")));
    assert_eq!(proxy.stat("cluster.backend.upstream_cx_total"), 1);
}

#[test]
fn draining_lets_a_request_finish_and_then_ends() {
    let (backend, _) = server();
    let proxy = Proxy::start(&bootstrap(backend, "", TO_BACKEND, ""));
    let address = proxy.address("in");
    let slow = std::thread::spawn(move || http1(address, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    eventually("the slow request is on its way", || proxy.stat("cluster.backend.upstream_rq_active") == 1);
    proxy.handle.drain();
    let answer = slow.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    proxy.handle.wait();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn requests_are_logged_when_they_end() {
    let (backend, _) = server();
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = format!(
        "          access_log: [{{name: f, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}, log_format: {{text_format_source: {{inline_string: \"%REQ(:METHOD)% %REQ(X)% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT% %UPSTREAM_CLUSTER%\\n\"}}}}}}}}]",
        file.path().display()
    );
    let proxy = Proxy::start(&bootstrap(backend, &log, TO_BACKEND, ""));
    http1(proxy.address("in"), "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\nconnection: close\r\n\r\n");
    let expected = "GET y 200 - 2 backend\n";
    eventually("the line is in the file", || std::fs::read_to_string(file.path()).unwrap() == expected);
}
