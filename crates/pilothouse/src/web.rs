//! One HTTP GET or POST to a debug or admin page of our own, bounded in time
//! and size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::failure::{Failure, Result};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Bytes,
}

/// Asks `url`, which must be `http://`.
///
/// # Errors
/// If nobody answers in [`PATIENCE`], or more than [`BODY_MAX`] bytes.
pub(crate) async fn request(method: &http::Method, url: &str) -> Result<Answer> {
    let ask = async {
        let uri: http::Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| format!("{url} names no host"))?.clone();
        if uri.scheme_str() != Some("http") {
            return Err(format!("{url}: only http:// is spoken here"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(text)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        let driver = tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = http::Request::builder().method(method).uri(path).header("host", authority.as_str());
        let request = request.body(Empty::<Bytes>::new()).map_err(text)?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(|e| e.to_string())?;
        driver.abort();
        Ok(Answer { status, body: body.to_bytes() })
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(Failure::Other(format!("cannot ask {url}: {why}"))),
        Err(_) => Err(Failure::Other(format!("cannot ask {url}: no answer in {PATIENCE:?}"))),
    }
}

/// The JSON document at `url`.
///
/// # Errors
/// As [`request`], and if the status is not 200 or the body is not JSON.
pub(crate) async fn json(url: &str) -> Result<serde_json::Value> {
    let answer = request(&http::Method::GET, url).await?;
    if answer.status != 200 {
        let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(SHOWN_MAX)]).trim().to_owned();
        return Err(Failure::Other(format!("{url} answers with status {}: {text}", answer.status)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::other(format!("{url}: the answer is not JSON"), &error))
}

fn text(error: impl std::error::Error) -> String {
    crate::failure::chain(&error)
}

/// A debug page of a large mesh takes some seconds; a dead peer must not hold us longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// More than the dump of a proxy that sees thousands of services.
const BODY_MAX: usize = 512 << 20;
/// As much of an error page as goes into a message.
const SHOWN_MAX: usize = 500;
