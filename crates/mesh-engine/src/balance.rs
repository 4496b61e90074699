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

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::RngCore;

use crate::cluster::{ClusterConfig, Discovery};
use crate::endpoint::{LoadAssignment, Target};
use crate::outlier::{self, Event, Outcome};
use crate::route::Priority;
use crate::tls::Labels;

mod consistent;
mod host_set;
mod limits;
mod original_dst;
mod priority;
mod schedule;
mod slow_start;
#[cfg(test)]
mod tests;

pub use host_set::{HostSet, Member};
pub use limits::{Breaker, Overflow, Permit, Resource};
pub use priority::PriorityLoad;

/// A cluster with its hosts.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    config: ArcSwap<ClusterConfig>,
    hosts: ArcSwap<HostSet>,
    breakers: [Arc<Breaker>; 2],
    /// Where round robin begins: drawn once, so that not every proxy begins with the same host.
    start: OnceLock<u64>,
    originals: original_dst::Originals,
    writer: Mutex<Writer>,
}

/// What only writers see.
#[derive(Debug, Default)]
struct Writer {
    assignment: LoadAssignment,
    by_address: HashMap<SocketAddr, Arc<Host>>,
    outlier: outlier::Timer,
    originals_swept: Option<Instant>,
    /// The newest time that was told.
    now: Option<Instant>,
    /// Whether some host was new when the hosts were last arranged.
    warming: bool,
}

/// One upstream host with what is counted about it. Shared by all host sets
/// that contain it.
#[derive(Debug)]
pub struct Host {
    /// Where it is.
    pub address: SocketAddr,
    /// Its name, for `auto_host_rewrite` and logs; may be empty.
    pub hostname: Arc<str>,
    /// What it says about its transport.
    pub labels: Labels,
    /// What is counted.
    pub stats: HostStats,
    pub(crate) monitor: outlier::Monitor,
    ejected: AtomicBool,
    /// When it came; unknown until the time is told.
    since: OnceLock<Instant>,
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

/// What a pick depends on beside the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// The request's hash ([`crate::route::Matched::hash`]), for policies that
    /// choose by hash; `None`: any host.
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
    /// A host that no cluster knows yet.
    pub(crate) fn new(address: SocketAddr, hostname: Arc<str>) -> Self {
        Self {
            address,
            hostname,
            labels: Labels::default(),
            stats: HostStats::default(),
            monitor: outlier::Monitor::default(),
            ejected: AtomicBool::new(false),
            since: OnceLock::new(),
        }
    }

    /// Counts a request in flight until the guard is dropped.
    pub fn begin_request(self: &Arc<Self>) -> InFlight {
        self.stats.rq_active.fetch_add(1, Ordering::AcqRel);
        self.stats.rq_total.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.stats.rq_active.load(Ordering::Relaxed)
    }

