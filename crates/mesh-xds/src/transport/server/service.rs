//! The two gRPC methods: they start a task for the stream and make its queue
//! the body of the answer.
//!
//! Requests are read by tonic. Responses are framed already when they come out
//! of the queue: tonic's own encoder would copy each once more, and would keep
//! the room of the largest for as long as the stream lives, a megabyte for each
//! proxy of a large mesh.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures::StreamExt;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Request, Status, Streaming};

use super::{Observer, Peer, Shared, Source, stream};
use crate::transport::codec::Typed;
use crate::{Variant, wire};

/// Responses that wait for the connection to take them. More would only age.
const QUEUE: usize = 4;

#[derive(Debug)]
pub(super) struct AdsService<S, O> {
    shared: Arc<Shared<S, O>>,
}

impl<S, O> AdsService<S, O> {
    pub(super) fn new(shared: Arc<Shared<S, O>>) -> Self {
        Self { shared }
    }
}

impl<S, O> Clone for AdsService<S, O> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S, O> NamedService for AdsService<S, O> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<S: Source, O: Observer> Service<http::Request<Body>> for AdsService<S, O> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let response = if path == Variant::Sotw.path() {
            self.start::<DiscoveryRequest>(request, Variant::Sotw, |request| wire::Request::Sotw(Box::new(request)))
        } else if path == Variant::Delta.path() {
            let read = |request| wire::Request::Delta(Box::new(request));
            self.start::<DeltaDiscoveryRequest>(request, Variant::Delta, read)
        } else {
            Status::new(Code::Unimplemented, format!("{path} is not an ADS method")).into_http()
        };
        Box::pin(async move { Ok(response) })
    }
}

impl<S: Source, O: Observer> AdsService<S, O> {
    fn start<M: Message + Default + 'static>(
        &self,
        request: http::Request<Body>,
        variant: Variant,
        read: impl Fn(M) -> wire::Request + Send + 'static,
    ) -> http::Response<Body> {
        let (responses, queue) = mpsc::channel(QUEUE);
        let request = Request::from_http(request);
        let peer = Peer {
            stream: self.shared.last_stream.fetch_add(1, Ordering::Relaxed) + 1,
            address: request.remote_addr(),
            variant,
            connected_at: SystemTime::now(),
        };
        let limit = self.shared.options.request_bytes_max;
        let messages = Streaming::new_request(Typed::<M>::new(), request.into_inner(), None, Some(limit));
        let requests = messages.map(move |message| message.map(&read));
        tokio::spawn(stream::run(self.shared.clone(), peer, requests, responses));
        let mut response = http::Response::new(Body::new(Responses { queue: Some(queue) }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

/// Framed messages, then the status as trailers.
struct Responses {
    /// `None` once the trailers have gone.
    queue: Option<mpsc::Receiver<Result<Bytes, Status>>>,
}

impl http_body::Body for Responses {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(queue) = &mut self.queue else { return Poll::Ready(None) };
        let status = match std::task::ready!(queue.poll_recv(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.queue = None;
        let mut trailers = http::HeaderMap::new();
        // A status that cannot be a header, of whatever odd text, ends the stream without one.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
