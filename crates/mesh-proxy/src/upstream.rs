//! Connections to endpoints: opening, pooling, and carrying one request over
//! them.
//!
//! Every worker has its own pools and shares none: a request never crosses
//! threads. An HTTP/1 connection has no task of its own; the request that uses
//! it drives it, which saves two wake-ups per request, and the sweeper looks
//! after the idle ones. An HTTP/2 connection has one task, and requests talk
//! to h2 directly.
//!
//! Deliberately absent: which endpoint to use and whether to try again
//! (`mesh-engine`).

pub(crate) mod body;
pub(crate) mod connect;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod pool;
pub(crate) mod tap;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh_engine::balance::Cluster;
use mesh_engine::outlier::Event;

use crate::stats::sets::ClusterStats;

/// Why a request got no response from an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection was made.
    #[error("connection failure: {0}")]
    Connect(io::Error),
    /// The connection was made, and its TLS handshake failed.
    #[error("{0}")]
    Tls(Arc<str>),
    /// No connection within the connect timeout.
    #[error("connection timeout")]
    ConnectTimeout,
    /// The cluster's connection or pending limit is reached.
    #[error("overflow")]
    Overflow,
    /// The connection ended before the response began.
    #[error("connection termination")]
    Terminated,
    /// The upstream reset the stream.
    #[error("remote reset")]
    Reset {
        /// The upstream said that it had not looked at the request.
        refused: bool,
    },
    /// The upstream broke the protocol.
    #[error("protocol error")]
    Protocol,
    /// The request's own body failed: the client went away.
    #[error("the client's request body ended early")]
    Downstream,
}

impl Failure {
    /// Nothing of a request can have reached the endpoint: there was no connection.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_))
    }

    /// The same failure, for another request that waited for the same thing.
    fn again(&self) -> Self {
        match self {
            Self::Connect(e) => match e.raw_os_error() {
                Some(code) => Self::Connect(io::Error::from_raw_os_error(code)),
                None => Self::Connect(e.kind().into()),
            },
            Self::Tls(reason) => Self::Tls(reason.clone()),
            Self::ConnectTimeout => Self::ConnectTimeout,
            Self::Overflow => Self::Overflow,
            Self::Terminated => Self::Terminated,
            Self::Reset { refused } => Self::Reset { refused: *refused },
            Self::Protocol => Self::Protocol,
            Self::Downstream => Self::Downstream,
        }
    }
}

/// A cluster with its statistics: what the path of a request needs of it.
pub(crate) struct Upstream {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) stats: Arc<ClusterStats>,
}

impl Upstream {
    /// Counts what outlier detection did.
    pub(crate) fn count_event(&self, event: Option<Event>) {
        match event {
            Some(Event::Ejected(_)) => {
                self.stats.outlier.ejections_detected.inc();
                self.stats.outlier.ejections_enforced_total.inc();
                self.stats.outlier.ejections_active.inc();
            }
            Some(Event::NotEnforced(_)) => self.stats.outlier.ejections_detected.inc(),
            Some(Event::Returned) => self.stats.outlier.ejections_active.dec(),
            None => {}
        }
    }
}

/// The clusters that are in use, by name. One writer; workers read without a lock.
#[derive(Default)]
pub(crate) struct Upstreams {
    map: ArcSwap<HashMap<Arc<str>, Arc<Upstream>>>,
}

impl Upstreams {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Upstream>> {
        self.map.load().get(name).cloned()
    }

    pub(crate) fn insert(&self, upstream: Arc<Upstream>) {
        let mut next = HashMap::clone(&self.map.load());
        next.insert(upstream.cluster.name().clone(), upstream);
        self.map.store(Arc::new(next));
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut next = HashMap::clone(&self.map.load());
        next.remove(name);
        self.map.store(Arc::new(next));
    }

    /// All, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Upstream>> {
        let mut all: Vec<_> = self.map.load().values().cloned().collect();
        all.sort_by(|a, b| a.cluster.name().cmp(b.cluster.name()));
        all
    }
}
