//! What the subscriber tells about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_proto::resource::ResourceName;

use super::{NAMES_MAX, TYPES_MAX};
use crate::{Node, Variant};

/// What a request turned out to mean, for metrics, logs and debug pages.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first request: the proxy says who it is. Always the first event.
    Identified(Arc<Node>),
    /// The names that the proxy watches have changed.
    Subscribed {
        /// Resource type.
        type_url: Arc<str>,
        /// How many names it now watches, besides `wildcard`.
        names: usize,
        /// Whether it watches everything of that type.
        wildcard: bool,
        /// Names it did not watch before, or asks for again.
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
        /// From [`Subscriber::poll`](super::Subscriber::poll) to the request
        /// that acknowledged.
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
        /// The proxy's own words, shortened to
        /// [`ERROR_BYTES_MAX`](super::ERROR_BYTES_MAX).
        error: Arc<str>,
    },
    /// An answer to a response that is no longer the latest. It neither
    /// acknowledges nor refuses anything.
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
    /// Why the latest answered response was refused; `None` if it was not.
    pub last_error: Option<Arc<str>>,
    /// When the latest response left [`Subscriber::poll`](super::Subscriber::poll).
    pub sent_at: Option<Instant>,
    /// Whether the proxy has acknowledged everything that the newest snapshot
    /// holds for it.
    pub in_sync: bool,
    /// Of which resources it has not.
    pub pending: Pending,
}

/// Which watched resources a proxy has not acknowledged as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// Possibly all of them: nothing was acknowledged yet, or a response that
    /// stands for all of them was not.
    All,
    /// These, sorted; among them names that are to go.
    Names(Vec<ResourceName>),
}

impl Pending {
    /// Whether `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Pending::All => true,
            Pending::Names(names) => names.binary_search_by(|n| (**n).cmp(name)).is_ok(),
        }
    }
}
