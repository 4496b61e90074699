//! What one worker thread has to itself, and what all share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_engine::listener::FilterChain;
use mesh_engine::{Listener, Listeners};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::access_log::{LogWriter, Pending};
use crate::demand::Demand;
use crate::options::DrainStrategy;
use crate::stats::Stats;
use crate::upstream::pool::Pools;
use crate::upstream::{Upstream, Upstreams};

/// What every thread of a proxy reads.
pub(crate) struct Shared {
    pub(crate) listeners: ArcSwap<Listeners>,
    pub(crate) upstreams: Upstreams,
    /// Clusters come when they are needed; `None`: all come at once.
    pub(crate) demand: Option<Demand>,
    /// What connections handshake by.
    pub(crate) tls: ArcSwap<crate::tls::Contexts>,
    pub(crate) stats: Stats,
    pub(crate) logs: LogWriter,
    pub(crate) log_flush: Duration,
    pub(crate) hostname: String,
    pub(crate) drain_time: Duration,
    pub(crate) drain_strategy: DrainStrategy,
    /// Names that clients ask for may lead to this machine.
    pub(crate) local_destinations: bool,
    /// `/healthcheck/fail`
    pub(crate) failing: AtomicBool,
    /// Downstream connections of all workers.
    pub(crate) open: AtomicU64,
    connection_ids: AtomicU64,
}

impl Shared {
    pub(crate) fn new(stats: Stats, logs: LogWriter, options: &crate::options::Options) -> Self {
        Self {
            listeners: ArcSwap::default(),
            upstreams: Upstreams::default(),
            demand: options.on_demand_clusters.then(Demand::new),
            tls: ArcSwap::default(),
            stats,
            logs,
            log_flush: options.file_flush_interval.clamp(LOG_FLUSH_MIN, TICK),
            hostname: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map_or_else(|_| String::new(), |h| h.trim().to_owned()),
            drain_time: options.drain_time,
            drain_strategy: options.drain_strategy,
            local_destinations: options.allow_local_destinations,
            failing: AtomicBool::new(false),
            open: AtomicU64::new(0),
            connection_ids: AtomicU64::new(1),
        }
    }

    /// The cluster called `name`, waiting for it if clusters come on demand.
    pub(crate) async fn need(&self, name: &str) -> Option<Arc<Upstream>> {
        match (self.upstreams.get(name), &self.demand) {
            (Some(upstream), _) => Some(upstream),
            // Apart, so that a request whose cluster is here stays small.
            (None, Some(demand)) => Box::pin(demand.wait_for(name, &self.upstreams)).await,
            (None, None) => None,
        }
    }

    pub(crate) fn connection_id(&self) -> u64 {
        self.connection_ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// One worker thread's own.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pools: Pools,
    pub(crate) rng: RefCell<SmallRng>,
    pub(crate) logs: RefCell<Pending>,
    pub(crate) connections: Connections,
    /// Names that clients ask for.
    pub(crate) names: crate::dynamic::Names,
    /// Handshakes with clients under way.
    pub(crate) handshakes: Cell<usize>,
    /// Copies of requests under way.
    pub(crate) copies: Cell<usize>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            pools: Pools::new(shared.clone()),
            names: crate::dynamic::Names::new(shared.local_destinations),
            shared,
            // Seeded from the system once; no system call per request after that.
            rng: RefCell::new(SmallRng::from_os_rng()),
            logs: RefCell::default(),
            connections: Connections::default(),
            handshakes: Cell::new(0),
            copies: Cell::new(0),
        })
    }

    pub(crate) fn random(&self) -> u64 {
        self.rng.borrow_mut().random()
    }

    /// Looks after everything that is not on a request's path, about once a
    /// second, for ever.
    pub(crate) async fn housekeeping(self: Rc<Self>) {
        let mut swept = Instant::now();
        loop {
            tokio::time::sleep(self.shared.log_flush).await;
            self.logs.borrow_mut().flush(&self.shared.logs);
            if swept.elapsed() >= TICK {
                swept = Instant::now();
                self.pools.sweep();
                self.connections.sweep();
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.logs.borrow_mut().flush(&self.shared.logs);
    }
}

/// The downstream connections of a worker, so that they can be drained.
#[derive(Default)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Rc<ConnectionState>>>,
}

