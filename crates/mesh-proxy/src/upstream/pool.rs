//! The connections of one worker to one endpoint.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use mesh_engine::balance::{Host, Permit, Resource};
use mesh_engine::cluster::ClusterConfig;
use mesh_engine::route::Priority;
use mesh_engine::tls::TlsFacts;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connect::{self, Opened, Purpose};
use super::h1::H1;
use super::h2::H2;
use super::{Failure, Upstream};
use crate::io::{Io, Tally};
use crate::stats::sets::ClusterStats;
use crate::tls::client::Inside;
use crate::tls::proxy_protocol::Client;
use crate::worker::Shared;

/// All pools of a worker.
pub(crate) struct Pools {
    shared: Arc<Shared>,
    /// By the host's address in memory, which the pool keeps from being reused.
    by_host: RefCell<HashMap<usize, Rc<Pool>, BuildHasherDefault<PointerHasher>>>,
    /// Those whose connections do not suit every request.
    apart: RefCell<HashMap<(usize, Apart), Rc<Pool>>>,
}

/// What sets the connections for one request apart from those for others to
/// the same host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Apart {
    /// TLS asks for this name.
    pub(crate) server_name: Option<Arc<str>>,
    /// A PROXY header names this client.
    pub(crate) client: Option<Client>,
}

impl Pools {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, by_host: RefCell::default(), apart: RefCell::default() }
    }

    /// The pool of `host`, made if there is none. `apart`: the one for such
    /// requests only.
    pub(crate) fn of(&self, upstream: &Arc<Upstream>, host: &Arc<Host>, apart: Option<&Apart>) -> Rc<Pool> {
        let key = Arc::as_ptr(host) as usize;
        if let Some(apart) = apart {
            let mut pools = self.apart.borrow_mut();
            let pool = pools.entry((key, apart.clone()));
            return pool.or_insert_with(|| self.pool(upstream, host, apart.clone())).clone();
        }
        if let Some(pool) = self.by_host.borrow().get(&key) {
            return pool.clone();
        }
        let pool = self.pool(upstream, host, Apart::default());
        self.by_host.borrow_mut().insert(key, pool.clone());
        pool
    }

    fn pool(&self, upstream: &Arc<Upstream>, host: &Arc<Host>, apart: Apart) -> Rc<Pool> {
        Rc::new(Pool {
            shared: self.shared.clone(),
            apart,
            upstream: upstream.clone(),
            host: host.clone(),
            idle: RefCell::default(),
            open: Cell::new(0),
            waiting: RefCell::default(),
            h2: RefCell::default(),
            h2_waiting: RefCell::default(),
            h2_connecting: Cell::new(false),
            retired: Cell::new(false),
        })
    }

    /// Closes what idled too long or was closed by the other end, and forgets
    /// the pools of hosts that are gone. To be called about once a second.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut holders: HashMap<usize, usize> = self.by_host.borrow().keys().map(|key| (*key, 1)).collect();
        self.apart.borrow().keys().for_each(|(key, _)| *holders.entry(*key).or_default() += 1);
        // Nobody but its pools knows a host: it left the cluster.
        let left = |key: usize, pool: &Pool| holders.get(&key) == Some(&Arc::strong_count(&pool.host));
        let gone: HashSet<usize> = {
            let by_host = self.by_host.borrow();
            let apart = self.apart.borrow();
            let all = by_host.iter().map(|(k, p)| (*k, p)).chain(apart.iter().map(|((k, _), p)| (*k, p)));
            all.filter(|(key, pool)| left(*key, pool)).map(|(key, _)| key).collect()
        };
        self.by_host.borrow_mut().retain(|key, pool| {
            pool.sweep(now, gone.contains(key));
            !gone.contains(key)
        });
        self.apart.borrow_mut().retain(|(key, _), pool| {
            pool.sweep(now, gone.contains(key));
            !gone.contains(key) && !pool.is_unused()
        });
    }
}

