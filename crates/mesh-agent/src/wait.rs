//! `agent wait`: waits until the proxy is ready.

use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use crate::fetch::{self, Bounds};

/// How to wait.
#[derive(Debug, Clone)]
pub struct Options {
    /// What answers 200 when the proxy is ready.
    pub url: String,
    /// How long to wait in all.
    pub timeout: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Time between requests.
    pub period: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "http://localhost:15021/healthz/ready".to_owned(),
            timeout: Duration::from_secs(60),
            request_timeout: Duration::from_millis(500),
            period: Duration::from_millis(500),
        }
    }
}

/// The proxy is not ready.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The URL cannot be asked.
    #[error("--url: found {found:?}, expected http://host[:port]/path")]
    Url {
        /// As given.
        found: String,
    },
    /// Not within the time.
    #[error("{url} is not ready after {waited:?}: {last}")]
    NotReady {
        /// What was asked.
        url: String,
        /// How long.
        waited: Duration,
        /// The last answer, or why there was none.
        last: String,
    },
}

const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Asks until the answer is 200.
///
/// # Errors
/// [`WaitError`]
pub async fn wait(options: &Options) -> Result<(), WaitError> {
    let wrong = || WaitError::Url { found: options.url.clone() };
    let uri: Uri = options.url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong());
    }
    let host = uri.host().ok_or_else(wrong)?;
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let bounds = Bounds { within: options.request_timeout, bytes_max: ANSWER_BYTES_MAX };
    let begun = Instant::now();
    loop {
        let last = match fetch::fetch(&Method::GET, &address, path, bounds).await {
            Ok((StatusCode::OK, _)) => return Ok(()),
            Ok((status, body)) => format!("{status}: {}", String::from_utf8_lossy(&body).trim()),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() + options.period > options.timeout {
            return Err(WaitError::NotReady { url: options.url.clone(), waited: begun.elapsed(), last });
        }
        tokio::time::sleep(options.period).await;
    }
}
