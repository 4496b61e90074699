//! A connection whose bytes travel as the chunks of an HTTP/1.1 message
//! (RFC 9112, 7.1), in both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::stream::Stream;

/// See the module.
pub(crate) struct Chunked {
    stream: Stream,
    /// Read from the stream and not yet given out.
    read: BytesMut,
    state: State,
    /// To be written to the stream.
    pending: BytesMut,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The other side does not frame: everything until it ends is the body.
    Raw,
    /// A line with the next chunk's size comes.
    Size,
    /// So many bytes of the chunk are left.
    Data(u64),
    /// The line end after a chunk comes.
    AfterData,
    Ended,
}

impl Chunked {
    /// `rest` was read from `stream` before; `chunked`: what comes is framed.
    pub(crate) fn new(stream: Stream, rest: Bytes, chunked: bool) -> Self {
        let state = if chunked { State::Size } else { State::Raw };
        Self { stream, read: rest.into(), state, pending: BytesMut::new(), ended: false }
    }

    /// Gives out what is there; `None`: more must be read first.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Option<()>> {
        loop {
            match self.state {
                State::Ended => return Ok(Some(())),
                State::Raw | State::Data(_) if self.read.is_empty() => return Ok(None),
                State::Raw => {
                    let n = self.read.len().min(buf.remaining());
                    buf.put_slice(&self.read.split_to(n));
                    return Ok(Some(()));
                }
                State::Data(left) => {
                    let n = self.read.len().min(buf.remaining()).min(usize::try_from(left).unwrap_or(usize::MAX));
                    buf.put_slice(&self.read.split_to(n));
                    let left = left - n as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                    return Ok(Some(()));
                }
                State::AfterData => match self.line()? {
                    None => return Ok(None),
                    Some(_) => self.state = State::Size,
                },
                State::Size => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(digits, 16).map_err(|_| malformed())?;
                    self.state = if size == 0 { State::Ended } else { State::Data(size) };
                }
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let Some(end) = self.read.iter().position(|b| *b == b'\n') else {
            return if self.read.len() > LINE_BYTES_MAX { Err(malformed()) } else { Ok(None) };
        };
        let line = self.read.split_to(end + 1);
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let n = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Chunked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.take(buf)?.is_some() {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = [0; READ_BYTES];
            let mut more = ReadBuf::new(&mut scratch);
            std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, &mut more))?;
            if more.filled().is_empty() {
                return Poll::Ready(match this.state {
                    State::Raw | State::Ended => Ok(()),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
            this.read.extend_from_slice(more.filled());
        }
    }
}

impl AsyncWrite for Chunked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        std::task::ready!(this.drain(cx))?;
        let n = buf.len().min(CHUNK_BYTES_MAX);
        this.pending.extend_from_slice(format!("{n:x}\r\n").as_bytes());
        this.pending.extend_from_slice(&buf[..n]);
        this.pending.extend_from_slice(b"\r\n");
        // What does not go out now goes with the next write or flush.
        if let Poll::Ready(Err(error)) = this.drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Ends the message. The connection stays: the answer may go on.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.pending.extend_from_slice(b"0\r\n\r\n");
        }
        std::task::ready!(this.drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a chunk of the tunnel's answer is malformed")
}

const READ_BYTES: usize = 8 * 1024;
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// A chunk's size takes 16 digits; extensions are ignored, and bounded.
const LINE_BYTES_MAX: usize = 4096;
