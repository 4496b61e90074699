//! What is known of one request while it lives. Dropping it is its end: that
//! counts it, gives back what it held, and logs it, however it ended.

use std::future::Future as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::request::Parts;
use mesh_engine::balance::{InFlight, Permit};
use mesh_engine::listener::FilterChain;
use mesh_engine::tls::TlsFacts;
use mesh_engine::{Facts, HttpConnectionManager, Matched, Outcome, RequestView, ResponseFlags, grpc};
use tokio::time::Instant;

use crate::stats::sets::HttpStats;
use crate::upstream::Upstream;
use crate::upstream::body::Progress;
use crate::upstream::pool::millis;
use crate::worker::{ConnectionState, Worker};

/// A downstream connection, as its requests see it.
pub(crate) struct Downstream {
    pub(crate) worker: Rc<Worker>,
    pub(crate) chain: Arc<FilterChain>,
    pub(crate) hcm: Arc<HttpConnectionManager>,
    pub(crate) stats: Arc<HttpStats>,
    pub(crate) state: Rc<ConnectionState>,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) original_dst: Option<SocketAddr>,
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) tls: Option<Arc<TlsFacts>>,
    pub(crate) id: u64,
}

impl Downstream {
    /// What the client's handshake named, whoever looked at it.
    pub(crate) fn requested_server_name(&self) -> Option<&str> {
        let handshake = self.tls.as_ref().and_then(|t| t.server_name.as_deref());
        self.server_name.as_deref().or(handshake)
    }
}

/// See the module.
pub(crate) struct Exchange {
    pub(crate) down: Rc<Downstream>,
    pub(crate) started: Instant,
    /// The request's head as it was routed; kept if a retry or a log needs it.
    pub(crate) head: Option<Parts>,
    pub(crate) grpc: bool,
    pub(crate) version: http::Version,
    pub(crate) remote: SocketAddr,
    pub(crate) matched: Option<Matched>,
    pub(crate) progress: Option<Rc<Progress>>,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) response: Option<Box<Answer>>,
    pub(crate) bytes_sent: u64,
    pub(crate) attempts: u32,
    pub(crate) attempt: Option<Attempt>,
    /// The cluster that had no host for the request.
    pub(crate) unreached: Option<Arc<Upstream>>,
    pub(crate) failure: Option<String>,
    /// Cookies that the client is given with a response from upstream.
    pub(crate) cookies: Vec<http::HeaderValue>,
    pub(crate) timer: Option<Timer>,
    /// The whole response went down.
    pub(crate) complete: bool,
    silent: bool,
    wall: Option<SystemTime>,
}

/// Kept of a response for the logs.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) first_byte: Option<Duration>,
}

/// A try at an endpoint.
pub(crate) struct Attempt {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) flight: InFlight,
    pub(crate) began: Instant,
    pub(crate) version: http::Version,
    /// TLS of its connection, once that is known.
    pub(crate) tls: Option<Arc<TlsFacts>>,
    /// Outlier detection was told how it ended.
    pub(crate) observed: bool,
    pub(crate) _permit: Option<Permit>,
    pub(crate) _retry_permit: Option<Permit>,
}

impl Exchange {
    pub(crate) fn begin(down: &Rc<Downstream>, version: http::Version) -> Box<Self> {
        down.stats.downstream_rq_total.inc();
        down.stats.downstream_rq_active.inc();
        down.stats.rq_total.inc();
        match version {
            http::Version::HTTP_2 => down.stats.downstream_rq_http2_total.inc(),
            _ => down.stats.downstream_rq_http1_total.inc(),
        }
        down.state.begin();
        let wall = (!down.hcm.access_log.is_empty()).then(SystemTime::now);
        let mut exchange = Self::blank(down, version);
        exchange.wall = wall;
        Box::new(exchange)
    }

    /// One that counts and logs nothing: for the head of a response whose
    /// exchange goes on elsewhere.
    pub(crate) fn silent(down: &Rc<Downstream>) -> Box<Self> {
        down.state.begin();
        let mut exchange = Self::blank(down, http::Version::HTTP_11);
        (exchange.silent, exchange.complete) = (true, true);
        Box::new(exchange)
    }

