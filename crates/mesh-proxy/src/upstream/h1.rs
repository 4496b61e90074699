//! One HTTP/1 connection to an endpoint, driven by the request that uses it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use mesh_engine::ClusterConfig;
use mesh_engine::tls::TlsFacts;
use tokio::time::Instant;

use super::Failure;
use super::body::{BodyError, ReqBody};
use super::pool::{Counted, Pool};
use crate::io::Io;

/// An open connection. Boxed: it is large and changes hands often.
pub(crate) struct H1 {
    send: SendRequest<ReqBody>,
    /// `None` when it runs in a task of its own.
    conn: Option<Connection<Io, ReqBody>>,
    ended: bool,
    pub(crate) requests: u32,
    pub(crate) opened: Instant,
    pub(crate) idle_since: Instant,
    pub(crate) tls: Option<Arc<TlsFacts>>,
    _counted: Counted,
}

/// A request that failed; with the request itself if none of it was sent.
pub(crate) type Unsent = (Failure, Option<Request<ReqBody>>);

impl H1 {
    pub(crate) async fn handshake(
        io: Io,
        counted: Counted,
        config: &ClusterConfig,
        tls: Option<Arc<TlsFacts>>,
    ) -> Result<Box<Self>, Failure> {
        let mut builder = Builder::new();
        if config.max_response_headers_count != HEADERS_DEFAULT {
            builder.max_headers(config.max_response_headers_count as usize);
        }
        builder.title_case_headers(config.http.http1.proper_case);
        let (send, conn) = builder.handshake(io).await.map_err(|_| Failure::Protocol)?;
        let opened = Instant::now();
        Ok(Box::new(Self {
            send,
            conn: Some(conn),
            ended: false,
            requests: 0,
            opened,
            idle_since: opened,
            tls,
            _counted: counted,
        }))
    }

    /// Sends `request` and waits for the response's head. Body bytes go both
    /// ways meanwhile.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        request: Request<ReqBody>,
    ) -> Result<(Response<Incoming>, Box<Self>), Unsent> {
        self.requests += 1;
        let result = {
            let mut answer = std::pin::pin!(self.send.try_send_request(request));
            let (conn, ended) = (&mut self.conn, &mut self.ended);
            std::future::poll_fn(|cx| {
                drive(conn, ended, cx);
                // Only the connection can bring the answer, and it was just
                // polled: the answer needs no waker of its own.
                match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending if *ended => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                }
            })
            .await
        };
        match result {
            Some(Ok(response)) => Ok((response, self)),
            Some(Err(mut e)) => {
                let unsent = e.take_message();
                Err((failure(&e.into_error()), unsent))
            }
            None => Err((Failure::Terminated, None)),
        }
    }

    /// Polls an idle connection; `false` if it has ended.
    pub(crate) fn alive(&mut self) -> bool {
        drive(&mut self.conn, &mut self.ended, &mut Context::from_waker(Waker::noop()));
        self.conn.is_some() && !self.ended && !self.send.is_closed()
    }

    /// The bare connection after a 101 response, and what was read past it.
    pub(crate) async fn into_upgraded(mut self: Box<Self>) -> Option<(Io, Bytes, Counted)> {
        let (conn, ended) = (&mut self.conn, &mut self.ended);
        std::future::poll_fn(|cx| {
            drive(conn, ended, cx);
            if *ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.conn?.into_parts();
        Some((parts.io, parts.read_buf, self._counted))
    }

    /// Lets the connection run in a task of its own, for a request whose body
    /// goes on after the response began. It is not used for another.
    fn detach(&mut self) {
        if let Some(mut conn) = self.conn.take().filter(|_| !self.ended) {
            tokio::task::spawn_local(async move {
                // Its failure reaches the response body through its channel.
                let _ = std::future::poll_fn(|cx| conn.poll_without_shutdown(cx)).await;
            });
        }
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        Failure::Protocol
    } else if error.is_user() {
        Failure::Downstream
    } else {
        Failure::Terminated
    }
}

fn drive(conn: &mut Option<Connection<Io, ReqBody>>, ended: &mut bool, cx: &mut Context<'_>) {
    if let Some(conn) = conn
        && !*ended
    {
        *ended = conn.poll_without_shutdown(cx).is_ready();
    }
}

/// A response body, together with the connection that brings it. When it ends
/// the connection goes back to its pool.
pub(crate) struct H1Body {
    incoming: Incoming,
    h1: Option<Box<H1>>,
    pool: Rc<Pool>,
    detached: bool,
    /// The server or the client said that this is the connection's last exchange.
    close: bool,
}

impl H1Body {
    /// `request_ended`: the request's body is already sent whole.
    pub(crate) fn new(incoming: Incoming, mut h1: Box<H1>, pool: Rc<Pool>, request_ended: bool, close: bool) -> Self {
        if !request_ended {
            h1.detach();
        }
        Self { incoming, h1: Some(h1), pool, detached: !request_ended, close }
    }

    /// The connection after a 101 response.
    pub(crate) fn into_h1(mut self) -> Option<Box<H1>> {
        self.h1.take()
    }

    fn release(&mut self) {
        if let Some(h1) = self.h1.take()
            && !self.detached
            && !self.close
        {
            self.pool.give_back(h1);
        }
    }
}

impl Body for H1Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.detached {
            return Pin::new(&mut this.incoming).poll_frame(cx).map_err(Into::into);
        }
        let quiet = &mut Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut this.incoming).poll_frame(quiet);
        if polled.is_pending() {
            let Some(h1) = this.h1.as_mut() else { return Poll::Ready(None) };
            drive(&mut h1.conn, &mut h1.ended, cx);
            polled = Pin::new(&mut this.incoming).poll_frame(quiet);
            if polled.is_pending() && h1.ended {
                return Poll::Ready(Some(Err(Box::new(Failure::Terminated))));
            }
        }
        if matches!(polled, Poll::Ready(None)) {
            this.release();
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for H1Body {
    fn drop(&mut self) {
        // A server that knows the length never polls for the end.
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}

impl H1 {
    /// Whether another request can go out on it, the response having ended.
    pub(crate) fn ready_again(&mut self) -> bool {
        self.alive() && self.send.is_ready()
    }
}

/// hyper's own limit, for which it needs no allocation.
const HEADERS_DEFAULT: u32 = 100;
