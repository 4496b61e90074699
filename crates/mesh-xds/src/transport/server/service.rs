//! The two gRPC methods: they start a task for the stream and hand its queue
//! to tonic.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures::StreamExt;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Observer, Peer, Shared, Source, stream};
use crate::transport::codec::BytesOut;
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
        let service = self.clone();
        let limit = self.shared.options.request_bytes_max;
        let path = request.uri().path();
        if path == Variant::Sotw.path() {
            Box::pin(async move {
                let mut grpc = Grpc::new(BytesOut::<DiscoveryRequest>::new()).max_decoding_message_size(limit);
                Ok(grpc.streaming(service, request).await)
            })
        } else if path == Variant::Delta.path() {
            Box::pin(async move {
                let mut grpc = Grpc::new(BytesOut::<DeltaDiscoveryRequest>::new()).max_decoding_message_size(limit);
                Ok(grpc.streaming(service, request).await)
            })
        } else {
            let status = Status::new(Code::Unimplemented, format!("{path} is not an ADS method"));
            Box::pin(async move { Ok(status.into_http()) })
        }
    }
}

type Responses = ReceiverStream<Result<Bytes, Status>>;

impl<S: Source, O: Observer> StreamingService<DiscoveryRequest> for AdsService<S, O> {
    type Response = Bytes;
    type ResponseStream = Responses;
    type Future = BoxFuture<Response<Responses>, Status>;

    fn call(&mut self, request: Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        self.start(request, Variant::Sotw, |request| wire::Request::Sotw(Box::new(request)))
    }
}

impl<S: Source, O: Observer> StreamingService<DeltaDiscoveryRequest> for AdsService<S, O> {
    type Response = Bytes;
    type ResponseStream = Responses;
    type Future = BoxFuture<Response<Responses>, Status>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        self.start(request, Variant::Delta, |request| wire::Request::Delta(Box::new(request)))
    }
}

impl<S: Source, O: Observer> AdsService<S, O> {
    fn start<M: Send + 'static>(
        &self,
        request: Request<Streaming<M>>,
        variant: Variant,
        read: impl Fn(M) -> wire::Request + Send + 'static,
    ) -> BoxFuture<Response<Responses>, Status> {
        let (responses, queue) = mpsc::channel(QUEUE);
        let peer = Peer {
            stream: self.shared.last_stream.fetch_add(1, Ordering::Relaxed) + 1,
            address: request.remote_addr(),
            variant,
            connected_at: SystemTime::now(),
        };
        let requests = request.into_inner().map(move |message| message.map(&read));
        tokio::spawn(stream::run(self.shared.clone(), peer, requests, responses));
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(queue))) })
    }
}
