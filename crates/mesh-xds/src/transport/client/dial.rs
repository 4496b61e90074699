//! An HTTP/2 connection to the control plane, as tonic wants it.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};

use super::{Options, Target};

/// Flow-control windows: a large response should not wait for a round trip per
/// 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect to {target}: {source}")]
    Connect { target: Target, source: io::Error },
    #[error("{target} does not speak HTTP/2: {source}")]
    Handshake { target: Target, source: hyper::Error },
    #[error("{target} did not answer within {within:?}")]
    Late { target: Target, within: Duration },
}

/// An open connection; dropping it closes it.
pub(super) struct Connection {
    pub(super) requests: Http2,
    task: JoinHandle<Result<(), hyper::Error>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn dial(options: &Options) -> Result<Connection, DialError> {
    let target = &options.target;
    let within = options.connect_timeout;
    timeout(within, connect(options)).await.unwrap_or_else(|_| Err(DialError::Late { target: target.clone(), within }))
}

async fn connect(options: &Options) -> Result<Connection, DialError> {
    let failed = |source| DialError::Connect { target: options.target.clone(), source };
    match &options.target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            handshake(stream, options).await
        }
        Target::Unix(path) => handshake(UnixStream::connect(path).await.map_err(failed)?, options).await,
    }
}

async fn handshake<IO>(stream: IO, options: &Options) -> Result<Connection, DialError>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| DialError::Handshake { target: options.target.clone(), source })?;
    Ok(Connection { requests: Http2(requests), task: tokio::spawn(connection) })
}

/// Makes hyper's sender a tower service.
#[derive(Clone)]
pub(super) struct Http2(SendRequest<Body>);

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
