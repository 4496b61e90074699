//! One HTTP/1.1 request on a connection of its own: enough for debug pages,
//! admin interfaces, and for sending what a well-behaved client would not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header names (lower case) and values, in order.
    pub headers: Vec<(String, String)>,
    /// Body, with chunks joined.
    pub body: String,
}

impl Answer {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.body))
    }
}

/// `GET path`, with the address as the host.
///
/// # Errors
/// What the connection ended with, or that the answer is not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    get_with(address, path, &[("host", &address.to_string())]).await
}

/// `GET path` with these headers.
///
/// # Errors
/// As [`get`].
pub async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    request(address, "GET", path, headers).await
}

/// Any method, without a body.
///
/// # Errors
/// As [`get`].
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let bytes = exchange(address, text.as_bytes()).await?;
    parse(&bytes).ok_or_else(|| format!("{address}{path}: not an HTTP answer: {}", String::from_utf8_lossy(&bytes)))
}

/// Sends bytes as they are, and reads until the other end closes.
///
/// # Errors
/// What the connection ended with, or that it took too long.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let work = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // A server that answers before it has read everything may reset: the answer counts.
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(answer),
        }
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no whole answer within {LIMIT:?}")),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = &bytes[end + 4..];
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}
