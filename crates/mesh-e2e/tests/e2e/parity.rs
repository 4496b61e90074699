//! One bootstrap, one list of requests, two proxies: what the backend receives,
//! what the client gets and what the access log says are the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mesh_e2e::address::Network;
use mesh_e2e::echo::Echo;
use mesh_e2e::http1::{self, Answer};
use mesh_e2e::sidecar::{Kind, Sidecar, socket, wait_listening};
use mesh_e2e::wait;
use serde_json::{Value, json};

const LIMIT_S: u64 = 90;
const PORT: u16 = 8000;
/// Bytes of a large body.
const BODY: usize = 640 << 10;

/// What one request shows at all ends.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: BTreeMap<String, String>,
    /// Request line, headers and body as the backend got them; the body where the proxy itself answered.
    backend: Vec<String>,
}

/// Requests: name, method, path, headers.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("a plain request", "GET", "/plain?a=1&b=2", &[]),
    ("another method", "DELETE", "/plain", &[]),
    ("an exact path", "GET", "/exact", &[]),
    ("an exact path and a query", "GET", "/exact?x=y", &[]),
    ("longer than the exact path", "GET", "/exact/not", &[]),
    ("a regular expression", "GET", "/number/12345", &[]),
    ("not the whole of a regular expression", "GET", "/number/12x", &[]),
    ("a path in another case", "GET", "/IGNORED/case", &[]),
    ("a header that matches exactly", "GET", "/by-header", &[("x-user", "jason")]),
    ("a header that matches by prefix", "GET", "/by-header", &[("x-user", "jasmine")]),
    ("a header that must be absent", "GET", "/by-absence", &[]),
    ("a header that must be absent and is there", "GET", "/by-absence", &[("x-user", "anyone")]),
    ("a query parameter", "GET", "/by-query?version=2", &[]),
    ("another query parameter", "GET", "/by-query?version=1", &[]),
    ("a prefix that is rewritten", "GET", "/old/path?q=1", &[]),
    ("a path rewritten by a regular expression", "GET", "/service/abc/v1", &[]),
    ("an authority that is rewritten", "GET", "/new-host", &[]),
    ("a redirect of host and path", "GET", "/redirect?keep=me", &[]),
    ("a redirect of a prefix", "GET", "/moved/here", &[]),
    ("a redirect to https", "GET", "/secure", &[]),
    ("an answer by the proxy", "GET", "/direct", &[]),
    ("headers set, added and removed", "GET", "/headers", &[("x-remove", "gone"), ("x-set", "old")]),
    ("a header with a variable", "GET", "/headers", &[("x-user", "jason")]),
    ("a backend's own status", "GET", "/plain/status/418", &[]),
    ("a route that times out", "GET", "/slow", &[]),
    ("a status that is retried", "GET", "/retried/status/503", &[]),
    ("a status that is not retried", "GET", "/retried/status/500", &[]),
    ("an upstream that closes", "GET", "/close", &[]),
    ("a cluster without endpoints", "GET", "/nobody", &[]),
    ("a cluster that does not exist", "GET", "/nowhere", &[]),
    ("an upstream that refuses", "GET", "/refused", &[]),
    ("a path that needs normalising", "GET", "/a/../exact", &[]),
    ("a path with encoded characters", "GET", "/a%2Fb/%7Ec", &[]),
    ("no route at all", "GET", "/exact", &[("host", "unknown.example")]),
    ("a wildcard host", "GET", "/anything", &[("host", "www.wild.example")]),
    ("a host with its port", "GET", "/exact", &[("host", "web.example:8000")]),
    ("a host in another case", "GET", "/exact", &[("host", "WEB.example")]),
    ("a forwarded client", "GET", "/plain", &[("x-forwarded-for", "10.1.1.1"), ("x-forwarded-proto", "https")]),
    ("a request id of the client's", "GET", "/plain", &[("x-request-id", "00000000-0000-4000-8000-000000000000")]),
    ("a head only", "HEAD", "/plain", &[]),
];

/// Headers whose value is random, a time, or the proxy's own name.
const VARYING: &[&str] = &["x-request-id", "date", "x-envoy-upstream-service-time", "server"];

#[tokio::test]
async fn the_native_proxy_treats_requests_as_envoy_does() {
    let Some(envoy) = Kind::envoy() else { return };
    wait::bounded(LIMIT_S, async {
        let (ours, our_log) = observe(&Kind::Native).await;
        let (theirs, their_log) = observe(&envoy).await;
        let mut different = Vec::new();
        for (case, (ours, theirs)) in CASES.iter().zip(ours.iter().zip(&theirs)) {
            if ours != theirs {
                different.push(format!("{}:\n  native {ours:?}\n  envoy  {theirs:?}", case.0));
            }
        }
        for (case, (ours, theirs)) in CASES.iter().zip(our_log.iter().zip(&their_log)) {
            if ours != theirs {
                different.push(format!("{}: access log:\n  native {ours}\n  envoy  {theirs}", case.0));
            }
        }
        assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
        assert_eq!((our_log.len(), their_log.len()), (CASES.len(), CASES.len()), "every request is logged once");
    })
    .await;
}

