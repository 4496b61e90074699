//! One downstream HTTP connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use mesh_engine::HttpConnectionManager;
use mesh_engine::hcm::Codec;
use tokio::io::AsyncReadExt;

use super::exchange::Downstream;
use super::request;
use crate::io::{Io, Tally};
use crate::tls::stream::Stream;
use crate::upstream::pool::millis;
use crate::worker::{ConnectionState, Entered, Limits};

/// The limits of connections under `hcm`.
pub(crate) fn limits(hcm: &HttpConnectionManager) -> Limits {
    Limits {
        idle: hcm.idle_timeout,
        lifetime: hcm.max_connection_duration,
        first_request: Some(hcm.request_headers_timeout.filter(|t| !t.is_zero()).unwrap_or(FIRST_REQUEST)),
    }
}

/// Serves a connection to its end. `first` was read from it before.
pub(crate) async fn serve(down: Rc<Downstream>, entered: Entered, mut stream: Stream, first: Bytes) {
    let stats = down.stats.clone();
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let mut first = BytesMut::from(first);
    let is_http2 = match down.hcm.codec {
        Codec::Http1 => Some(false),
        Codec::Http2 => Some(true),
        Codec::Auto => match down.tls.as_ref().and_then(|t| t.alpn.as_deref()) {
            Some(agreed) => Some(agreed == "h2"),
            None => detect(&mut stream, &mut first, &entered.state).await,
        },
    };
    if let Some(is_http2) = is_http2 {
        let io = Io::new(stream, first.freeze(), Tally::Downstream(stats.clone()));
        if is_http2 {
            stats.downstream_cx_http2_total.inc();
            stats.downstream_cx_http2_active.inc();
            over_http2(&down, io).await;
            stats.downstream_cx_http2_active.dec();
        } else {
            stats.downstream_cx_http1_total.inc();
            stats.downstream_cx_http1_active.inc();
            over_http1(&down, io).await;
            stats.downstream_cx_http1_active.dec();
        }
    }
    if entered.state.idle_timeouts.get() > 0 {
        stats.downstream_cx_idle_timeout.inc();
    }
    stats.downstream_cx_active.dec();
    stats.downstream_cx_destroy.inc();
    stats.downstream_cx_length_ms.record(millis(entered.state.opened.elapsed()));
}

/// Whether the first bytes are an HTTP/2 preface. `None` if the connection
/// ended before that was clear.
async fn detect(stream: &mut Stream, first: &mut BytesMut, state: &Rc<ConnectionState>) -> Option<bool> {
    loop {
        let seen = first.len().min(PREFACE.len());
        if first[..seen] != PREFACE[..seen] {
            return Some(false);
        }
        if seen == PREFACE.len() {
            return Some(true);
        }
        first.reserve(READ_BYTES);
        let mut read = std::pin::pin!(stream.read_buf(first));
        let n = poll_fn(|cx| {
            state.watch(cx.waker());
            // Nothing was asked yet: a drain may end it at once.
            if state.cut.get() || state.drain.get() {
                return Poll::Ready(Ok(0));
            }
            read.as_mut().poll(cx)
        })
        .await
        .ok()?;
        if n == 0 {
            return None;
        }
    }
}

async fn over_http1(down: &Rc<Downstream>, io: Io) {
    let hcm = &down.hcm;
    let mut builder = http1::Builder::new();
    // A head larger than the limit must still be read to be answered with its size.
    builder.max_buf_size((hcm.max_request_headers_kb as usize * 1024 + HEAD_SLACK_BYTES).max(HEAD_BUFFER_MIN));
    if hcm.max_headers_count as usize > HYPER_HEADERS {
        builder.max_headers(hcm.max_headers_count as usize + 1);
    }
    if let Some(timeout) = hcm.request_headers_timeout.filter(|t| !t.is_zero()) {
        builder.timer(TokioTimer::new()).header_read_timeout(timeout);
    }
    builder.title_case_headers(hcm.http1.proper_case).preserve_header_case(hcm.http1.preserve_case);
    let own = down.clone();
    let service = service_fn(move |request| request::serve(own.clone(), request));
    let mut connection = builder.serve_connection(io, service).with_upgrades();
    let ended = drive(Pin::new(&mut connection), &down.state, |c| c.graceful_shutdown()).await;
    count_error(down, ended);
}

async fn over_http2(down: &Rc<Downstream>, io: Io) {
    let options = &down.hcm.http2;
    let mut builder = http2::Builder::new(LocalTasks);
    builder
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_stream_window_size(options.initial_stream_window)
        .initial_connection_window_size(options.initial_connection_window)
        .header_table_size(options.header_table_size)
        .max_header_list_size(
            down.hcm.max_request_headers_kb.saturating_mul(1024).saturating_add(HEAD_SLACK_BYTES as u32),
        )
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    if options.allow_connect {
        builder.enable_connect_protocol();
    }
    if let Some((interval, timeout)) = options.keepalive {
        builder.timer(TokioTimer::new()).keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    let own = down.clone();
    let service = service_fn(move |request| request::serve(own.clone(), request));
    let mut connection = builder.serve_connection(io, service);
    let ended = drive(Pin::new(&mut connection), &down.state, |c| c.graceful_shutdown()).await;
    count_error(down, ended);
}

fn count_error(down: &Downstream, ended: Option<hyper::Result<()>>) {
    if let Some(Err(error)) = ended {
        if error.is_parse() || error.is_parse_too_large() {
            down.stats.downstream_cx_protocol_error.inc();
        }
        tracing::debug!(remote = %down.remote, %error, "A client's HTTP connection failed.");
    }
}

/// Runs a connection until it ends, or is cut (`None`). When it is to drain,
/// `drain` is called on it once.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    state: &ConnectionState,
    drain: impl Fn(Pin<&mut C>),
) -> Option<hyper::Result<()>> {
    let mut draining = false;
    poll_fn(|cx| {
        state.watch(cx.waker());
        if state.cut.get() {
            return Poll::Ready(None);
        }
        if !draining && state.drain.get() {
            draining = true;
            drain(connection.as_mut());
        }
        connection.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Runs a connection's streams as tasks of this worker.
#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalTasks
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What an HTTP/2 client says first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First read of a connection.
const READ_BYTES: usize = 4096;
/// A client gets this long for its first request, whatever is configured: a
/// connection that says nothing holds memory.
const FIRST_REQUEST: Duration = Duration::from_secs(60);
/// How much past the limit a head may be and still get an answer that names it.
const HEAD_SLACK_BYTES: usize = 64 * 1024;
/// hyper's least.
const HEAD_BUFFER_MIN: usize = 128 * 1024;
/// Headers that hyper parses without allocating.
const HYPER_HEADERS: usize = 100;
/// Body bytes of one stream that wait to be written.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
