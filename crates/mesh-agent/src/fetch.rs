//! Small HTTP/1.1 requests to the admin interface, the application and the
//! agent itself, all on this machine, each bounded in time and size.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The path or host cannot stand in a request.
    #[error("{address}{path} is not a valid request target")]
    Target {
        /// `host:port`
        address: String,
        /// As given.
        path: String,
    },
    /// It is no HTTP, or the connection broke.
    #[error("{address}{path}: {source}")]
    Exchange {
        /// `host:port`
        address: String,
        /// As given.
        path: String,
        /// Why.
        source: hyper::Error,
    },
    /// The body could not be read, or is too large.
    #[error("{address}{path}: the answer breaks off, or has more than {bytes_max} bytes")]
    Body {
        /// `host:port`
        address: String,
        /// As given.
        path: String,
        /// What was allowed.
        bytes_max: usize,
    },
    /// No answer in time.
    #[error("{address}{path}: no answer within {within:?}")]
    Late {
        /// `host:port`
        address: String,
        /// As given.
        path: String,
        /// What was allowed.
        within: Duration,
    },
}

/// Where to and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) within: Duration,
    pub(crate) bytes_max: usize,
}

/// Sends one request without a body to `address` (`host:port`).
pub(crate) async fn fetch(
    method: &Method,
    address: &str,
    path: &str,
    bounds: Bounds,
) -> Result<(StatusCode, Bytes), FetchError> {
    let Bounds { within, bytes_max } = bounds;
    let late = || FetchError::Late { address: address.to_owned(), path: path.to_owned(), within };
    timeout(within, exchange(method, address, path, bytes_max)).await.unwrap_or_else(|_| Err(late()))
}

async fn exchange(
    method: &Method,
    address: &str,
    path: &str,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), FetchError> {
    let failed = |source| FetchError::Exchange { address: address.to_owned(), path: path.to_owned(), source };
    let request = Request::builder().method(method).uri(path).header(http::header::HOST, address);
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Target { address: address.to_owned(), path: path.to_owned() })?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| FetchError::Connect { address: address.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    connection.abort();
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        tracing::debug!(address, path, too_large = error.is::<LengthLimitError>(), "Answer not read.");
        FetchError::Body { address: address.to_owned(), path: path.to_owned(), bytes_max }
    };
    Ok((status, body.map_err(broken)?.to_bytes()))
}