/// What others may tell a downstream connection, and what it tells them.
pub(crate) struct ConnectionState {
    pub(crate) listener: Arc<str>,
    /// Identity of its filter chain.
    pub(crate) chain: *const FilterChain,
    /// Close as soon as the requests under way are answered.
    pub(crate) drain: Cell<bool>,
    /// Close now.
    pub(crate) cut: Cell<bool>,
    pub(crate) waker: RefCell<Option<Waker>>,
    pub(crate) opened: Instant,
    /// Requests under way; bytes under way always count as one.
    pub(crate) active: Cell<u32>,
    pub(crate) requests: Cell<u64>,
    pub(crate) quiet_since: Cell<Instant>,
    pub(crate) limits: Limits,
    pub(crate) idle_timeouts: Cell<u64>,
}

/// When a connection is drained without being told to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Without a request for this long.
    pub(crate) idle: Option<Duration>,
    /// Open for this long.
    pub(crate) lifetime: Option<Duration>,
    /// Open for this long without one complete request.
    pub(crate) first_request: Option<Duration>,
}

impl Connections {
    /// Enters a connection until the returned guard is dropped.
    pub(crate) fn enter(
        worker: &Rc<Worker>,
        id: u64,
        listener: &Listener,
        chain: &Arc<FilterChain>,
        limits: Limits,
    ) -> Entered {
        let now = Instant::now();
        let state = Rc::new(ConnectionState {
            listener: listener.name.clone(),
            chain: Arc::as_ptr(chain),
            drain: Cell::new(false),
            cut: Cell::new(false),
            waker: RefCell::default(),
            opened: now,
            active: Cell::new(0),
            requests: Cell::new(0),
            quiet_since: Cell::new(now),
            limits,
            idle_timeouts: Cell::new(0),
        });
        worker.connections.open.borrow_mut().insert(id, state.clone());
        worker.shared.open.fetch_add(1, Ordering::Relaxed);
        Entered { worker: worker.clone(), id, state }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Asks the connections that `which` selects to close.
    pub(crate) fn drain(&self, which: impl Fn(&ConnectionState) -> bool) {
        self.open.borrow().values().filter(|c| which(c)).for_each(|c| c.drain());
    }

    /// The connections that `which` selects.
    pub(crate) fn select(&self, which: impl Fn(&ConnectionState) -> bool) -> Vec<Rc<ConnectionState>> {
        self.open.borrow().values().filter(|c| which(c)).cloned().collect()
    }

    /// Ends a connection now.
    pub(crate) fn cut(connection: &ConnectionState) {
        connection.cut.set(true);
        connection.wake();
    }

    fn sweep(&self) {
        let now = Instant::now();
        let past = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|l| !l.is_zero() && now.duration_since(since) >= l)
        };
        for connection in self.open.borrow().values().filter(|c| !c.drain.get()) {
            let limits = &connection.limits;
            let quiet = connection.active.get() == 0;
            let idle = quiet && past(connection.quiet_since.get(), limits.idle);
            let slow = connection.requests.get() == 0 && past(connection.opened, limits.first_request);
            if idle || slow {
                connection.idle_timeouts.set(1);
            }
            if slow {
                Self::cut(connection);
            } else if idle || past(connection.opened, limits.lifetime) {
                connection.drain();
            }
        }
    }
}

impl ConnectionState {
    /// Asks the connection to close.
    pub(crate) fn drain(&self) {
        if !self.drain.replace(true) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.requests.set(self.requests.get() + 1);
    }

    /// A request has ended at `now`.
    pub(crate) fn end(&self, now: Instant) {
        self.active.set(self.active.get().saturating_sub(1));
        self.quiet_since.set(now);
    }

    /// Keeps the waker of the connection's task.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }
}

/// See [`Connections::enter`].
pub(crate) struct Entered {
    worker: Rc<Worker>,
    id: u64,
    pub(crate) state: Rc<ConnectionState>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.worker.connections.open.borrow_mut().remove(&self.id);
        self.worker.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Between two sweeps.
const TICK: Duration = Duration::from_secs(1);
/// Shortest interval at which log lines are handed over.
const LOG_FLUSH_MIN: Duration = Duration::from_millis(20);
