//! HTTP/1.1 keep-alive, both ends, as cheap as can be: one fixed request, one
//! fixed response, no parsing beyond what tells a whole response from a part.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Load;
use crate::bench::affinity;

/// Connections that the load generator keeps, each with one request in flight.
const CONNECTIONS: usize = 64;
/// Bytes of a response body.
const BODY: usize = 1024;
/// Bytes read at once; a whole message fits.
const BUFFER: usize = 16 * 1024;

const REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nhost: backend.default.svc.cluster.local:8000\r\nuser-agent: xtask\r\naccept: */*\r\n\r\n";

/// Answers on a free port until the process ends.
pub(super) fn serve() -> Result<SocketAddr, String> {
    let (address, listener) = super::http2::listen()?;
    std::thread::spawn(move || {
        affinity::pin(affinity::LOAD).ok();
        super::http2::on_this_thread(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        })
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    let mut response = head.into_bytes();
    response.resize(response.len() + BODY, b'x');
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            n => filled += n,
        }
        while let Some(end) = head_end(&buffer[..filled]) {
            buffer.copy_within(end..filled, 0);
            filled -= end;
            stream.write_all(&response).await?;
        }
    }
}

/// Sends requests on all connections for so many seconds.
pub(super) fn load(address: SocketAddr, seconds: f64) -> Result<Load, String> {
    super::http2::on_this_thread(async move {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        let tasks: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(connection(address, deadline))).collect();
        let mut total = Load::default();
        for task in tasks {
            let load = task.await.map_err(|error| error.to_string())?;
            total.add(load.map_err(|error| format!("{address}: {error}"))?);
        }
        Ok(total)
    })?
}

async fn connection(address: SocketAddr, deadline: Instant) -> std::io::Result<Load> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut load = Load::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let begun = Instant::now();
        if begun >= deadline {
            return Ok(load);
        }
        stream.write_all(REQUEST).await?;
        let success = response(&mut stream, &mut buffer).await?;
        load.latency.record(begun.elapsed());
        if success { load.done += 1 } else { load.failed += 1 }
    }
}

/// Reads one whole response; whether it is a 200.
async fn response(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<bool> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
        if let Some(end) = head_end(&buffer[..filled]) {
            let length = content_length(&buffer[..end]).ok_or(std::io::ErrorKind::InvalidData)?;
            while filled < end + length {
                match stream.read(&mut buffer[filled..]).await? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    n => filled += n,
                }
            }
            return Ok(buffer.starts_with(b"HTTP/1.1 200"));
        }
    }
}

/// Where the head ends: one past its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let at = head.windows(NAME.len()).position(|w| w.eq_ignore_ascii_case(NAME))?;
    let rest = &head[at + NAME.len()..];
    let line = &rest[..rest.iter().position(|b| *b == b'\r')?];
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}
