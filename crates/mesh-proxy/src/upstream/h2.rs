//! One HTTP/2 connection to an endpoint, shared by the requests of a worker.
//!
//! Requests talk to h2 themselves: their frames go into h2's queues, and the
//! connection's one task writes what has gathered by its next turn.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use mesh_engine::cluster::Http2Options;
use mesh_engine::tls::TlsFacts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Failure;
use super::body::{BodyError, ReqBody};
use super::pool::Counted;
use crate::io::Io;

/// An open connection.
pub(crate) struct H2 {
    send: SendRequest<Bytes>,
    streams_max: usize,
    pub(crate) active: Cell<usize>,
    pub(crate) requests: Cell<u32>,
    pub(crate) opened: Instant,
    pub(crate) idle_since: Cell<Instant>,
    /// Takes no new requests: it has ended, or is told to go away.
    pub(crate) closing: Rc<Cell<bool>>,
    pub(crate) tls: Option<Arc<TlsFacts>>,
}

/// One stream of a connection.
pub(crate) struct Lease(Rc<H2>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        if self.0.active.get() == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

impl H2 {
    pub(crate) async fn handshake(
        io: Io,
        counted: Counted,
        options: &Http2Options,
        tls: Option<Arc<TlsFacts>>,
    ) -> Result<Rc<Self>, Failure> {
        let (send, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(options.initial_stream_window)
            .initial_connection_window_size(options.initial_connection_window)
            .header_table_size(options.header_table_size)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|e| stream_failure(&e))?;
        let closing = Rc::new(Cell::new(false));
        let flag = closing.clone();
        let pings = options.keepalive.zip(connection.ping_pong());
        let task = tokio::task::spawn_local(async move {
            let _counted = counted;
            // How it ended reaches every stream; nothing else is to be told.
            let _ = connection.await;
            flag.set(true);
        });
        if let Some(((interval, timeout), pings)) = pings {
            tokio::task::spawn_local(keep_alive(pings, interval, timeout, closing.clone(), task.abort_handle()));
        }
        Ok(Rc::new(Self {
            send,
            streams_max: options.max_concurrent_streams as usize,
            active: Cell::new(0),
            requests: Cell::new(0),
            opened: Instant::now(),
            idle_since: Cell::new(Instant::now()),
            closing,
            tls,
        }))
    }

    /// Whether one more request may go out on it now.
    pub(crate) fn has_room(&self) -> bool {
        !self.closing.get() && self.active.get() < self.streams_max.min(self.send.current_max_send_streams())
    }

    pub(crate) fn lease(self: &Rc<Self>) -> Lease {
        self.active.set(self.active.get() + 1);
        self.requests.set(self.requests.get() + 1);
        Lease(self.clone())
    }
}

impl Lease {
    /// Sends `head` and waits for the response's head, while `body` goes up.
    ///
    /// # Errors
    /// With `true` if nothing of the request was sent.
    pub(crate) async fn exchange(
        self,
        head: Request<()>,
        body: &mut Option<ReqBody>,
    ) -> Result<Response<H2Body>, (Failure, Option<Request<()>>)> {
        let mut send = self.0.send.clone();
        if let Err(e) = std::future::poll_fn(|cx| send.poll_ready(cx)).await {
            self.0.closing.set(true);
            return Err((stream_failure(&e), Some(head)));
        }
        let bodiless = body.as_ref().is_none_or(Body::is_end_stream);
        let (response, stream) = match send.send_request(head, bodiless) {
            Ok(sent) => sent,
            Err(e) => {
                if e.is_go_away() || e.is_io() {
                    self.0.closing.set(true);
                }
                return Err((stream_failure(&e), None));
            }
        };
        let mut pump = match body.take() {
            Some(body) if !bodiless => Some(Pump { body, stream, held: None }),
            _ => None,
        };
        let mut response = std::pin::pin!(response);
        let result = std::future::poll_fn(|cx| {
            if let Some(running) = &mut pump
                && let Poll::Ready(done) = running.poll(cx)
            {
                pump = None;
                if let Err(failure) = done {
                    return Poll::Ready(Err(failure));
                }
            }
            response.as_mut().poll(cx).map_err(|e| {
                if e.is_go_away() || e.is_io() {
                    self.0.closing.set(true);
                }
                stream_failure(&e)
            })
        })
        .await;
        let response = result.map_err(|failure| (failure, None))?;
        if let Some(mut pump) = pump {
            // Both directions must be able to wait for their own reader.
            tokio::task::spawn_local(async move {
                let _ = std::future::poll_fn(|cx| pump.poll(cx)).await;
            });
        }
        Ok(response.map(|recv| H2Body { recv, data_ended: false, _lease: self }))
    }
}

impl Lease {
    /// Opens a stream whose two bodies are a connection of their own: CONNECT, or a POST that never ends.
    pub(crate) async fn open(self, head: Request<()>) -> Result<(Response<()>, H2Stream), Failure> {
        if head.extensions().get::<h2::ext::Protocol>().is_some() {
            self.wait_for_settings().await?;
        }
        let mut send = self.0.send.clone();
        let ready = std::future::poll_fn(|cx| send.poll_ready(cx)).await;
        let sent = ready.and_then(|()| send.send_request(head, false));
        let (response, stream) = sent.map_err(|e| self.failed(&e))?;
        let response = response.await.map_err(|e| self.failed(&e))?;
        let (parts, recv) = response.into_parts();
        let body = H2Stream { send: stream, recv, held: Bytes::new(), ended: false, _lease: self };
        Ok((Response::from_parts(parts, ()), body))
    }

    /// Whether the other side takes extended CONNECT is in its settings, which
    /// may come after the connection is up.
    async fn wait_for_settings(&self) -> Result<(), Failure> {
        for _ in 0..SETTINGS_LOOKS {
            if self.0.send.is_extended_connect_protocol_enabled() {
                return Ok(());
            }
            if self.0.closing.get() {
                return Err(Failure::Terminated);
            }
            tokio::time::sleep(SETTINGS_PAUSE).await;
        }
        Err(Failure::Reset { refused: false })
    }

    fn failed(&self, error: &h2::Error) -> Failure {
        if error.is_go_away() || error.is_io() {
            self.0.closing.set(true);
        }
        stream_failure(error)
    }
}

/// A stream as a connection.
pub(crate) struct H2Stream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    held: Bytes,
    ended: bool,
    _lease: Lease,
}

