//! A TCP session through an HTTP proxy: CONNECT, or POST for proxies that know
//! no CONNECT, over HTTP/1.1 and HTTP/2.
//!
//! The session's bytes become the request's body, the response's body the
//! answer. What comes out is a connection like any other ([`Far`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use mesh_engine::Facts;
use mesh_engine::tcp::Tunnel;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::chunked::Chunked;
use crate::tls::stream::Stream;
use crate::upstream::Failure;
use crate::upstream::h2::{H2Stream, Lease};

/// The endpoint's side of a session.
pub(crate) enum Far {
    /// A connection of its own, directly or behind a CONNECT. The bytes were read too early.
    Own(Stream, Bytes),
    /// The body of a POST and of its response.
    Post(Chunked),
    /// A stream of a shared connection.
    Shared(H2Stream),
}

/// A tunnel's request.
pub(super) struct Ask {
    hostname: String,
    post_path: Option<Box<str>>,
    headers: HeaderMap,
}

impl Ask {
    /// The request for one session.
    pub(super) fn new(tunnel: &Tunnel, facts: &Facts<'_>) -> Self {
        let mut hostname = String::new();
        tunnel.hostname.write(facts, &mut hostname);
        let mut headers = HeaderMap::new();
        tunnel.headers.apply(&mut headers, facts);
        Self { hostname, post_path: tunnel.post_path.clone(), headers }
    }

    /// Over HTTP/2.
    pub(super) async fn over_http2(self, lease: Lease, secure: bool) -> Result<Far, Failure> {
        let scheme = if secure { "https" } else { "http" };
        let uri = match &self.post_path {
            None => Uri::builder().authority(self.hostname.as_str()).build(),
            Some(path) => {
                Uri::builder().scheme(scheme).authority(self.hostname.as_str()).path_and_query(&**path).build()
            }
        };
        let uri = uri.map_err(|e| refused(format!("the tunnel's host {:?}: {e}", self.hostname)))?;
        let mut request = Request::new(());
        *request.method_mut() = if self.post_path.is_some() { Method::POST } else { Method::CONNECT };
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let (response, stream) = lease.open(request).await?;
        match response.status().is_success() {
            true => Ok(Far::Shared(stream)),
            false => Err(refused(format!("the tunnel was refused with status {}", response.status().as_u16()))),
        }
    }

    /// Over HTTP/1.1, on a connection of its own.
    pub(super) async fn over_http1(self, mut stream: Stream) -> Result<Far, Failure> {
        let mut head = match &self.post_path {
            None => format!("CONNECT {0} HTTP/1.1\r\n{HOST}: {0}\r\n", self.hostname),
            Some(path) => {
                format!("POST {path} HTTP/1.1\r\n{HOST}: {}\r\ntransfer-encoding: chunked\r\n", self.hostname)
            }
        }
        .into_bytes();
        for (name, value) in self.headers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
            write_header(&mut head, name, value);
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(Failure::Connect)?;
        stream.flush().await.map_err(Failure::Connect)?;
        let (status, chunked, rest) = response_head(&mut stream).await.map_err(Failure::Connect)?;
        if !(200..300).contains(&status) {
            return Err(refused(format!("the tunnel was refused with status {status}")));
        }
        Ok(match self.post_path {
            None => Far::Own(stream, rest),
            Some(_) => Far::Post(Chunked::new(stream, rest, chunked)),
        })
    }
}

fn refused(text: String) -> Failure {
    Failure::Connect(io::Error::other(text))
}

fn write_header(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Status, whether the body is chunked, and what was read past the head.
async fn response_head(stream: &mut Stream) -> io::Result<(u16, bool, Bytes)> {
    let mut read = BytesMut::with_capacity(READ_BYTES);
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = read.split_to(end + 4);
            let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let status = text.strip_prefix("http/1.").and_then(|t| t.get(2..5)?.parse().ok());
            let status: u16 = status.ok_or_else(|| io::Error::other("the tunnel's answer is not HTTP/1"))?;
            // An interim answer is followed by another.
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let chunked = text.lines().any(|l| l.starts_with("transfer-encoding:") && l.contains("chunked"));
            return Ok((status, chunked, read.freeze()));
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the tunnel's answer has too long a head"));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl AsyncRead for Far {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(_, first) if !first.is_empty() => {
                let n = first.len().min(buf.remaining());
                buf.put_slice(&first[..n]);
                first.advance(n);
                Poll::Ready(Ok(()))
            }
            Self::Own(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Self::Post(body) => Pin::new(body).poll_read(cx, buf),
            Self::Shared(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Far {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_write(cx, buf),
            Self::Post(body) => Pin::new(body).poll_write(cx, buf),
            Self::Shared(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Post(body) => Pin::new(body).poll_flush(cx),
            Self::Shared(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Post(body) => Pin::new(body).poll_shutdown(cx),
            Self::Shared(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// How a message is framed is not for configuration to say.
const FRAMING: [HeaderName; 3] = [HOST, http::header::TRANSFER_ENCODING, http::header::CONTENT_LENGTH];
const READ_BYTES: usize = 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;
