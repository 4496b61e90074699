//! `agent request METHOD PATH`: one request to the proxy's admin interface.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::fetch::{self, Bounds, FetchError};

/// What to ask.
#[derive(Debug, Clone)]
pub struct Options {
    /// `GET`, `POST`, ...
    pub method: Method,
    /// Path with query, beginning with `/` (one is added if it is missing).
    pub path: String,
    /// Port on loopback: the admin interface's, or one of the agent's own.
    pub port: u16,
}

/// Large enough for a `/config_dump` of a big mesh.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(60), bytes_max: 1 << 30 };

/// Sends the request.
///
/// # Errors
/// [`FetchError`] if there is no answer. An answer with an error status is an
/// answer.
pub async fn request(options: &Options) -> Result<(StatusCode, String), FetchError> {
    let slash = if options.path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{}", options.path);
    let address = format!("127.0.0.1:{}", options.port);
    let (status, body) = fetch::fetch(&options.method, &address, &path, BOUNDS).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
