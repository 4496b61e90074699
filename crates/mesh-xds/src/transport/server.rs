//! Serves ADS on a listener: one task per stream, each driving its own
//! [`Subscriber`](crate::server::Subscriber).
//!
//! A stream's task awaits requests, snapshots and room in its own outgoing
//! queue, so a proxy that reads slowly delays nobody but itself, and when it
//! reads again it gets the newest state.
//!
//! Deliberately absent: where snapshots come from ([`Source`]) and what is made
//! of what happens ([`Observer`]).

mod pace;
mod service;
mod stream;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use mesh_proto::resource::ResourceSet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::server::Event;
use crate::{Node, Snapshot, Variant};

use pace::Pace;
use service::AdsService;

pub use streams::{StreamStatus, Streams};

/// Gives each proxy its state.
pub trait Source: Send + Sync + 'static {
    /// A proxy has sent its first request. The receiver yields the state it
    /// should have, now and from then on; it is dropped when the proxy leaves.
    /// If the sender goes away, the proxy keeps the last state.
    ///
    /// # Errors
    /// The stream is closed with this status.
    fn connect(
        &self,
        node: &Arc<Node>,
        peer: &Peer,
    ) -> impl Future<Output = Result<watch::Receiver<Arc<Snapshot>>, Status>> + Send;

    /// Answers a type that the snapshot does not hold, once for each change of
    /// the names (`istio.io/debug` is served so). `None`: it has no resources.
    fn answer(&self, node: &Arc<Node>, type_url: &str, names: &[&str]) -> Option<Arc<ResourceSet>> {
        let _ = (node, type_url, names);
        None
    }
}

/// Hears what happens on the streams. Called on the stream's own task: must
/// not block.
pub trait Observer: Send + Sync + 'static {
    /// A proxy was accepted by the source.
    fn connected(&self, peer: &Peer, node: &Arc<Node>) {
        let _ = (peer, node);
    }
    /// A request changed something, acknowledged, refused, or came too late.
    fn event(&self, peer: &Peer, node: &Arc<Node>, event: &Event) {
        let _ = (peer, node, event);
    }
    /// A response was handed to the connection.
    fn sent(&self, peer: &Peer, node: &Arc<Node>, sent: &Sent<'_>) {
        let _ = (peer, node, sent);
    }
    /// A stream was closed for what it sent, or because the source refused it;
    /// `node` if it got so far as to say who it is.
    fn rejected(&self, peer: &Peer, node: Option<&Arc<Node>>, status: &Status) {
        let _ = (peer, node, status);
    }
    /// The stream of a proxy that had been accepted has ended.
    fn disconnected(&self, peer: &Peer, node: &Arc<Node>) {
        let _ = (peer, node);
    }
}

/// One ADS stream's other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Counts the streams of one [`AdsServer`], from 1.
    pub stream: u64,
    /// Where the connection comes from; `None` if the transport cannot say.
    pub address: Option<SocketAddr>,
    /// Which ADS method it called.
    pub variant: Variant,
    /// When the stream began.
    pub connected_at: SystemTime,
}

/// A response that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// Resource type.
    pub type_url: &'a str,
    /// The response's version.
    pub version: &'a str,
    /// The response's nonce.
    pub nonce: &'a str,
    /// Resources in it.
    pub resources: usize,
    /// Names removed by it.
    pub removed: usize,
    /// Size of the message in bytes.
    pub bytes: usize,
}

/// Bounds and intervals.
#[derive(Debug, Clone)]
pub struct Options {
    /// Largest request, in bytes.
    pub request_bytes_max: usize,
    /// HTTP/2 PING after this much silence.
    pub keepalive_interval: Duration,
    /// A PING unanswered for this long closes the connection.
    pub keepalive_timeout: Duration,
    /// Streams accepted per second; later ones wait their turn.
    pub connects_per_second: u32,
    /// Requests read per second from one stream; later ones wait.
    pub requests_per_second: u32,
    /// A stream is ended at this age, to spread proxies over replicas.
    pub stream_age: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 4 << 20,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            connects_per_second: 1_000,
            requests_per_second: 2_000,
            stream_age: None,
        }
    }
}

/// The ADS service. Cheap to clone.
#[derive(Debug)]
pub struct AdsServer<S, O> {
    shared: Arc<Shared<S, O>>,
}

#[derive(Debug)]
struct Shared<S, O> {
    source: S,
    observer: O,
    options: Options,
    streams: Streams,
    last_stream: AtomicU64,
    connects: Pace,
    closing: watch::Sender<bool>,
}

impl<S, O> Clone for AdsServer<S, O> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S: Source, O: Observer> AdsServer<S, O> {
    /// A server that asks `source` and tells `observer`; both may be `Arc`s.
    pub fn new(source: S, observer: O, options: Options) -> Self {
        let connects = Pace::new(options.connects_per_second);
        let shared = Shared {
            source,
            observer,
            options,
            streams: Streams::default(),
            last_stream: AtomicU64::new(0),
            connects,
            closing: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The open streams, for debug pages.
    pub fn streams(&self) -> Streams {
        self.shared.streams.clone()
    }

    /// The two ADS methods as tonic routes, to which the caller may add other
    /// services and axum routes before [`Self::serve`].
    pub fn routes(&self) -> Routes {
        Routes::new(AdsService::new(self.shared.clone()))
    }

    /// Ends all streams and every later one with `UNAVAILABLE`, which tells
    /// proxies to come back.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Serves `routes` on `listener`, HTTP/1.1 as well as HTTP/2, until
    /// `shutdown` completes; then closes the streams and returns when the
    /// connections are done.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        routes: Routes,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        let options = &self.shared.options;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(options.keepalive_interval))
            .http2_keepalive_timeout(Some(options.keepalive_timeout))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async {
                shutdown.await;
                self.close();
            })
            .await
    }
}

impl<S: Source> Source for Arc<S> {
    fn connect(
        &self,
        node: &Arc<Node>,
        peer: &Peer,
    ) -> impl Future<Output = Result<watch::Receiver<Arc<Snapshot>>, Status>> + Send {
        S::connect(self, node, peer)
    }

    fn answer(&self, node: &Arc<Node>, type_url: &str, names: &[&str]) -> Option<Arc<ResourceSet>> {
        S::answer(self, node, type_url, names)
    }
}

impl<O: Observer> Observer for Arc<O> {
    fn connected(&self, peer: &Peer, node: &Arc<Node>) {
        O::connected(self, peer, node);
    }
    fn event(&self, peer: &Peer, node: &Arc<Node>, event: &Event) {
        O::event(self, peer, node, event);
    }
    fn sent(&self, peer: &Peer, node: &Arc<Node>, sent: &Sent<'_>) {
        O::sent(self, peer, node, sent);
    }
    fn rejected(&self, peer: &Peer, node: Option<&Arc<Node>>, status: &Status) {
        O::rejected(self, peer, node, status);
    }
    fn disconnected(&self, peer: &Peer, node: &Arc<Node>) {
        O::disconnected(self, peer, node);
    }
}

/// An observer that looks away.
impl Observer for () {}