impl H2Stream {
    /// The response's body alone; nothing more is sent.
    pub(crate) fn into_body(mut self) -> H2Body {
        // A stream that was reset needs no end.
        let _ = self.send.send_data(Bytes::new(), true);
        H2Body { recv: self.recv, data_ended: false, _lease: self._lease }
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.held.is_empty() {
            match std::task::ready!(this.recv.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(data)) => {
                    // Room is given back as the bytes are asked for.
                    let _ = this.recv.flow_control().release_capacity(data.len());
                    this.held = data;
                }
            }
        }
        let n = this.held.len().min(buf.remaining());
        buf.put_slice(&this.held.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.send.reserve_capacity(buf.len());
        let room = match this.send.capacity() {
            0 => match std::task::ready!(this.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let n = room.min(buf.len());
        this.send.send_data(Bytes::copy_from_slice(&buf[..n]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    /// The connection's task writes what has gathered.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            // A stream that was reset needs no end.
            let _ = self.send.send_data(Bytes::new(), true);
        }
        Poll::Ready(Ok(()))
    }
}

/// Carries a request body into a stream.
struct Pump {
    body: ReqBody,
    stream: SendStream<Bytes>,
    held: Option<Bytes>,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if let Some(held) = &mut self.held {
                self.stream.reserve_capacity(held.len());
                let room = match self.stream.capacity() {
                    0 => match std::task::ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(room)) => room,
                        // The response tells what happened.
                        Some(Err(_)) | None => return Poll::Ready(Ok(())),
                    },
                    room => room,
                };
                let part = held.split_to(room.min(held.len()));
                let last = held.is_empty();
                let end = last && self.body.is_end_stream();
                if self.stream.send_data(part, end).is_err() || end {
                    return Poll::Ready(Ok(()));
                }
                if last {
                    self.held = None;
                }
                continue;
            }
            if let Poll::Ready(Ok(_)) | Poll::Ready(Err(_)) = self.stream.poll_reset(cx) {
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Failure::Downstream));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() && !self.body.is_end_stream() => {}
                    Ok(data) if data.is_empty() => {
                        let _ = self.stream.send_data(data, true);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(data) => self.held = Some(data),
                    Err(frame) => {
                        let _ = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                        return Poll::Ready(Ok(()));
                    }
                },
            }
        }
    }
}

/// A response body.
pub(crate) struct H2Body {
    recv: RecvStream,
    data_ended: bool,
    _lease: Lease,
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.data_ended {
            match std::task::ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Room is given back as the client's side asks for more,
                    // which it does only when it has room itself.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(Box::new(stream_failure(&e))))),
                None => self.data_ended = true,
            }
        }
        match std::task::ready!(self.recv.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(e) => Poll::Ready(Some(Err(Box::new(stream_failure(&e))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn stream_failure(error: &h2::Error) -> Failure {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Failure::Reset { refused: true },
        // A GOAWAY reaches only the streams that it leaves unprocessed.
        _ if error.is_go_away() && error.is_remote() => Failure::Reset { refused: true },
        Some(_) if error.is_remote() => Failure::Reset { refused: false },
        Some(_) if error.is_library() => Failure::Protocol,
        _ => Failure::Terminated,
    }
}

async fn keep_alive(
    mut pings: h2::PingPong,
    interval: std::time::Duration,
    timeout: std::time::Duration,
    closing: Rc<Cell<bool>>,
    connection: tokio::task::AbortHandle,
) {
    loop {
        tokio::time::sleep(interval).await;
        if closing.get() {
            return;
        }
        match tokio::time::timeout(timeout, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            _ => {
                closing.set(true);
                connection.abort();
                return;
            }
        }
    }
}

/// Response heads larger than this are refused by the codec.
const HEADER_LIST_BYTES_MAX: u32 = 128 * 1024;
/// An endpoint's settings come with its first packet; one that sends none for this long has no extended CONNECT.
const SETTINGS_LOOKS: u32 = 200;
const SETTINGS_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
/// Body bytes of one stream that wait to be written.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
