//! The demo's gRPC service: the messages of `examples/grpc-balance/echo.proto`,
//! a server whose replies name the replica, and the codec that both ends use.
//!
//! It is a plain gRPC server and knows nothing of the mesh.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll};

use prost::Message;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::server::TcpIncoming;

/// Path of the one method.
pub(super) const METHOD: &str = "/pilothouse.demo.v1.Echo/Echo";

/// `pilothouse.demo.v1.EchoRequest`
#[derive(Clone, PartialEq, Message)]
pub(super) struct EchoRequest {
    /// What to say again.
    #[prost(string, tag = "1")]
    pub(super) message: String,
}

/// `pilothouse.demo.v1.EchoReply`
#[derive(Clone, PartialEq, Message)]
pub(super) struct EchoReply {
    /// The request's message.
    #[prost(string, tag = "1")]
    pub(super) message: String,
    /// The replica that answers.
    #[prost(string, tag = "2")]
    pub(super) replica: String,
}

/// A replica that serves; it ends when this is dropped.
pub(super) struct Replica {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Replica {
    /// Serves on `listener` under `name`. Must be called inside a runtime.
    ///
    /// # Errors
    /// If the socket cannot be handed to the runtime.
    pub(super) fn start(name: &str, listener: TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
        // Without it a reply in two writes waits 40 ms for the client's delayed acknowledgement.
        let incoming = incoming.with_nodelay(Some(true));
        let echo = Echo { replica: name.to_owned() };
        let task = tokio::spawn(async move {
            if let Err(error) = tonic::transport::Server::builder().serve_with_incoming(echo, incoming).await {
                tracing::error!(%error, "A replica of the demo ended.");
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The service of one replica.
#[derive(Debug, Clone)]
struct Echo {
    replica: String,
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "pilothouse.demo.v1.Echo";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                let text = format!("found {}, expected {METHOD}", request.uri().path());
                return Ok(Status::unimplemented(text).into_http());
            }
            Ok(tonic::server::Grpc::new(Protobuf::default()).unary(echo, request).await)
        })
    }
}

impl tonic::server::UnaryService<EchoRequest> for Echo {
    type Response = EchoReply;
    type Future = Ready<Result<tonic::Response<EchoReply>, Status>>;

    fn call(&mut self, request: tonic::Request<EchoRequest>) -> Self::Future {
        let reply = EchoReply { message: request.into_inner().message, replica: self.replica.clone() };
        ready(Ok(tonic::Response::new(reply)))
    }
}

/// Protobuf messages on a gRPC stream: writes `E`, reads `D`.
#[derive(Debug)]
pub(super) struct Protobuf<E, D> {
    types: PhantomData<(E, D)>,
}

impl<E, D> Default for Protobuf<E, D> {
    fn default() -> Self {
        Self { types: PhantomData }
    }
}

impl<E, D> Codec for Protobuf<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::default()
    }
}

impl<E: Message, D> Encoder for Protobuf<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<E, D: Message + Default> Decoder for Protobuf<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