    fn blank(down: &Rc<Downstream>, version: http::Version) -> Self {
        Self {
            down: down.clone(),
            started: Instant::now(),
            head: None,
            grpc: false,
            version,
            remote: down.remote,
            matched: None,
            progress: None,
            flags: ResponseFlags::NONE,
            details: None,
            status: None,
            response: None,
            bytes_sent: 0,
            attempts: 0,
            attempt: None,
            unreached: None,
            failure: None,
            cookies: Vec::new(),
            timer: None,
            complete: false,
            silent: false,
            wall: None,
        }
    }

    /// How long the stream may be silent.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.timer.as_ref().and_then(|t| t.idle)
    }

    pub(crate) fn logged(&self) -> bool {
        self.wall.is_some()
    }

    /// Whether the request's head is looked at again when the answer goes down:
    /// by a log, or by a filter.
    pub(crate) fn keeps_head(&self) -> bool {
        self.logged() || self.matched.as_ref().is_some_and(|m| self.down.hcm.response_depends_on_request(m))
    }

    /// Tells outlier detection how the current try ended, once.
    pub(crate) fn observe(&mut self, outcome: Outcome) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| !a.observed) else { return };
        attempt.observed = true;
        let rng = &mut *self.down.worker.rng.borrow_mut();
        let now = std::time::Instant::now();
        let event = attempt.upstream.cluster.observe(attempt.flight.host(), outcome, now, rng);
        attempt.upstream.count_event(event);
    }

    /// Everything a format operator may ask. `view` is the request's head.
    pub(crate) fn facts<'a>(&'a self, view: Option<RequestView<'a>>) -> Facts<'a> {
        let down = &*self.down;
        let attempt = self.attempt.as_ref();
        Facts {
            request: view,
            response_headers: self.response.as_ref().map(|r| &r.headers),
            response_trailers: self.response.as_ref().and_then(|r| r.trailers.as_ref()),
            response_code: self.status,
            response_code_details: self.details,
            flags: self.flags,
            start_time: self.wall,
            response_duration: self.response.as_ref().and_then(|r| r.first_byte),
            duration: Some(self.started.elapsed()),
            bytes_received: self.progress.as_ref().map_or(0, |p| p.bytes.get()),
            bytes_sent: self.bytes_sent,
            protocol: Some(self.version),
            upstream_protocol: attempt.map(|a| a.version),
            downstream_remote: Some(self.remote),
            downstream_direct_remote: Some(down.remote),
            downstream_local: Some(down.local),
            upstream_host: attempt.map(|a| a.flight.host().address),
            upstream_host_name: attempt.map(|a| &*a.flight.host().hostname).filter(|n| !n.is_empty()),
            upstream_cluster: attempt.map(|a| &a.upstream).or(self.unreached.as_ref()).map(|u| &**u.cluster.name()),
            upstream_failure: self.failure.as_deref(),
            attempts: self.attempts,
            route_name: self.matched.as_ref().map(|m| &*m.route().name),
            virtual_host: self.matched.as_ref().map(|m| &*m.virtual_host().name),
            filter_chain: Some(&down.chain.name),
            server_name: down.requested_server_name(),
            downstream_tls: down.tls.as_deref(),
            upstream_tls: attempt.and_then(|a| a.tls.as_deref()),
            connection_id: Some(down.id),
            hostname: Some(&down.worker.shared.hostname),
            access_log_type: Some("DownstreamEnd"),
            ..Facts::default()
        }
    }

    /// Gives back the try's permits and counts its end.
    pub(crate) fn end_attempt(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.end();
        }
    }

    /// Counts a timeout where Envoy does.
    pub(crate) fn count_timeout(&mut self, which: TimedOut) {
        let stats = &self.down.stats;
        match which {
            TimedOut::Route => {
                stats.downstream_rq_timeout.inc();
                if let Some(attempt) = &self.attempt {
                    attempt.upstream.stats.upstream_rq_timeout.inc();
                }
                self.observe(Outcome::Timeout);
            }
            TimedOut::Stream => stats.downstream_rq_max_duration_reached.inc(),
            TimedOut::Idle => stats.downstream_rq_idle_timeout.inc(),
        }
    }

    fn log(&self) {
        let worker = &self.down.worker;
        let random = worker.random();
        let facts = self.facts(self.head.as_ref().map(RequestView::of));
        for log in &self.down.hcm.access_log {
            if log.wants(&facts, random) {
                worker.logs.borrow_mut().append(&worker.shared.logs, &log.sink, |out| log.write(&facts, out));
            }
        }
    }

    fn count_grpc(&self) {
        let Some(attempt) = &self.attempt else { return };
        if !self.grpc || self.down.hcm.filters.is_empty() {
            return;
        }
        let status = self
            .response
            .as_ref()
            .and_then(|r| grpc::status_of(&r.headers).or_else(|| grpc::status_of(r.trailers.as_ref()?)));
        attempt.upstream.stats.grpc.count(status);
    }
}