/// The connections to one host.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    apart: Apart,
    upstream: Arc<Upstream>,
    host: Arc<Host>,
    /// HTTP/1 connections without a request; the last used is taken first.
    #[allow(clippy::vec_box)] // It moves between here and requests; the box moves, not what is in it.
    idle: RefCell<Vec<Box<H1>>>,
    /// HTTP/1 connections, idle or not.
    open: Cell<u32>,
    /// Requests that wait because the cluster may have no more connections.
    waiting: RefCell<VecDeque<oneshot::Sender<Box<H1>>>>,
    h2: RefCell<Vec<Rc<H2>>>,
    h2_waiting: RefCell<Vec<oneshot::Sender<Result<(), Failure>>>>,
    h2_connecting: Cell<bool>,
    retired: Cell<bool>,
}

impl Pool {
    /// An HTTP/1 connection for one request: an idle one, a new one, or, if
    /// the cluster's limit is reached, the next that becomes idle.
    pub(crate) async fn h1(self: &Rc<Self>, config: &ClusterConfig, priority: Priority) -> Result<Box<H1>, Failure> {
        if let Some(h1) = self.take_idle() {
            return Ok(h1);
        }
        match self.upstream.cluster.admit(Resource::Connections, priority, std::time::Instant::now()) {
            Ok(permit) => self.new_h1(config, Some(permit)).await,
            // A pool may always have one connection, or a worker could starve.
            Err(_) if self.open.get() == 0 => self.new_h1(config, None).await,
            Err(_) => {
                self.upstream.stats.upstream_cx_overflow.inc();
                let _permit = self.pend(priority)?;
                let (give, wait) = oneshot::channel();
                self.waiting.borrow_mut().push_back(give);
                wait.await.map_err(|_| Failure::Overflow)
            }
        }
    }

    fn pend(&self, priority: Priority) -> Result<Permit, Failure> {
        self.upstream.stats.upstream_rq_pending_total.inc();
        self.upstream.cluster.admit(Resource::Pending, priority, std::time::Instant::now()).map_err(|_| {
            self.upstream.stats.upstream_rq_pending_overflow.inc();
            Failure::Overflow
        })
    }

    fn take_idle(&self) -> Option<Box<H1>> {
        // Whether it still lives shows when the request is sent: one that
        // was not sent comes back and takes the next.
        self.idle.borrow_mut().pop()
    }

    async fn new_h1(self: &Rc<Self>, config: &ClusterConfig, permit: Option<Permit>) -> Result<Box<H1>, Failure> {
        let (io, counted, tls) = self.connect(config, permit, Inside::Http1).await?;
        self.upstream.stats.upstream_cx_http1_total.inc();
        H1::handshake(io, counted, config, tls).await
    }

    /// Takes back a connection whose response has ended.
    pub(crate) fn give_back(&self, mut h1: Box<H1>) {
        let config = self.upstream.cluster.config();
        if config.max_requests_per_connection.is_some_and(|max| h1.requests >= max) {
            self.upstream.stats.upstream_cx_max_requests.inc();
            return;
        }
        if self.retired.get() || too_old(&config, h1.opened) || !h1.ready_again() {
            return;
        }
        while let Some(waiter) = self.waiting.borrow_mut().pop_front() {
            match waiter.send(h1) {
                Ok(()) => return,
                Err(back) => h1 = back,
            }
        }
        h1.idle_since = Instant::now();
        self.idle.borrow_mut().push(h1);
    }

