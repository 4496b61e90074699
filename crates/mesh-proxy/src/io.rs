//! A connection as both hyper and h2 want it: bytes already read come
//! first, and every byte is counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stats::sets::{ClusterStats, HttpStats};
use crate::tls::stream::Stream;

/// Whose byte counters a connection adds to.
pub(crate) enum Tally {
    Downstream(Arc<HttpStats>),
    Upstream(Arc<ClusterStats>),
}

impl Tally {
    fn read(&self, n: usize) {
        match self {
            Self::Downstream(s) => s.downstream_cx_rx_bytes_total.add(n as u64),
            Self::Upstream(s) => s.upstream_cx_rx_bytes_total.add(n as u64),
        }
    }

    fn wrote(&self, n: usize) {
        match self {
            Self::Downstream(s) => s.downstream_cx_tx_bytes_total.add(n as u64),
            Self::Upstream(s) => s.upstream_cx_tx_bytes_total.add(n as u64),
        }
    }
}

/// See the module.
pub(crate) struct Io {
    stream: Stream,
    first: Bytes,
    tally: Tally,
}

impl Io {
    /// `first` is what was read from `stream` before.
    pub(crate) fn new(stream: Stream, first: Bytes, tally: Tally) -> Self {
        tally.read(first.len());
        Self { stream, first, tally }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..n]);
            self.first.advance(n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.tally.read(buf.filled().len() - before);
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = result {
            self.tally.wrote(n);
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n)) = result {
            self.tally.wrote(n);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: tokio's `ReadBuf` only ever initializes more of the spare
        // space, and the cursor advances by exactly what it filled.
        let n = unsafe {
            let mut tokio_buf = ReadBuf::uninit(buf.as_mut());
            std::task::ready!(AsyncRead::poll_read(self, cx, &mut tokio_buf))?;
            tokio_buf.filled().len()
        };
        // SAFETY: the `n` bytes were filled above.
        unsafe { buf.advance(n) };
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(self, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, bufs)
    }
}
