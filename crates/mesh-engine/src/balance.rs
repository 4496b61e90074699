//! The living cluster: its hosts, their in-flight counts and ejections, its
//! circuit breakers, and the choice of a host.
//!
//! One [`Cluster`] lives as long as the name does. Its configuration and its
//! host set are immutable values that a writer swaps; all counters are shared
//! by all workers, because state split per worker makes round robin uneven and
//! triples the tail of least request.
//!
//! **Invariant:** readers never lock; a host set names every host of every
//! list it holds, and a host's counters outlive the host sets it is in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use rand::RngCore;

use crate::cluster::ClusterConfig;
use crate::endpoint::{Health, LoadAssignment, Locality};
use crate::outlier::{Event, Outcome};
use crate::route::Priority;

/// A cluster with its hosts.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    config: ArcSwap<ClusterConfig>,
    hosts: ArcSwap<HostSet>,
    breakers: [Arc<Breaker>; 2],
}

/// One upstream host with what is counted about it. Shared by all host sets
/// that contain it.
#[derive(Debug)]
pub struct Host {
    /// Where it is.
    pub address: SocketAddr,
    /// Its name, for `auto_host_rewrite` and logs; may be empty.
    pub hostname: Arc<str>,
    /// What is counted.
    pub stats: HostStats,
}

/// Counters of a host. All are read for `/clusters`.
#[derive(Debug, Default)]
pub struct HostStats {
    /// Connections open.
    pub cx_active: AtomicU32,
    /// Connections ever.
    pub cx_total: AtomicU64,
    /// Connections that failed.
    pub cx_connect_fail: AtomicU64,
    /// Requests in flight.
    pub rq_active: AtomicU32,
    /// Requests ever.
    pub rq_total: AtomicU64,
    /// Answered with less than 500.
    pub rq_success: AtomicU64,
    /// Failed or answered with 500 or more.
    pub rq_error: AtomicU64,
    /// Timed out.
    pub rq_timeout: AtomicU64,
}

/// A host in a host set.
#[derive(Debug, Clone)]
pub struct Member {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its priority.
    pub priority: u32,
    /// Where it is.
    pub locality: Locality,
    /// What the control plane says of its health.
    pub health: Health,
    /// Whether outlier detection has it ejected.
    pub ejected: bool,
}

/// The hosts of a cluster at one moment.
#[derive(Debug, Default)]
pub struct HostSet {
    /// All hosts, by priority, in the order of the resource.
    pub members: Vec<Member>,
}

/// What a pick depends on beside the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// The request's hash ([`crate::route::Matched::hash`]).
    pub hash: Option<u64>,
    /// Hosts of earlier tries, to be avoided if the retry policy says so.
    pub previous: &'a [Arc<Host>],
    /// Picks to make before such a host is taken nevertheless
    /// (`RetryPolicy::host_selection_attempts`); 0 if they are not to be avoided.
    pub avoid_attempts: u32,
    /// Where the connection was going (ORIGINAL_DST).
    pub original_dst: Option<SocketAddr>,
    /// The request's headers (ORIGINAL_DST by header).
    pub headers: Option<&'a http::HeaderMap>,
}

/// No host. The answer is 503.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The cluster has no hosts, or none that may be used (flag UH).
    #[error("no healthy upstream")]
    NoHealthyHost,
    /// Dropped by the endpoints' policy (flag DO).
    #[error("dropped by policy {category}")]
    Dropped {
        /// Its category.
        category: Box<str>,
    },
    /// An ORIGINAL_DST cluster, and the connection's destination is not known (flag UH).
    #[error("the original destination is not known")]
    NoOriginalDestination,
}

/// Circuit breaker of one priority: limits come from the configuration at each
/// admission, counts are shared by all workers.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Connections open.
    pub connections: AtomicU32,
    /// Requests waiting for a connection.
    pub pending: AtomicU32,
    /// Requests in flight.
    pub requests: AtomicU32,
    /// Retries in flight.
    pub retries: AtomicU32,
}

/// Which limit a circuit breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `max_connections`
    Connections,
    /// `max_pending_requests`
    Pending,
    /// `max_requests`
    Requests,
    /// `max_retries` or the retry budget
    Retries,
}

/// A circuit breaker is open (flag UO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker open: {resource:?}")]
pub struct Overflow {
    /// Which limit was reached.
    pub resource: Resource,
}

/// Holds one unit of a circuit breaker until dropped.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.count(self.resource).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Breaker {
    fn count(&self, resource: Resource) -> &AtomicU32 {
        match resource {
            Resource::Connections => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Requests => &self.requests,
            Resource::Retries => &self.retries,
        }
    }
}

/// One request in flight at a host, until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Host>);

impl InFlight {
    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.stats.rq_active.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Host {
    /// Counts a request in flight until the guard is dropped.
    pub fn begin_request(self: &Arc<Self>) -> InFlight {
        self.stats.rq_active.fetch_add(1, Ordering::AcqRel);
        self.stats.rq_total.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

impl Cluster {
    /// A cluster without hosts, unless its configuration has them.
    pub fn new(config: ClusterConfig) -> Self {
        Self {
            name: config.name.clone(),
            config: ArcSwap::from_pointee(config),
            hosts: ArcSwap::default(),
            breakers: [Arc::default(), Arc::default()],
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its configuration.
    pub fn config(&self) -> Arc<ClusterConfig> {
        self.config.load_full()
    }

    /// Its hosts.
    pub fn hosts(&self) -> Arc<HostSet> {
        self.hosts.load_full()
    }

    /// Takes a new configuration; hosts and counters stay.
    pub fn update_config(&self, config: ClusterConfig) {
        self.config.store(Arc::new(config));
    }

    /// Takes new endpoints. Hosts that remain (same address) keep their
    /// counters and ejections. Names must have been resolved.
    pub fn update_endpoints(&self, assignment: &LoadAssignment) {
        let _ = assignment;
    }

    /// A host for one request or connection.
    ///
    /// # Errors
    /// [`PickError`]: the answer is 503.
    pub fn pick_endpoint(&self, context: &PickContext<'_>, rng: &mut impl RngCore) -> Result<Arc<Host>, PickError> {
        let _ = (context, rng);
        Err(PickError::NoHealthyHost)
    }

    /// Takes a unit of the circuit breaker of `priority`.
    ///
    /// # Errors
    /// [`Overflow`] if the limit is reached: the answer is 503 with flag UO.
    pub fn admit(&self, resource: Resource, priority: Priority) -> Result<Permit, Overflow> {
        let breaker = &self.breakers[priority as usize];
        breaker.count(resource).fetch_add(1, Ordering::AcqRel);
        Ok(Permit { breaker: breaker.clone(), resource })
    }

    /// The circuit breaker of `priority`, for reports.
    pub fn breaker(&self, priority: Priority) -> &Breaker {
        &self.breakers[priority as usize]
    }

    /// Tells outlier detection and the host's statistics how a try ended.
    /// Returns what that led to, for statistics.
    pub fn observe(&self, host: &Arc<Host>, outcome: Outcome, now: Instant, rng: &mut impl RngCore) -> Option<Event> {
        let _ = (host, outcome, now, rng);
        None
    }

    /// Ends ejections that have lasted long enough and, at each outlier
    /// interval, compares success rates. Call it about once a second.
    pub fn tick(&self, now: Instant, rng: &mut impl RngCore) -> Vec<(Arc<Host>, Event)> {
        let _ = (now, rng);
        Vec::new()
    }
}
