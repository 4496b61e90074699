//! gRPC without code generation: replicas that count their calls, and a client
//! that makes unary calls over one HTTP/2 connection.
//!
//! A message's bytes are opaque: a replica answers with its own name.
//!
//! Invariant: a dropped [`Replica`] closes its listener and its connections at
//! once, as a crashed process does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Longest wait for one call.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// A gRPC server that answers every unary call with its own name.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    connections: AtomicU64,
    status: AtomicUsize,
    delay_ms: AtomicU64,
}

impl Replica {
    /// Listens on `address`.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(name: &str, address: SocketAddr) -> Self {
        let listener = listen(address).unwrap_or_else(|error| panic!("{name}: {address}: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{name}: {error}"));
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(serve(listener, Arc::from(name), counters.clone()));
        Self { address, counters, task }
    }

    /// Calls answered so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counters.calls.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// From now on every call gets this gRPC status; 0 for success.
    pub fn answer_with(&self, status: u8) {
        self.counters.status.store(usize::from(status), Ordering::Relaxed);
    }

    /// From now on every call takes this long.
    pub fn delay(&self, delay: Duration) {
        self.counters.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, name: Arc<str>, counters: Arc<Counters>) {
    // Connections live in this set, and so end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(stream, name.clone(), counters.clone()));
    }
}

async fn connection(stream: TcpStream, name: Arc<str>, counters: Arc<Counters>) -> Result<(), h2::Error> {
    stream.set_nodelay(true).ok();
    let mut connection = h2::server::Builder::new().max_concurrent_streams(1000).handshake::<_, Bytes>(stream).await?;
    let mut calls = JoinSet::new();
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        calls.spawn(answer(request.into_body(), respond, name.clone(), counters.clone()));
        while calls.try_join_next().is_some() {}
    }
    Ok(())
}

async fn answer(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    name: Arc<str>,
    counters: Arc<Counters>,
) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    match counters.delay_ms.load(Ordering::Relaxed) {
        0 => {}
        ms => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
    counters.calls.fetch_add(1, Ordering::Relaxed);
    let status = counters.status.load(Ordering::Relaxed);
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if status != 0 {
        response.headers_mut().insert("grpc-status", HeaderValue::from(status));
        respond.send_response(response, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(frame(name.as_bytes()), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// A message in gRPC's framing: not compressed, length, bytes.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

/// What came of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub http: u16,
    /// gRPC status, from the trailers or, where there was no message, from the headers.
    pub grpc: Option<u16>,
    /// The message: the name of the replica that answered.
    pub message: String,
    /// All response headers.
    pub headers: Vec<(String, String)>,
}

impl Reply {
    /// The replica that answered.
    ///
    /// # Errors
    /// What came instead.
    pub fn replica(self) -> Result<String, String> {
        match (self.http, self.grpc) {
            (200, Some(0)) => Ok(self.message),
            _ => Err(format!("HTTP {}, gRPC status {:?}, {:?}", self.http, self.grpc, self.headers)),
        }
    }
}

/// A client with one HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Client {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Client {
    /// Connects to `address`; calls name `authority`.
    ///
    /// # Errors
    /// What the connection ended with.
    pub async fn connect(address: SocketAddr, authority: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("{address}: {error}"))?;
        let (sender, connection) =
            h2::client::handshake(stream).await.map_err(|error| format!("{address}: {error}"))?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: authority.to_owned() })
    }

    /// One unary call of `/mesh.Echo/Unary`.
    ///
    /// # Errors
    /// What the stream or its connection ended with.
    pub async fn call(&self) -> Result<Reply, String> {
        self.call_with("/mesh.Echo/Unary", &[]).await
    }

    /// One unary call of any method, with headers of one's own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Reply, String> {
        match tokio::time::timeout(CALL_LIMIT, self.exchange(path, headers)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {CALL_LIMIT:?}")),
        }
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(Method::POST).uri(format!("http://{}{path}", self.authority));
        request = request.header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request.body(())?, false)?;
        body.send_data(frame(b"who"), true)?;
        let response = response.await?;
        let status = |map: &HeaderMap| map.get("grpc-status").and_then(|s| s.to_str().ok()?.parse().ok());
        let (http, mut grpc) = (response.status().as_u16(), status(response.headers()));
        let headers =
            response.headers().iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()));
        let headers = headers.collect();
        let mut body = response.into_body();
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message.extend_from_slice(&data);
        }
        if let Some(trailers) = body.trailers().await? {
            grpc = status(&trailers);
        }
        let message = String::from_utf8_lossy(message.get(5..).unwrap_or_default()).into_owned();
        Ok(Reply { http, grpc, message, headers })
    }
}

/// Calls per replica of many calls one after the other over one connection.
///
/// # Errors
/// The first call that failed, and how many had succeeded.
pub async fn spread(client: &Client, calls: usize) -> Result<std::collections::BTreeMap<String, u64>, String> {
    let mut count = std::collections::BTreeMap::new();
    for number in 0..calls {
        let replica = client.call().await.and_then(Reply::replica).map_err(|why| format!("call {number}: {why}"))?;
        *count.entry(replica).or_default() += 1;
    }
    Ok(count)
}
