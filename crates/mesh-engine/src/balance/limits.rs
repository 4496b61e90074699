//! Circuit breakers: how much may be in flight at once, per cluster and
//! priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::Thresholds;

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
    /// Requests that began lately, for a retry budget with an interval.
    recent: Mutex<Recent>,
}

/// How many requests began in each part of the last interval.
#[derive(Debug, Default)]
struct Recent {
    began: Option<Instant>,
    /// Number of the newest part, counted from `began`.
    newest: u64,
    counts: [u32; RECENT_PARTS],
}

impl Recent {
    /// Forgets parts that are over, and gives the place of the present one.
    fn advance(&mut self, interval: Duration, now: Instant) -> usize {
        let began = *self.began.get_or_insert(now);
        let part = (interval / RECENT_PARTS as u32).max(Duration::from_micros(1));
        let number = u64::try_from(now.saturating_duration_since(began).as_nanos() / part.as_nanos()).unwrap_or(0);
        let passed = number.saturating_sub(self.newest).min(RECENT_PARTS as u64);
        for step in 1..=passed {
            self.counts[((self.newest + step) % RECENT_PARTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(number);
        if passed == RECENT_PARTS as u64 {
            self.counts = [0; RECENT_PARTS];
        }
        (self.newest % RECENT_PARTS as u64) as usize
    }
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

    /// What `thresholds` allow of `resource` at `now`.
    pub fn limit(&self, resource: Resource, thresholds: &Thresholds, now: Instant) -> u32 {
        match (resource, thresholds.retry_budget) {
            (Resource::Connections, _) => thresholds.max_connections,
            (Resource::Pending, _) => thresholds.max_pending_requests,
            (Resource::Requests, _) => thresholds.max_requests,
            (Resource::Retries, None) => thresholds.max_retries,
            (Resource::Retries, Some(budget)) => {
                let busy = self.requests.load(Ordering::Relaxed).saturating_add(self.pending.load(Ordering::Relaxed));
                let busy = busy.max(self.recent(budget.interval, now));
                ((f64::from(busy) * budget.percent / 100.0) as u32).max(budget.min_concurrency)
            }
        }
    }

    /// Requests that began within `interval` before `now`; 0 if that is zero.
    fn recent(&self, interval: Duration, now: Instant) -> u32 {
        if interval.is_zero() {
            return 0;
        }
        let mut recent = self.recent.lock();
        recent.advance(interval, now);
        recent.counts.iter().sum()
    }

    fn note(&self, interval: Duration, now: Instant) {
        if !interval.is_zero() {
            let mut recent = self.recent.lock();
            let part = recent.advance(interval, now);
            recent.counts[part] = recent.counts[part].saturating_add(1);
        }
    }

    /// Whether the limit of `resource` is reached at `now`.
    pub fn is_open(&self, resource: Resource, thresholds: &Thresholds, now: Instant) -> bool {
        self.count(resource).load(Ordering::Relaxed) >= self.limit(resource, thresholds, now)
    }
}

pub(super) fn admit(
    breaker: &Arc<Breaker>,
    resource: Resource,
    thresholds: &Thresholds,
    now: Instant,
) -> Result<Permit, Overflow> {
    let limit = breaker.limit(resource, thresholds, now);
    let count = breaker.count(resource);
    // Counted first, so that two workers cannot both take the last unit.
    if count.fetch_add(1, Ordering::AcqRel) >= limit {
        count.fetch_sub(1, Ordering::AcqRel);
        return Err(Overflow { resource });
    }
    if let (Resource::Requests, Some(budget)) = (resource, thresholds.retry_budget) {
        breaker.note(budget.interval, now);
    }
    Ok(Permit { breaker: breaker.clone(), resource })
}

/// How finely an interval is told.
const RECENT_PARTS: usize = 16;