impl Attempt {
    fn end(self) {
        self.upstream.stats.upstream_rq_active.dec();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let down = self.down.clone();
        if self.silent {
            down.state.end(now);
            return;
        }
        let stats = &down.stats;
        if !self.complete && self.flags.is_empty() {
            // Nobody here ended it, so the client did.
            self.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
            self.details = self.details.or(Some("downstream_remote_disconnect"));
            stats.downstream_rq_rx_reset.inc();
            if let Some(attempt) = &self.attempt
                && self.status.is_none()
            {
                attempt.upstream.stats.upstream_rq_cancelled.inc();
            }
        }
        if let Some(status) = self.status {
            stats.count_status(status);
        }
        stats.downstream_rq_active.dec();
        stats.downstream_rq_time.record(millis(now.duration_since(self.started)));
        self.count_grpc();
        if self.logged() {
            self.log();
        }
        if let Some(attempt) = self.attempt.take() {
            let took = now.duration_since(attempt.began);
            attempt.upstream.stats.upstream_rq_time.record(millis(took));
            attempt.end();
        }
        down.state.end(now);
    }
}

/// The timeouts of a request, behind one timer.
pub(crate) struct Timer {
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
    route: Option<Duration>,
    route_at: Option<Instant>,
    stream_at: Option<Instant>,
    idle: Option<Duration>,
    idle_at: Option<Instant>,
    moved: u64,
    seen: u64,
}

/// Which timeout ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimedOut {
    Route,
    Stream,
    Idle,
}

impl Timer {
    /// `None` if nothing limits the request.
    pub(crate) fn new(
        started: Instant,
        route: Option<Duration>,
        stream: Option<Duration>,
        idle: Option<Duration>,
    ) -> Option<Self> {
        let set = |d: Option<Duration>| d.filter(|d| !d.is_zero());
        let (route, idle) = (set(route), set(idle));
        let mut timer = Self {
            sleep: Box::pin(tokio::time::sleep_until(started)),
            route,
            route_at: route.map(|d| started + d),
            stream_at: set(stream).map(|d| started + d),
            idle,
            idle_at: idle.map(|d| started + d),
            moved: 0,
            seen: 0,
        };
        let first = timer.next()?;
        timer.sleep.as_mut().reset(first);
        Some(timer)
    }

    fn next(&self) -> Option<Instant> {
        [self.route_at, self.stream_at, self.idle_at].into_iter().flatten().min()
    }

    /// Something moved on the stream.
    pub(crate) fn touch(&mut self) {
        self.moved += 1;
    }

    /// Which timeout has run out. The route's counts from the end of the
    /// request: while the body still comes it begins anew. Idleness is
    /// noticed after one to two intervals, so that a byte costs no timer.
    pub(crate) fn poll(
        &mut self,
        cx: &mut std::task::Context<'_>,
        progress: Option<&Progress>,
    ) -> std::task::Poll<TimedOut> {
        loop {
            std::task::ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if past(self.stream_at) {
                return std::task::Poll::Ready(TimedOut::Stream);
            }
            if past(self.route_at) {
                if progress.is_none_or(|p| p.ended.get()) {
                    return std::task::Poll::Ready(TimedOut::Route);
                }
                self.route_at = self.route.map(|d| now + d);
            }
            if past(self.idle_at) {
                let moved = self.moved + progress.map_or(0, |p| p.bytes.get());
                if moved == self.seen {
                    return std::task::Poll::Ready(TimedOut::Idle);
                }
                self.seen = moved;
                self.idle_at = self.idle.map(|d| now + d);
            }
            let Some(next) = self.next() else { return std::task::Poll::Pending };
            self.sleep.as_mut().reset(next);
        }
    }
}
