//! The response body on its way down. It carries the request's [`Exchange`]:
//! when the body ends, or is dropped, the request has ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_engine::{Outcome, ResponseFlags, grpc};

use super::exchange::{Exchange, TimedOut};
use crate::upstream::body::BodyError;
use crate::upstream::h1::H1Body;
use crate::upstream::h2::{H2Body, H2Stream};

/// Where the bytes come from.
pub(crate) enum Source {
    /// From here; empty when given.
    Local(Bytes),
    Http1(H1Body),
    Http2(H2Body),
    /// Not a body: a stream that became a connection.
    Upgraded(Box<H2Stream>),
}

/// See the module.
pub(crate) struct ResponseBody {
    source: Source,
    exchange: Box<Exchange>,
}

impl ResponseBody {
    pub(crate) fn new(source: Source, exchange: Box<Exchange>) -> Self {
        Self { source, exchange }
    }

    fn failed(&mut self) {
        let stats = &self.exchange.down.stats;
        stats.rq_reset_after_downstream_response_started.inc();
        stats.downstream_rq_tx_reset.inc();
        if let Some(attempt) = &self.exchange.attempt {
            attempt.upstream.stats.upstream_rq_rx_reset.inc();
        }
        self.exchange.flags.insert(ResponseFlags::UPSTREAM_REMOTE_RESET);
        self.exchange.details = Some("upstream_reset_after_response_started");
        self.exchange.observe(Outcome::Reset);
    }

    fn trailers(&mut self, trailers: &http::HeaderMap) {
        if self.exchange.grpc
            && let Some(status) = grpc::status_of(trailers)
        {
            self.exchange.observe(Outcome::Status(grpc::http_from_status(status)));
        }
        if let Some(answer) = &mut self.exchange.response {
            answer.trailers = Some(trailers.clone());
        }
    }

    fn timed_out(&mut self, which: TimedOut) -> BodyError {
        let (flag, details) = match which {
            TimedOut::Route => (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout"),
            TimedOut::Stream => (ResponseFlags::DURATION_TIMEOUT, "max_duration_timeout"),
            TimedOut::Idle => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
        };
        self.exchange.flags.insert(flag);
        self.exchange.details = Some(details);
        self.exchange.count_timeout(which);
        details.into()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Http1(body) => Pin::new(body).poll_frame(cx),
            Source::Http2(body) => Pin::new(body).poll_frame(cx),
            Source::Upgraded(_) => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(timer) = &mut this.exchange.timer {
                    timer.touch();
                }
                match frame.data_ref() {
                    Some(data) => this.exchange.bytes_sent += data.len() as u64,
                    None => {
                        this.exchange.complete = true;
                        if let Some(trailers) = frame.trailers_ref() {
                            this.trailers(trailers);
                        }
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                this.failed();
                Poll::Ready(Some(Err(e)))
            }
            Poll::Ready(None) => {
                this.exchange.complete = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let exchange = &mut *this.exchange;
                let Some(timer) = &mut exchange.timer else { return Poll::Pending };
                let which = std::task::ready!(timer.poll(cx, exchange.progress.as_deref()));
                Poll::Ready(Some(Err(this.timed_out(which))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(bytes) => bytes.is_empty(),
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
            Source::Upgraded(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.size_hint(),
            Source::Upgraded(_) => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A server that knows the length never polls for the end.
        if self.is_end_stream() {
            self.exchange.complete = true;
        }
    }
}
