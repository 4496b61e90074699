//! Decides when a changing mesh has settled enough to be passed on.
//!
//! ```text
//! note(change, now) ──► Settle ── due() ──► the owner waits ── take(now) ──► build a snapshot
//! ```
//!
//! Rules come in bursts (a folder is saved file by file, a release touches many
//! objects) and each pass over them concerns every proxy, so they wait until
//! the mesh has been quiet for a while, but not for ever.
//!
//! Endpoints take a shorter path. Until a proxy hears that an endpoint is gone,
//! requests to it fail; and the work for an endpoint change follows the change,
//! not the mesh, so that a storm of them costs little more than one. They wait
//! only as long as the parts of one event (the EndpointSlices of one rollout
//! step) take to arrive. Rules that wait meanwhile go along, because a snapshot
//! always holds all that is known: an update is never torn apart.
//!
//! Invariant: whatever was noted is due no later than its kind's upper bound
//! after it was first noted. Time is a parameter; nothing here waits.

use std::time::{Duration, Instant};

/// What kind of change was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Endpoints and nothing else.
    Endpoints,
    /// Anything else.
    Config,
}

/// How long one class of change waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Until there was no change of its class for this long,
    pub quiet: Duration,
    /// but no longer than this after the first.
    pub max: Duration,
}

/// The debounce. See the module's documentation.
#[derive(Debug)]
pub struct Settle {
    endpoints: Window,
    config: Window,
    pending_endpoints: Option<Burst>,
    pending_config: Option<Burst>,
}

/// Changes that wait.
#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    last: Instant,
    changes: usize,
}

/// What has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The widest class in it.
    pub class: Class,
    /// How long the oldest change has waited.
    pub waited: Duration,
    /// How many updates it joins.
    pub updates: usize,
}

impl Settle {
    /// Nothing waits yet.
    pub fn new(endpoints: Window, config: Window) -> Self {
        Self { endpoints, config, pending_endpoints: None, pending_config: None }
    }

    /// Takes note of an update at `now`. Updates must be noted in time order.
    pub fn note(&mut self, class: Class, now: Instant) {
        let pending = match class {
            Class::Endpoints => &mut self.pending_endpoints,
            Class::Config => &mut self.pending_config,
        };
        let burst = pending.get_or_insert(Burst { first: now, last: now, changes: 0 });
        burst.last = now;
        burst.changes += 1;
    }

    /// When to call [`Settle::take`]; `None` while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let due =
            |burst: Option<Burst>, window: Window| burst.map(|b| (b.last + window.quiet).min(b.first + window.max));
        let both = [due(self.pending_endpoints, self.endpoints), due(self.pending_config, self.config)];
        both.into_iter().flatten().min()
    }

    /// What has settled by `now`: everything that waits, or nothing.
    pub fn take(&mut self, now: Instant) -> Option<Settled> {
        self.due().filter(|due| *due <= now)?;
        self.flush(now)
    }

    /// Everything that waits, settled or not.
    pub fn flush(&mut self, now: Instant) -> Option<Settled> {
        let class = if self.pending_config.is_some() { Class::Config } else { Class::Endpoints };
        let bursts = [self.pending_endpoints.take(), self.pending_config.take()];
        let first = bursts.iter().flatten().map(|b| b.first).min()?;
        let updates = bursts.iter().flatten().map(|b| b.changes).sum();
        Some(Settled { class, waited: now.saturating_duration_since(first), updates })
    }
}

#[cfg(test)]
mod tests;
