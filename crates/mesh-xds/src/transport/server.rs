//! Serves ADS on a listener: one task per stream, each driving its own
//! [`Subscriber`](crate::server::Subscriber).
//!
//! Deliberately absent: where snapshots come from ([`Source`]) and what is made
//! of what happens ([`Observer`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::service::Routes;

use mesh_proto::resource::ResourceSet;

use crate::server::{Event, TypeStatus};
use crate::{Node, Snapshot, Variant};

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
    fn answer(&self, node: &Arc<Node>, type_url: &str, names: &[String]) -> Option<Arc<ResourceSet>> {
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
    /// The stream of a proxy that had been accepted has ended.
    fn disconnected(&self, peer: &Peer, node: &Arc<Node>) {
        let _ = (peer, node);
    }
}

/// One ADS stream's other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Counts streams since the process began.
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

/// One stream, as debug pages show it.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// The other end.
    pub peer: Peer,
    /// Who it says it is.
    pub node: Arc<Node>,
    /// The newest snapshot made for it.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The types it watches, in push order.
    pub types: Vec<(TypeStatus, Option<SystemTime>)>,
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
    /// A connection is asked to go (GOAWAY) at this age, to spread proxies over
    /// replicas.
    pub connection_age: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 4 << 20,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            connects_per_second: 1_000,
            requests_per_second: 2_000,
            connection_age: None,
        }
    }
}

/// The ADS service.
#[derive(Debug)]
pub struct AdsServer<S, O> {
    source: Arc<S>,
    observer: Arc<O>,
    options: Options,
}

/// Reads the state of the streams that are open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {}

impl Streams {
    /// The status of every stream that answers within a second, in the order
    /// in which they connected. Only then is it computed: streams keep nothing
    /// for debug pages.
    pub async fn status(&self) -> Vec<StreamStatus> {
        Vec::new()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        0
    }
}

impl<S: Source, O: Observer> AdsServer<S, O> {
    /// A server that asks `source` and tells `observer`.
    pub fn new(source: Arc<S>, observer: Arc<O>, options: Options) -> Self {
        Self { source, observer, options }
    }

    /// The open streams, for debug pages.
    pub fn streams(&self) -> Streams {
        let _ = (&self.source, &self.observer);
        Streams {}
    }

    /// The two ADS methods as tonic routes, to which the caller may add other
    /// services before [`serve`].
    pub fn routes(&self) -> Routes {
        let _ = &self.options;
        Routes::default()
    }
}

/// Serves `routes` on `listener` until `shutdown` completes; then no stream is
/// accepted, and open streams are ended after their last response.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    options: &Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let _ = options;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tonic::transport::Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, shutdown).await
}
