//! Starts proxies, servers and clients.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_proxy::{Handle, Options};

/// A proxy that ends with the test.
pub(crate) struct Proxy {
    pub(crate) handle: Handle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.handle.wait();
    }
}

impl Proxy {
    /// Starts one from a bootstrap; `admin` on a free port is added.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_with(yaml, Options::default())
    }

    /// As [`Proxy::start`], with more options.
    pub(crate) fn start_with(yaml: &str, options: Options) -> Self {
        let admin = "\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n";
        let options = Options {
            config_yaml: Some(format!("{yaml}{admin}")),
            concurrency: Some(1),
            drain_time: Duration::from_secs(3),
            file_flush_interval: Duration::from_millis(20),
            ..options
        };
        let handle = mesh_proxy::start(options).unwrap_or_else(|e| panic!("{e}"));
        Self { handle }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.handle.listener_addresses(listener)[0]
    }

    /// `(status, body)` of an admin page.
    pub(crate) fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let address = self.handle.admin_address().unwrap();
        let text = http1(address, &format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.admin("GET", path).1).unwrap()
    }

    /// A counter or gauge by its full name; 0 if there is none.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let (_, text) = self.admin("GET", "/stats");
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |v| v.parse().unwrap())
    }
}

/// Sends `text` on a connection of its own and reads to the end.
pub(crate) fn http1(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until `holds`, at most five seconds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a server's requests ask for by their path.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Arc<AtomicUsize>,
}

/// An HTTP server (1 and 2) on a free port, until the process ends.
///
/// `/echo` answers with the request's body, `/head` with its head, `/fail/N`
/// with 503 for the first N requests, `/slow` after two seconds, `/trailers`
/// with trailers, anything else with `ok`.
pub(crate) fn server() -> (SocketAddr, Seen) {
    serve(None)
}

/// As [`server`], behind TLS if `tls`.
pub(crate) fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> (SocketAddr, Seen) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let own = seen.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, tls) = (own.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |r| answer(r, seen.clone()));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let Some(tls) = tls else {
                        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                        return;
                    };
                    if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
    });
    (address, seen)
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, seen: Seen) -> Result<Response<Body>, Infallible> {
    let number = seen.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let full = |text: String| Full::new(Bytes::from(text)).boxed();
    let mut response = Response::new(full("ok".to_owned()));
    match path.as_str() {
        "/echo" => {
            let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            response = Response::new(Full::new(body).boxed());
        }
        "/head" => response = Response::new(full(format!("{:?}", request.headers()))),
        "/slow" => tokio::time::sleep(Duration::from_secs(2)).await,
        "/ws" => {
            response = Response::new(full(String::new()));
            *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.unwrap();
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
        "/svc/trailers" => {
            let _ = request.into_body().collect().await;
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let frames = [Ok(Frame::data(Bytes::from("hello"))), Ok(Frame::trailers(trailers))];
            response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed());
            response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        }
        _ if path.starts_with("/fail/") => {
            let _ = request.into_body().collect().await;
            let times: usize = path["/fail/".len()..].parse().unwrap();
            if number < times {
                *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        _ => {}
    }
    Ok(response)
}

/// A bootstrap with one HTTP listener `in` whose routes are `routes`, one
/// static cluster `backend` at `backend`, and `more` appended to the cluster.
pub(crate) fn bootstrap(backend: SocketAddr, hcm: &str, routes: &str, more: &str) -> String {
    format!(
        "node: {{id: test, cluster: test}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
{hcm}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
{routes}
  clusters:
  - {{name: backend, type: STATIC, connect_timeout: 1s, load_assignment: {{cluster_name: backend, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]}}{more}}}
",
        backend.ip(),
        backend.port()
    )
}

pub(crate) const TO_BACKEND: &str = "              - {match: {prefix: /}, route: {cluster: backend}}";
pub(crate) const HTTP2: &str = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}";
