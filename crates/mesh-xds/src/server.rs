//! Decides what one xDS subscriber is owed, without touching the network.
//!
//! A [`Subscriber`] is fed requests from a proxy and snapshots from the
//! translator, and is polled for the responses to send. The caller owns the
//! gRPC stream and the clock: nothing here awaits, sleeps, reads the time or
//! draws a random number, so any interleaving can be replayed in a `#[test]`.
//!
//! ```text
//!      proxy ── on_request ──► ┌────────────┐
//!                              │ Subscriber │ ── poll ──► Response
//! translator ── on_snapshot ─► └────────────┘
//! ```
//!
//! Invariant: at most one response per resource type is unacknowledged. A
//! snapshot that arrives meanwhile replaces the one that waits: the proxy sees
//! the newest state, not every state.
//!
//! Deliberately absent: authentication (`mesh-pilot`), translation
//! (`mesh-translate`), and any notion of what a cluster or a route is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh_proto::resource::{Resource, ResourceName};

use crate::wire::Request;
use crate::{Node, Snapshot, Variant};

/// One ADS stream, seen from the server. See the module's documentation.
#[derive(Debug)]
pub struct Subscriber {
    variant: Variant,
    node: Option<Arc<Node>>,
    snapshot: Option<Arc<Snapshot>>,
}

/// What a request turned out to mean, for metrics, logs and debug pages.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first request: the proxy says who it is. Always the first event.
    Identified(Arc<Node>),
    /// The names that the proxy watches have changed.
    Subscribed {
        /// Resource type.
        type_url: Arc<str>,
        /// Names it now watches besides `wildcard`.
        names: usize,
        /// Whether it watches everything of that type.
        wildcard: bool,
        /// Names it did not watch before.
        added: Vec<ResourceName>,
        /// Names it no longer watches.
        removed: Vec<ResourceName>,
    },
    /// The proxy took the response.
    Acked {
        /// Resource type.
        type_url: Arc<str>,
        /// Nonce of the response.
        nonce: Arc<str>,
        /// Version of the response.
        version: Arc<str>,
        /// From [`Subscriber::poll`] to the request that acknowledged.
        after: Duration,
    },
    /// The proxy refused the response and keeps what it had.
    Nacked {
        /// Resource type.
        type_url: Arc<str>,
        /// Nonce of the response.
        nonce: Arc<str>,
        /// Version of the response.
        version: Arc<str>,
        /// The proxy's own words, shortened to [`ERROR_BYTES_MAX`].
        error: Arc<str>,
    },
    /// An answer to a response that is no longer the latest; it is ignored.
    Stale {
        /// Resource type.
        type_url: Arc<str>,
        /// The nonce that the proxy sent.
        nonce: String,
    },
}

/// A request that ends the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The first request does not say who asks.
    #[error(
        "the first request on the stream has no node.id; expected type~ip~name.namespace~domain; the stream is closed"
    )]
    NoNode,
    /// ADS carries many types, so each request must name its own.
    #[error("a request has no type_url, which ADS requires; the stream is closed")]
    NoType,
    /// A message of the other variant.
    #[error("a request of the other xDS variant arrived on a {0:?} stream; the stream is closed")]
    OtherVariant(Variant),
    /// More types than anything known asks for.
    #[error("the proxy asks for more than {TYPES_MAX} resource types on one stream; the stream is closed")]
    TooManyTypes,
    /// More names than can be kept for one stream.
    #[error("the proxy watches more than {NAMES_MAX} resources of type {0}; the stream is closed")]
    TooManyNames(String),
}

/// One response, to be encoded and sent as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Resource type.
    pub type_url: Arc<str>,
    /// Hash of what the response holds: equal content, equal version.
    pub version: Arc<str>,
    /// To be returned by the proxy in its answer; unique on the stream.
    pub nonce: Arc<str>,
    /// Resources, sorted by name.
    pub resources: Vec<Resource>,
    /// Delta only: names that are gone or were asked for in vain, sorted.
    pub removed: Vec<ResourceName>,
    /// Whether what `resources` lacks is thereby removed (state of the world
    /// for Listener and Cluster).
    pub full: bool,
}

/// What the server knows about one type on one stream (`/debug/syncz`,
/// `/debug/adsz`).
#[derive(Debug, Clone, PartialEq)]
pub struct TypeStatus {
    /// Resource type.
    pub type_url: Arc<str>,
    /// Whether everything is watched.
    pub wildcard: bool,
    /// Names that are watched, sorted.
    pub names: Vec<ResourceName>,
    /// Version of the latest response.
    pub version_sent: Option<Arc<str>>,
    /// Version of the latest response that was acknowledged.
    pub version_acked: Option<Arc<str>>,
    /// Nonce of the latest response.
    pub nonce_sent: Option<Arc<str>>,
    /// Nonce of the latest response that was acknowledged.
    pub nonce_acked: Option<Arc<str>>,
    /// Nonce of the latest response that was refused.
    pub nonce_nacked: Option<Arc<str>>,
    /// Why it was refused; cleared by the next acknowledgement.
    pub last_error: Option<Arc<str>>,
    /// When the latest response left [`Subscriber::poll`].
    pub sent_at: Option<Instant>,
    /// Whether the proxy has acknowledged everything that the newest snapshot
    /// holds for it.
    pub in_sync: bool,
}

/// Longest NACK text that is kept, in bytes: Envoy repeats whole resources.
pub const ERROR_BYTES_MAX: usize = 4096;
/// Resource types on one stream; Istio has about fifteen.
pub const TYPES_MAX: usize = 64;
/// Names watched per type on one stream.
pub const NAMES_MAX: usize = 100_000;

impl Subscriber {
    /// A fresh stream. `stream` goes into the nonces, to tell streams apart in
    /// logs.
    pub fn new(variant: Variant, stream: u64) -> Self {
        let _ = stream;
        Self { variant, node: None, snapshot: None }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// The stream must be closed with `InvalidArgument`; see [`RequestError`].
    pub fn on_request(&mut self, request: Request, now: Instant) -> Result<Vec<Event>, RequestError> {
        let _ = now;
        if request.variant() != self.variant {
            return Err(RequestError::OtherVariant(self.variant));
        }
        Ok(Vec::new())
    }

    /// Takes in the newest state. One that equals the last costs nothing.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = Some(snapshot);
    }

    /// The next response to send, in push order, or `None` until something
    /// else happens or [`Self::wake_at`] has come.
    pub fn poll(&mut self, now: Instant) -> Option<Response> {
        let _ = now;
        None
    }

    /// When [`Self::poll`] should be called again though nothing happened: a
    /// removal that waits for references to go has waited long enough.
    pub fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// The node, once identified.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The newest snapshot it was given.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The types that the proxy has asked for, in push order.
    pub fn status(&self) -> Vec<TypeStatus> {
        Vec::new()
    }
}

impl Response {
    /// The protobuf message, assembled from the resources' own bytes.
    pub fn encode(&self, variant: Variant) -> Bytes {
        let _ = variant;
        Bytes::new()
    }
}