    /// Whether outlier detection has it ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Acquire)
    }

    /// Success rate in percent over the last outlier interval; `None` if it
    /// had too few requests.
    pub fn success_rate(&self) -> Option<f64> {
        self.monitor.success_rate()
    }

    /// When it came, if the time was told since.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.get().copied()
    }

    pub(crate) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::Release);
    }

    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Status(status) if status < 500 => &self.stats.rq_success,
            Outcome::Connected => return,
            Outcome::ConnectFailure => {
                self.stats.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
                &self.stats.rq_error
            }
            Outcome::Timeout => {
                self.stats.rq_timeout.fetch_add(1, Ordering::Relaxed);
                &self.stats.rq_error
            }
            Outcome::Status(_) | Outcome::Reset => &self.stats.rq_error,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Cluster {
    /// A cluster without hosts, unless its configuration has them. Endpoints
    /// that are still names count as none until they are resolved.
    pub fn new(config: ClusterConfig) -> Self {
        let writer = Writer { assignment: config.load_assignment.clone(), ..Writer::default() };
        let cluster = Self {
            name: config.name.clone(),
            config: ArcSwap::from_pointee(config),
            hosts: ArcSwap::default(),
            breakers: [Arc::default(), Arc::default()],
            start: OnceLock::new(),
            originals: original_dst::Originals::default(),
            writer: Mutex::new(writer),
        };
        cluster.rebuild(&mut cluster.writer.lock());
        cluster
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its configuration.
    pub fn config(&self) -> Arc<ClusterConfig> {
        self.config.load_full()
    }

    /// Its hosts, except those of ORIGINAL_DST clusters.
    pub fn hosts(&self) -> Arc<HostSet> {
        self.hosts.load_full()
    }

    /// Hosts of an ORIGINAL_DST cluster that were used lately.
    pub fn original_hosts(&self) -> Vec<Arc<Host>> {
        self.originals.all()
    }

    /// Takes a new configuration; hosts and counters stay. Endpoints in the
    /// configuration itself replace the hosts if they changed.
    pub fn update_config(&self, config: ClusterConfig) {
        let mut writer = self.writer.lock();
        let previous = self.config.load_full();
        let inline_changed = previous.load_assignment != config.load_assignment;
        let was_discovered = matches!(previous.discovery, Discovery::Eds { .. });
        if matches!(config.discovery, Discovery::Static) && (inline_changed || was_discovered) {
            writer.assignment = config.load_assignment.clone();
        }
        self.config.store(Arc::new(config));
        self.rebuild(&mut writer);
    }

    /// Takes new endpoints. Hosts that remain (same address) keep their
    /// counters and ejections. Endpoints that are still names count as none.
    pub fn update_endpoints(&self, assignment: &LoadAssignment) {
        let mut writer = self.writer.lock();
        if writer.assignment == *assignment {
            return;
        }
        writer.assignment = assignment.clone();
        self.rebuild(&mut writer);
    }

    /// A host for one request or connection.
    ///
    /// # Errors
    /// [`PickError`]: the answer is 503.
    pub fn pick_endpoint(&self, context: &PickContext<'_>, rng: &mut impl RngCore) -> Result<Arc<Host>, PickError> {
        let hosts = self.hosts.load();
        if let Some(original) = &hosts.original_dst {
            return self.originals.pick(original, context);
        }
        if let Some((category, ppm)) = hosts.drops.first()
            && rng.next_u32() % 1_000_000 < *ppm
        {
            return Err(PickError::Dropped { category: category.clone() });
        }
        if hosts.is_hashed() {
            let hash = context.hash.unwrap_or_else(|| rng.next_u64());
            let refuses = |host: &Arc<Host>| context.previous.iter().any(|p| Arc::ptr_eq(p, host));
            let host = hosts.pick_hashed(hash, context.avoid_attempts, refuses);
            return host.cloned().ok_or(PickError::NoHealthyHost);
        }
        let start = *self.start.get_or_init(|| rng.next_u64() >> 1);
        let mut tries = context.avoid_attempts;
        loop {
            let host = hosts.pick(start, rng).ok_or(PickError::NoHealthyHost)?;
            if tries == 0 || !context.previous.iter().any(|p| Arc::ptr_eq(p, host)) {
                return Ok(host.clone());
            }
            tries -= 1;
        }
    }

    /// Takes a unit of the circuit breaker of `priority`. `now` matters to a
    /// retry budget with an interval.
    ///
    /// # Errors
    /// [`Overflow`] if the limit is reached: the answer is 503 with flag UO.
    pub fn admit(&self, resource: Resource, priority: Priority, now: Instant) -> Result<Permit, Overflow> {
        let thresholds = self.config.load().thresholds[priority as usize];
        limits::admit(&self.breakers[priority as usize], resource, &thresholds, now)
    }

    /// The circuit breaker of `priority`, for reports.
    pub fn breaker(&self, priority: Priority) -> &Breaker {
        &self.breakers[priority as usize]
    }

    /// Tells outlier detection and the host's statistics how a try ended.
    /// Returns what that led to, for statistics.
    pub fn observe(&self, host: &Arc<Host>, outcome: Outcome, now: Instant, rng: &mut impl RngCore) -> Option<Event> {
        host.count(outcome);
        let config = self.config.load();
        let outlier = config.outlier_detection.as_ref()?;
        let outcome = match (outcome, &config.error_statuses) {
            (Outcome::Status(status), Some(errors)) => Outcome::Status(errors.counted(status)),
            (outcome, _) => outcome,
        };
        let reason = host.monitor.record(outlier, outcome)?;
        let mut writer = self.writer.lock();
        writer.now = writer.now.max(Some(now));
        let event = outlier::eject(outlier, reason, host, &writer.by_address, now, rng)?;
        if matches!(event, Event::Ejected(_)) {
            self.rebuild(&mut writer);
        }
        Some(event)
    }

    /// Ends ejections that have lasted long enough and, at each outlier
    /// interval, compares success rates. Call it about once a second.
    pub fn tick(&self, now: Instant, rng: &mut impl RngCore) -> Vec<(Arc<Host>, Event)> {
        let config = self.config.load_full();
        let mut writer = self.writer.lock();
        if let Discovery::OriginalDst(original) = &config.discovery {
            let swept = *writer.originals_swept.get_or_insert(now);
            if now.saturating_duration_since(swept) >= original.cleanup_interval {
                self.originals.sweep();
                writer.originals_swept = Some(now);
            }
        }
        writer.now = writer.now.max(Some(now));
        if config.slow_start.is_some() && (writer.warming || writer.by_address.values().any(|h| h.since().is_none())) {
            self.rebuild(&mut writer);
        }
        let Some(outlier) = &config.outlier_detection else {
            return self.release_all(&mut writer);
        };
        let Writer { by_address, outlier: timer, .. } = &mut *writer;
        let events = timer.tick(outlier, by_address, now, rng);
        if events.iter().any(|(_, e)| !matches!(e, Event::NotEnforced(_))) {
            self.rebuild(&mut writer);
        }
        events
    }

    /// Outlier detection was switched off: nobody stays ejected.
    fn release_all(&self, writer: &mut Writer) -> Vec<(Arc<Host>, Event)> {
        let ejected: Vec<_> = writer.by_address.values().filter(|h| h.is_ejected()).cloned().collect();
        if !ejected.is_empty() {
            ejected.iter().for_each(|h| h.set_ejected(false));
            self.rebuild(writer);
        }
        ejected.into_iter().map(|h| (h, Event::Returned)).collect()
    }

    fn rebuild(&self, writer: &mut Writer) {
        let config = self.config.load_full();
        let mut next = HashMap::new();
        for endpoint in writer.assignment.localities.iter().flat_map(|l| &l.endpoints) {
            if let Target::Address(address) = endpoint.target {
                let known = writer.by_address.get(&address);
                let known = known.filter(|h| h.hostname == endpoint.hostname && h.labels == endpoint.labels);
                let make = || {
                    let host = Host::new(address, endpoint.hostname.clone());
                    Arc::new(Host { labels: endpoint.labels.clone(), ..host })
                };
                next.entry(address).or_insert_with(|| known.cloned().unwrap_or_else(make));
            }
        }
        writer.by_address = next;
        if let (Some(now), Some(slow)) = (writer.now, &config.slow_start) {
            let since = |host: &Arc<Host>| *host.since.get_or_init(|| now);
            let young = |host| now.saturating_duration_since(since(host)) < slow.window;
            // Every host is asked, so that each knows when it came.
            writer.warming = writer.by_address.values().filter(|host| young(host)).count() > 0;
        }
        let previous = self.hosts.load_full();
        let hosts = HostSet::build(&config, &writer.assignment, &writer.by_address, &previous, writer.now);
        self.hosts.store(Arc::new(hosts));
    }
}