/// Sends all requests through one proxy.
async fn observe(kind: &Kind) -> (Vec<Seen>, Vec<String>) {
    let network = Network::new();
    let backend = Echo::start(SocketAddr::new(network.ip(1), 0)).await;
    let listener = SocketAddr::new(network.ip(2), PORT);
    let admin = network.free(3);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let bootstrap = bootstrap(listener, admin, backend.address, network.ip(4), &log.display().to_string());
    let proxy = Sidecar::run(kind, "parity", &bootstrap, admin).await;
    wait_listening(listener).await;
    let mut seen = Vec::new();
    for (_, method, path, headers) in CASES {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", "web.example"));
        }
        let answer = http1::request(listener, method, path, &all).await;
        seen.push(
            answer.map(|answer| Seen::of(&answer, &network)).unwrap_or_else(|why| panic!("{method} {path}: {why}")),
        );
    }
    let lines = wait::until("the access log is written", Duration::from_secs(15), || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.lines().count() >= CASES.len() { Ok(text) } else { Err(format!("{} lines", text.lines().count())) }
    })
    .await;
    drop(proxy);
    (seen, lines.lines().map(|line| masked(line, &network)).collect())
}

/// Text without the addresses of one proxy's own network.
fn masked(text: &str, network: &Network) -> String {
    let prefix = network.ip(0).to_string();
    let prefix = prefix.trim_end_matches('0');
    let mut text = text.replace(prefix, "NET.");
    for host in 1..=4 {
        let mark = format!("NET.{host}:");
        while let Some(at) = text.find(&mark) {
            let end =
                text[at + mark.len()..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| at + mark.len() + n);
            text.replace_range(at..end, &format!("NET.{host}"));
        }
    }
    text
}

impl Seen {
    fn of(answer: &Answer, network: &Network) -> Self {
        let headers = answer.headers.iter().map(|(name, value)| {
            let value = if VARYING.contains(&name.as_str()) { "*".to_owned() } else { masked(value, network) };
            (name.clone(), value)
        });
        let mut backend: Vec<String> = answer.body.split("\r\n").map(|line| Self::line(line, network)).collect();
        // The order of different headers has no meaning.
        if backend.len() > 1 {
            backend[1..].sort();
        }
        let mut headers: BTreeMap<_, _> = headers.collect();
        // The body is compared; its length varies with the values that are masked in it.
        headers.remove("content-length");
        Self { status: answer.status, headers, backend }
    }

    fn line(line: &str, network: &Network) -> String {
        match line.split_once(": ") {
            Some((name, _)) if VARYING.contains(&name) => format!("{name}: *"),
            _ => masked(line, network),
        }
    }
}

fn bootstrap(listener: SocketAddr, admin: SocketAddr, backend: SocketAddr, refusing: IpAddr, log: &str) -> Value {
    let hcm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "parity",
        "normalize_path": true,
        "generate_request_id": true,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": log,
                "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
            },
        }],
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
        "route_config": {
            "name": "parity",
            "validate_clusters": false,
            "virtual_hosts": [
                {"name": "web", "domains": ["web.example", "web.example:*"], "routes": routes()},
                {"name": "wild", "domains": ["*.wild.example"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo"}}]},
            ],
        },
    });
    json!({
        "node": {"id": "parity", "cluster": "parity"},
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{
                "name": "web",
                "address": socket(listener),
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}]}],
            }],
            "clusters": [
                cluster("echo", &[backend]),
                cluster("nobody", &[]),
                cluster("refusing", &[SocketAddr::new(refusing, 9)]),
            ],
        },
    })
}

const LOG_FORMAT: &str = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(:AUTHORITY)%\" %UPSTREAM_HOST% %UPSTREAM_CLUSTER% \
    %DOWNSTREAM_LOCAL_ADDRESS% %ROUTE_NAME%\n";

fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> =
        endpoints.iter().map(|address| json!({"endpoint": {"address": socket(*address)}})).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

