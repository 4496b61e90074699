//! An HTTP/1.1 server that answers with the request as it arrived, so that a
//! test can see what a proxy made of it.
//!
//! Paths with a meaning: one that ends in `/status/NNN` gets that status,
//! `/slow` is answered after [`SLOW`], `/close` closes the connection without
//! an answer, and a request to upgrade gets 101 and its own bytes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long `/slow` takes: longer than any route's timeout in a test.
pub const SLOW: Duration = Duration::from_secs(3);
/// A request's head and body together.
const REQUEST_MAX: usize = 4 << 20;

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Echo {
    /// Listens on `address`.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().unwrap_or(address);
        let requests = Arc::new(AtomicU64::new(0));
        let counter = requests.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, counter.clone()));
            }
        });
        Self { address, requests, task }
    }

    /// Requests that have arrived.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut stream: TcpStream, requests: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        requests.fetch_add(1, Ordering::Relaxed);
        let body = read_body(&mut stream, &mut buffer, &head).await?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if path == "/close" {
            return Ok(());
        }
        if path == "/slow" {
            tokio::time::sleep(SLOW).await;
        }
        if value(&head, "upgrade").is_some() {
            return upgraded(stream, &buffer).await;
        }
        let status = path.rsplit_once("/status/").map_or("200", |(_, status)| status);
        let text = format!("{head}\r\n\r\n{}", String::from_utf8_lossy(&body));
        let length = text.len();
        let text = if head.starts_with("HEAD ") { String::new() } else { text };
        let answer = format!("HTTP/1.1 {status} Echo\r\ncontent-length: {length}\r\nx-backend: echo\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads one head, without its last line end; `None` when the client has closed.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Ok(Some(head));
        }
        if buffer.len() > REQUEST_MAX || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> std::io::Result<Vec<u8>> {
    if value(head, "transfer-encoding").is_some() {
        while !buffer.windows(5).any(|w| w == b"0\r\n\r\n") {
            if stream.read_buf(buffer).await? == 0 {
                break;
            }
        }
        return Ok(joined(&std::mem::take(buffer)));
    }
    let length = value(head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0).min(REQUEST_MAX);
    while buffer.len() < length && stream.read_buf(buffer).await? > 0 {}
    Ok(buffer.drain(..length.min(buffer.len())).collect())
}

/// The data of chunks, whose boundaries are the proxy's own choice.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
        match size.and_then(|size| rest.get(end + 2..end + 2 + size)) {
            None | Some([]) => break,
            Some(chunk) => {
                body.extend_from_slice(chunk);
                rest = rest.get(end + 4 + chunk.len()..).unwrap_or_default();
            }
        }
    }
    body
}

async fn upgraded(mut stream: TcpStream, early: &[u8]) -> std::io::Result<()> {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(early).await?;
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await.map(drop)
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
