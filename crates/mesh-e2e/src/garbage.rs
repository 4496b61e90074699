//! A server that speaks enough gRPC to be listened to, and then sends nonsense.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::address;

/// A running server of nonsense; ends when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    streams: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers every gRPC stream with `bytes`, again and again for each message it is sent.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(bytes: Bytes) -> Self {
        let address = address::free(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let streams = Arc::new(AtomicU64::new(0));
        let counter = streams.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, bytes.clone(), counter.clone()));
            }
        });
        Self { address, streams, task }
    }

    /// Streams that clients have opened.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(stream: TcpStream, bytes: Bytes, streams: Arc<AtomicU64>) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut answers = JoinSet::new();
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        streams.fetch_add(1, Ordering::Relaxed);
        answers.spawn(answer(request.into_body(), respond, bytes.clone()));
    }
    Ok(())
}

async fn answer(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    bytes: Bytes,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
        stream.send_data(bytes.clone(), false)?;
    }
    Ok(())
}
