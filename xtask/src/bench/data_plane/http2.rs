//! HTTP/2 over cleartext, both ends: GET with a 1 KiB body, and unary gRPC
//! calls, which are a POST whose status comes in trailers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use super::Load;
use crate::bench::affinity;

/// Connections, and requests in flight on each.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 10;
/// Wide enough that flow control never waits.
const WINDOW: u32 = 8 << 20;
/// A proxy that multiplexes everything over one upstream connection must not be held back.
const STREAMS_MAX: u32 = 4096;
/// Bytes of a GET's response body.
const BODY: usize = 1024;
/// A gRPC frame: not compressed, 14 bytes that follow.
const MESSAGE: &[u8] = b"\0\0\0\0\x0ehello, backend";
const URI: &str = "http://backend.default.svc.cluster.local:8000/bench.Echo/Unary";

/// What is called.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Call {
    /// GET, answered with 1 KiB.
    Get,
    /// A unary gRPC call.
    Unary,
}

/// Answers GET and unary calls on a free port until the process ends.
pub(super) fn serve() -> Result<SocketAddr, String> {
    let (address, listener) = listen()?;
    std::thread::spawn(move || {
        affinity::pin(affinity::LOAD).ok();
        on_this_thread(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream));
            }
        })
    });
    Ok(address)
}

async fn connection(stream: TcpStream) -> Result<(), h2::Error> {
    stream.set_nodelay(true).ok();
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).max_concurrent_streams(STREAMS_MAX);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        if request.method() == Method::GET {
            get(respond)?;
        } else {
            tokio::spawn(unary(request.into_body(), respond));
        }
    }
    Ok(())
}

fn get(mut respond: h2::server::SendResponse<Bytes>) -> Result<(), h2::Error> {
    static PAGE: [u8; BODY] = [b'x'; BODY];
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    respond.send_response(response, false)?.send_data(Bytes::from_static(&PAGE), true)
}

async fn unary(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Sends calls on all streams of all connections for so many seconds.
pub(super) fn load(address: SocketAddr, seconds: f64, call: Call) -> Result<Load, String> {
    on_this_thread(async move {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let sender = connect(address).await.map_err(|error| format!("{address}: {error}"))?;
            tasks.extend((0..STREAMS).map(|_| tokio::spawn(stream(sender.clone(), deadline, call))));
        }
        let mut total = Load::default();
        for task in tasks {
            let load = task.await.map_err(|error| error.to_string())?;
            total.add(load.map_err(|error| format!("{address}: {error}"))?);
        }
        Ok(total)
    })?
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn stream(mut sender: SendRequest<Bytes>, deadline: Instant, call: Call) -> Result<Load, h2::Error> {
    let mut load = Load::default();
    loop {
        let begun = Instant::now();
        if begun >= deadline {
            return Ok(load);
        }
        sender = sender.ready().await?;
        let success = exchange(&mut sender, call).await?;
        load.latency.record(begun.elapsed());
        if success { load.done += 1 } else { load.failed += 1 }
    }
}

/// One request and its whole response; whether it is a success.
async fn exchange(sender: &mut SendRequest<Bytes>, call: Call) -> Result<bool, h2::Error> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static(URI);
    if call == Call::Unary {
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        headers.insert("te", http::HeaderValue::from_static("trailers"));
    }
    let (response, mut body) = sender.send_request(request, call == Call::Get)?;
    if call == Call::Unary {
        body.send_data(Bytes::from_static(MESSAGE), true)?;
    }
    let response = response.await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let whole = match call {
        Call::Get => length == BODY,
        Call::Unary => trailers.is_some_and(|t| t.get("grpc-status").is_some_and(|s| s == "0")),
    };
    Ok(status == StatusCode::OK && whole)
}

/// A listener on a free port of the loopback.
pub(super) fn listen() -> Result<(SocketAddr, std::net::TcpListener), String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    Ok((listener.local_addr().map_err(|error| error.to_string())?, listener))
}

/// Runs a future to its end on this thread alone.
pub(super) fn on_this_thread<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(future))
}