    /// An HTTP/2 connection with room for a stream.
    pub(crate) async fn h2(
        self: &Rc<Self>,
        config: &Arc<ClusterConfig>,
        priority: Priority,
    ) -> Result<Rc<H2>, Failure> {
        for _ in 0..H2_WAITS_MAX {
            if let Some(h2) = self.h2_with_room(config) {
                return Ok(h2);
            }
            let _permit = self.pend(priority)?;
            let (give, wait) = oneshot::channel();
            self.h2_waiting.borrow_mut().push(give);
            if !self.h2_connecting.replace(true) {
                let permit = self.upstream.cluster.admit(Resource::Connections, priority, std::time::Instant::now());
                if permit.is_err() && !self.h2.borrow().is_empty() {
                    self.h2_connecting.set(false);
                    self.upstream.stats.upstream_cx_overflow.inc();
                    return Err(Failure::Overflow);
                }
                tokio::task::spawn_local(self.clone().open_h2(config.clone(), permit.ok()));
            }
            // A dropped sender means that the connection came and went: look again.
            if let Ok(result) = wait.await {
                result?;
            }
        }
        Err(Failure::Overflow)
    }

    fn h2_with_room(&self, config: &ClusterConfig) -> Option<Rc<H2>> {
        let mut all = self.h2.borrow_mut();
        all.retain(|c| !c.closing.get() && !too_old(config, c.opened));
        let at = all.iter().position(|c| c.has_room())?;
        let h2 = all[at].clone();
        if config.max_requests_per_connection.is_some_and(|max| h2.requests.get() + 1 >= max) {
            self.upstream.stats.upstream_cx_max_requests.inc();
            all.swap_remove(at);
        }
        Some(h2)
    }

    /// In a task of its own: the request that asked for it may go away.
    async fn open_h2(self: Rc<Self>, config: Arc<ClusterConfig>, permit: Option<Permit>) {
        let opened = async {
            let (io, counted, tls) = self.connect(&config, permit, Inside::Http2).await?;
            self.upstream.stats.upstream_cx_http2_total.inc();
            H2::handshake(io, counted, &config.http.http2, tls).await
        }
        .await;
        self.h2_connecting.set(false);
        let waiting = std::mem::take(&mut *self.h2_waiting.borrow_mut());
        match opened {
            Ok(h2) => {
                self.h2.borrow_mut().push(h2);
                waiting.into_iter().for_each(|w| drop(w.send(Ok(()))));
            }
            Err(failure) => waiting.into_iter().for_each(|w| drop(w.send(Err(failure.again())))),
        }
    }

    async fn connect(
        self: &Rc<Self>,
        config: &ClusterConfig,
        permit: Option<Permit>,
        inside: Inside,
    ) -> Result<(Io, Counted, Option<Arc<TlsFacts>>), Failure> {
        let pool = (inside == Inside::Http1).then(|| self.clone());
        let counted = Counted::new(&self.upstream, &self.host, permit, pool);
        let purpose = Purpose { inside, server_name: self.apart.server_name.clone(), client: self.apart.client };
        let Opened { stream, tls, .. } = counted.open(&self.shared, config, &purpose).await?;
        Ok((Io::new(stream, Bytes::new(), Tally::Upstream(self.upstream.stats.clone())), counted, tls))
    }

    /// Whether nobody has or wants a connection of it.
    fn is_unused(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1 && self.open.get() == 0 && self.h2.borrow().is_empty()
    }

    fn sweep(&self, now: Instant, gone: bool) {
        let idle_timeout = self.upstream.cluster.config().idle_timeout.filter(|d| !d.is_zero());
        let too_long = |since: Instant| idle_timeout.is_some_and(|max| now.duration_since(since) >= max);
        if gone {
            self.retired.set(true);
            self.h2.borrow_mut().clear();
        }
        // Taken out first: a connection's end counts itself off in this pool.
        let mut idle = std::mem::take(&mut *self.idle.borrow_mut());
        idle.retain_mut(|h1| {
            if too_long(h1.idle_since) {
                self.upstream.stats.upstream_cx_idle_timeout.inc();
                return false;
            }
            !gone && h1.alive()
        });
        self.idle.borrow_mut().extend(idle);
        self.h2.borrow_mut().retain(|h2| {
            let timed_out = h2.active.get() == 0 && too_long(h2.idle_since.get());
            if timed_out {
                self.upstream.stats.upstream_cx_idle_timeout.inc();
            }
            !timed_out && !h2.closing.get()
        });
    }
}

