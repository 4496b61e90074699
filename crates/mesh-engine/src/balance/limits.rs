//! Circuit breakers: how much may be in flight at once, per cluster and
//! priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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

    /// What `thresholds` allow of `resource` now.
    pub fn limit(&self, resource: Resource, thresholds: &Thresholds) -> u32 {
        match (resource, thresholds.retry_budget) {
            (Resource::Connections, _) => thresholds.max_connections,
            (Resource::Pending, _) => thresholds.max_pending_requests,
            (Resource::Requests, _) => thresholds.max_requests,
            (Resource::Retries, None) => thresholds.max_retries,
            (Resource::Retries, Some(budget)) => {
                let busy = self.requests.load(Ordering::Relaxed).saturating_add(self.pending.load(Ordering::Relaxed));
                ((f64::from(busy) * budget.percent / 100.0) as u32).max(budget.min_concurrency)
            }
        }
    }

    /// Whether the limit of `resource` is reached.
    pub fn is_open(&self, resource: Resource, thresholds: &Thresholds) -> bool {
        self.count(resource).load(Ordering::Relaxed) >= self.limit(resource, thresholds)
    }
}

pub(super) fn admit(breaker: &Arc<Breaker>, resource: Resource, thresholds: &Thresholds) -> Result<Permit, Overflow> {
    let limit = breaker.limit(resource, thresholds);
    let count = breaker.count(resource);
    // Counted first, so that two workers cannot both take the last unit.
    if count.fetch_add(1, Ordering::AcqRel) >= limit {
        count.fetch_sub(1, Ordering::AcqRel);
        return Err(Overflow { resource });
    }
    Ok(Permit { breaker: breaker.clone(), resource })
}