fn routes() -> Value {
    let to = |matcher: Value, action: Value| {
        let mut route = json!({"cluster": "echo"});
        route.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
        json!({"match": matcher, "route": route})
    };
    let header = |name: &str, value: &str| json!({"header": {"key": name, "value": value}});
    let set = |name: &str, value: &str| json!({"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let mark = |mut route: Value, value: &str| {
        route["name"] = json!(value);
        route["request_headers_to_add"] = json!([set("x-route", value)]);
        route
    };
    json!([
        mark(to(json!({"path": "/exact"}), json!({})), "exact"),
        mark(to(json!({"safe_regex": {"regex": "/number/[0-9]+"}}), json!({})), "regex"),
        mark(to(json!({"prefix": "/ignored", "case_sensitive": false}), json!({})), "ignored-case"),
        mark(to(json!({"prefix": "/by-header", "headers": [{"name": "x-user", "string_match": {"exact": "jason"}}]}), json!({})), "exact-header"),
        mark(to(json!({"prefix": "/by-header", "headers": [{"name": "x-user", "string_match": {"prefix": "jas"}}]}), json!({})), "prefix-header"),
        mark(to(json!({"prefix": "/by-absence", "headers": [{"name": "x-user", "present_match": false}]}), json!({})), "absent-header"),
        mark(to(json!({"prefix": "/by-query", "query_parameters": [{"name": "version", "string_match": {"exact": "2"}}]}), json!({})), "query"),
        mark(to(json!({"prefix": "/old/"}), json!({"prefix_rewrite": "/new/"})), "rewritten"),
        mark(to(json!({"prefix": "/service/"}), json!({"regex_rewrite": {"pattern": {"regex": "^/service/([^/]+)(/.*)$"}, "substitution": "\\2/instance/\\1"}})), "regex-rewritten"),
        mark(to(json!({"prefix": "/new-host"}), json!({"host_rewrite_literal": "other.example"})), "new-host"),
        {"match": {"prefix": "/redirect"}, "redirect": {"host_redirect": "other.example", "path_redirect": "/there", "response_code": "FOUND"}},
        {"match": {"prefix": "/moved"}, "redirect": {"prefix_rewrite": "/new", "response_code": "PERMANENT_REDIRECT"}},
        {"match": {"prefix": "/secure"}, "redirect": {"https_redirect": true}},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 418, "body": {"inline_string": "short and stout"}}},
        {
            "match": {"prefix": "/headers"},
            "route": {"cluster": "echo"},
            "request_headers_to_add": [
                set("x-set", "new"), header("x-added", "one"), header("x-added", "two"), set("x-was", "%REQ(x-user)%"),
            ],
            "request_headers_to_remove": ["x-remove"],
            "response_headers_to_add": [set("x-response", "yes"), set("x-code", "%RESPONSE_CODE%")],
            "response_headers_to_remove": ["x-backend"],
        },
        to(json!({"prefix": "/slow"}), json!({"timeout": "0.3s"})),
        to(json!({"prefix": "/retried"}), json!({"timeout": "0s", "retry_policy": {
            "retry_on": "retriable-status-codes", "retriable_status_codes": [503], "num_retries": 2,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.01s"}}})),
        to(json!({"prefix": "/nobody"}), json!({"cluster": "nobody"})),
        to(json!({"prefix": "/nowhere"}), json!({"cluster": "nowhere"})),
        to(json!({"prefix": "/refused"}), json!({"cluster": "refusing"})),
        to(json!({"prefix": "/"}), json!({})),
    ])
}

/// A WebSocket is opened through the proxy, and bytes go both ways.
async fn check_upgrade(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let network = Network::new();
        let backend = Echo::start(SocketAddr::new(network.ip(1), 0)).await;
        let (listener, admin) = (SocketAddr::new(network.ip(2), PORT), network.free(3));
        let bootstrap = bootstrap(listener, admin, backend.address, network.ip(4), "/dev/null");
        let _proxy = Sidecar::run(kind, "upgrade", &bootstrap, admin).await;
        wait_listening(listener).await;
        upgrade(listener).await.unwrap();
    })
    .await;
}

async fn upgrade(listener: SocketAddr) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(listener).await?;
    let request = "GET /socket HTTP/1.1\r\nhost: web.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await? > 0, "closed after {}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    for message in ["one", "and another"] {
        stream.write_all(message.as_bytes()).await?;
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, message.as_bytes());
    }
    Ok(())
}

/// Bodies of both framings, larger than any buffer, arrive whole at the backend and back.
async fn check_bodies(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let network = Network::new();
        let backend = Echo::start(SocketAddr::new(network.ip(1), 0)).await;
        let (listener, admin) = (SocketAddr::new(network.ip(2), PORT), network.free(3));
        let bootstrap = bootstrap(listener, admin, backend.address, network.ip(4), "/dev/null");
        let _proxy = Sidecar::run(kind, "bodies", &bootstrap, admin).await;
        wait_listening(listener).await;
        let body = "0123456789abcdef".repeat(BODY / 16);
        let head = "POST /body HTTP/1.1\r\nhost: web.example\r\nconnection: close\r\n";
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for request in [
            format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
            format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}"),
        ] {
            let answer = http1::exchange(listener, request.as_bytes()).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..answer.len().min(300)]);
            let back = answer.matches("0123456789abcdef").count();
            assert_eq!(back * 16, BODY, "the body comes back whole");
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_pass_the_native_proxy_whole() {
    check_bodies(&Kind::Native).await;
}

#[tokio::test]
async fn bodies_pass_envoy_whole() {
    let Some(envoy) = Kind::envoy() else { return };
    check_bodies(&envoy).await;
}

#[tokio::test]
async fn a_websocket_passes_the_native_proxy() {
    check_upgrade(&Kind::Native).await;
}

#[tokio::test]
async fn a_websocket_passes_envoy() {
    let Some(envoy) = Kind::envoy() else { return };
    check_upgrade(&envoy).await;
}