/// A connection attempt, and then the connection, in all counters that know of
/// it, until dropped.
pub(crate) struct Counted {
    upstream: Arc<Upstream>,
    host: Arc<Host>,
    _permit: Option<Permit>,
    began: Instant,
    connected: Cell<bool>,
    h1_pool: Option<Rc<Pool>>,
}

impl Counted {
    pub(crate) fn new(
        upstream: &Arc<Upstream>,
        host: &Arc<Host>,
        permit: Option<Permit>,
        h1_pool: Option<Rc<Pool>>,
    ) -> Self {
        upstream.stats.upstream_cx_total.inc();
        upstream.stats.upstream_cx_active.inc();
        host.stats.cx_total.fetch_add(1, Relaxed);
        host.stats.cx_active.fetch_add(1, Relaxed);
        if let Some(pool) = &h1_pool {
            pool.open.set(pool.open.get() + 1);
        }
        Self {
            upstream: upstream.clone(),
            host: host.clone(),
            _permit: permit,
            began: Instant::now(),
            connected: Cell::new(false),
            h1_pool,
        }
    }

    /// Connects to the host.
    pub(crate) async fn open(
        &self,
        shared: &Shared,
        config: &ClusterConfig,
        purpose: &Purpose,
    ) -> Result<Opened, Failure> {
        let result = connect::open(shared, self.stats(), config, &self.host, purpose).await;
        match &result {
            Ok(_) => {
                self.connected.set(true);
                self.stats().upstream_cx_connect_ms.record(millis(self.began.elapsed()));
            }
            Err(failure) => {
                self.stats().upstream_cx_connect_fail.inc();
                if matches!(failure, Failure::ConnectTimeout) {
                    self.stats().upstream_cx_connect_timeout.inc();
                }
                self.host.stats.cx_connect_fail.fetch_add(1, Relaxed);
            }
        }
        result
    }

    /// Counts what a TCP session moved over it.
    pub(crate) fn bytes(&self, moved: crate::tcp::copy::Moved) {
        self.stats().upstream_cx_tx_bytes_total.add(moved.sent);
        self.stats().upstream_cx_rx_bytes_total.add(moved.received);
    }

    fn stats(&self) -> &ClusterStats {
        &self.upstream.stats
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats().upstream_cx_active.dec();
        self.host.stats.cx_active.fetch_sub(1, Relaxed);
        if self.connected.get() {
            self.stats().upstream_cx_destroy.inc();
            self.stats().upstream_cx_length_ms.record(millis(self.began.elapsed()));
        }
        let Some(pool) = self.h1_pool.take() else { return };
        pool.open.set(pool.open.get() - 1);
        // A connection that ends makes room for a request that waits.
        let wanted = pool.waiting.borrow().iter().any(|w| !w.is_closed());
        if pool.open.get() == 0 && wanted {
            tokio::task::spawn_local(async move {
                let config = pool.upstream.cluster.config();
                match pool.new_h1(&config, None).await {
                    Ok(h1) => pool.give_back(h1),
                    Err(_) => pool.waiting.borrow_mut().clear(),
                }
            });
        }
    }
}

/// Whether a connection has lived as long as its cluster lets it. Requests
/// under way on it may finish.
fn too_old(config: &ClusterConfig, opened: Instant) -> bool {
    config.max_connection_duration.is_some_and(|max| !max.is_zero() && opened.elapsed() >= max)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Addresses in memory are spread well enough after one multiplication.
#[derive(Default)]
pub(crate) struct PointerHasher(u64);

impl Hasher for PointerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(*byte as usize);
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_right(20);
    }
}

/// Connections that a request may see come and go before it gives up.
const H2_WAITS_MAX: usize = 8;
