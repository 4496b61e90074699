//! Copies of requests, and what filters say about answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Proxy, bootstrap, eventually, http1, server};

const MIRRORED: &str =
    "              - {match: {prefix: /}, route: {cluster: backend, request_mirror_policies: [{cluster: shadow}]}}";

/// A proxy before `backend` that copies every request to `shadow`.
fn proxy(backend: SocketAddr, shadow: SocketAddr) -> Proxy {
    let yaml = bootstrap(backend, "", MIRRORED, "");
    let cluster = yaml.lines().find(|l| l.contains("{name: backend,")).unwrap().to_owned();
    let cluster = cluster
        .replace("backend", "shadow")
        .replace(&format!("port_value: {}", backend.port()), &format!("port_value: {}", shadow.port()));
    Proxy::start(&format!("{yaml}\n{cluster}\n").replace("\n\n", "\n"))
}

/// A server that keeps what it is sent, and answers it or not.
fn recorder(answers: bool) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let own = kept.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, own) = (stream.unwrap(), own.clone());
            std::thread::spawn(move || {
                let mut text = String::new();
                let mut buffer = [0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .to_lowercase()
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
                    if body.len() >= length {
                        own.lock().unwrap().push(std::mem::take(&mut text));
                        if answers {
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, kept)
}

fn post(body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nhost: a.b\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_copy_has_the_whole_body_and_a_host_that_says_that_it_is_one() {
    let (backend, _) = server();
    let (shadow, kept) = recorder(true);
    let proxy = proxy(backend, shadow);
    let body = "x".repeat(200_000);
    for _ in 0..2 {
        let answer = http1(proxy.address("in"), &post(&body));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body), "{}", &answer[..200]);
    }
    eventually("both copies arrive", || kept.lock().unwrap().len() == 2);
    for copy in kept.lock().unwrap().iter() {
        let (head, copied) = copy.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("host: a.b-shadow\r\n") || head.ends_with("host: a.b-shadow"), "{head}");
        assert!(copied == body, "{} bytes", copied.len());
    }
    eventually("answers to copies are counted", || proxy.stat("cluster.shadow.upstream_rq_200") == 2);
    assert_eq!(proxy.stat("cluster.shadow.upstream_rq_active"), 0);
    assert_eq!(proxy.stat("cluster.backend.upstream_rq_200"), 2);
}

#[test]
fn a_mirror_that_never_answers_or_is_not_there_changes_nothing() {
    let (backend, _) = server();
    let (silent, _) = recorder(false);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for shadow in [silent, nobody] {
        let proxy = proxy(backend, shadow);
        let began = Instant::now();
        let answer = http1(proxy.address("in"), &post("hello"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_page_of_an_allowed_origin_may_read_the_answer() {
    let (backend, _) = server();
    let filter = "          http_filters:
          - name: envoy.filters.http.cors
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}";
    let route = "              - {match: {prefix: /}, route: {cluster: backend}, typed_per_filter_config: {envoy.filters.http.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: 'http://good'}]}}}";
    let yaml = bootstrap(backend, "", route, "").replacen("          http_filters:", filter, 1);
    let proxy = Proxy::start(&yaml);
    let ask = |origin: &str| {
        http1(
            proxy.address("in"),
            &format!("GET / HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\nconnection: close\r\n\r\n"),
        )
    };
    assert!(ask("http://good").contains("access-control-allow-origin: http://good"));
    assert!(!ask("http://bad").contains("access-control-allow-origin"));
}
