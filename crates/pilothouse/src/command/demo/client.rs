//! The demo's gRPC client: one HTTP/2 connection, several calls in flight on
//! it, and a record of who answered each and how long it took.
//!
//! It names the service in `:authority` and connects where it is told, as an
//! application does whose connection is taken to its sidecar.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::echo::{EchoReply, EchoRequest, METHOD, Protobuf};
use crate::failure::{Failure, Result};

/// One call that ended.
#[derive(Debug)]
pub(super) struct Call {
    /// The replica that answered, or why none did.
    pub(super) outcome: std::result::Result<String, tonic::Status>,
    /// From the first byte asked for to the last byte of the answer.
    pub(super) elapsed: Duration,
}

/// Sends `count` calls for `authority` over one connection to `address`, at
/// most [`IN_FLIGHT`] at a time. `ended` is told of each call that ended.
///
/// # Errors
/// If the connection cannot be made. Failed calls are no error here.
pub(super) async fn send(
    address: SocketAddr,
    authority: &str,
    count: u64,
    ended: impl Fn() + Send + Sync + 'static,
) -> Result<Vec<Call>> {
    let channel = connect(address, authority).await?;
    let next = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(ended);
    let mut workers = JoinSet::new();
    for _ in 0..IN_FLIGHT.min(count) {
        let (channel, next, ended) = (channel.clone(), next.clone(), ended.clone());
        workers.spawn(async move {
            let mut calls = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return calls;
                }
                calls.push(call(channel.clone(), number).await);
                ended();
            }
        });
    }
    Ok(workers.join_all().await.into_iter().flatten().collect())
}

/// One HTTP/2 connection. A channel connects again when its connection breaks;
/// this one is refused a second, so that its calls fail and the demo says so.
async fn connect(address: SocketAddr, authority: &str) -> Result<Channel> {
    let refuse = |error: &dyn std::error::Error| Failure::other(format!("cannot call {authority} at {address}"), error);
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|e| refuse(&e))?;
    let endpoint = endpoint.connect_timeout(CONNECT).timeout(CALL);
    let used = Arc::new(AtomicBool::new(false));
    let connector = tower::service_fn(move |_: http::Uri| {
        let again = used.swap(true, Ordering::Relaxed);
        async move {
            if again {
                return Err(std::io::Error::other("the one connection has ended"));
            }
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|e| refuse(&e))
}

async fn call(channel: Channel, number: u64) -> Call {
    let request = EchoRequest { message: format!("call {number}") };
    let begun = Instant::now();
    let outcome = unary(channel, request).await.map(|reply| reply.replica);
    Call { outcome, elapsed: begun.elapsed() }
}

async fn unary(channel: Channel, request: EchoRequest) -> std::result::Result<EchoReply, tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let sent = request.message.clone();
    let codec = Protobuf::<EchoRequest, EchoReply>::default();
    let reply = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(METHOD), codec).await?.into_inner();
    if reply.message != sent {
        return Err(tonic::Status::data_loss(format!("sent {sent:?}, found {:?} in the reply", reply.message)));
    }
    Ok(reply)
}

/// Calls in flight on the one connection: enough to show that calls are spread
/// while others run, few enough that the figures are not those of a queue.
const IN_FLIGHT: u64 = 16;
/// A loopback connection that takes longer will not come.
const CONNECT: Duration = Duration::from_secs(5);
/// A call that takes longer is counted as failed.
const CALL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use super::super::echo::Replica;
    use super::*;

    #[tokio::test]
    async fn calls_on_one_connection_to_a_replica_are_all_answered_by_it() {
        let replica = Replica::start("a", TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let ended = Arc::new(AtomicU64::new(0));
        let count = ended.clone();
        let tick = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let calls = send(replica.address, "backend.default:8000", 100, tick).await.unwrap();
        assert_eq!((calls.len(), ended.load(Ordering::Relaxed)), (100, 100));
        for call in calls {
            assert_eq!(call.outcome.unwrap(), "a");
        }
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_one_error() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = send(free, "backend:8000", 1, || ()).await.unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot call backend:8000 at {free}: ")), "{text}");
    }
}
