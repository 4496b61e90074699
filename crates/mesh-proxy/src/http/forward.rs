//! Forwarding: tries at endpoints, one after the other, until one answers or
//! no further try is allowed.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use mesh_engine::balance::{Permit, PickError, Resource};
use mesh_engine::cluster::{ClusterConfig, UpstreamVersion};
use mesh_engine::hcm::LocalReply;
use mesh_engine::retry::{Retry, TryResult};
use mesh_engine::route::{Priority, Timeouts};
use mesh_engine::tls::TlsFacts;
use mesh_engine::{Host, Outcome, PickContext, RequestView, ResponseFlags, RetryState, grpc};
use tokio::time::Instant;

use super::exchange::{Attempt, Exchange, TimedOut, Timer};
use super::reply::{no_host_reply, reply_to, timeout_reply};
use super::request::{Answered, finish, keep_head};
use super::response::{ResponseBody, Source};
use super::{head, upgrade};
use crate::dynamic::Unresolved;
use crate::upstream::body::{Replay, ReqBody};
use crate::upstream::pool::millis;
use crate::upstream::tap::Inlet;
use crate::upstream::{Failure, Upstream};

mod destination;
mod mirror;
mod send;

use destination::{apart, unresolved_reply};
use send::Sending;

/// One request on its way to a cluster.
struct Forwarding {
    exchange: Box<Exchange>,
    upstream: Arc<Upstream>,
    config: Arc<ClusterConfig>,
    priority: Priority,
    timeouts: Timeouts,
    retries: Option<RetryState>,
    tried: Vec<Arc<Host>>,
    body: Body,
    upgrade: Option<HeaderValue>,
    hash: Option<u64>,
    /// Where its own host is, once that is resolved.
    destination: Option<SocketAddr>,
}

/// The request's body, as far as further tries are concerned.
enum Body {
    None,
    Once(Option<Inlet>),
    Again(Rc<RefCell<Replay>>),
}

/// What a try led to.
enum Tried {
    Answered(Response<Source>),
    Failed(Failure),
    TimedOut(TimedOut),
    PerTryTimeout,
    NoHost(PickError),
    Unresolved(Unresolved),
}

/// Forwards the request, whose route says so.
pub(crate) async fn forward(
    mut exchange: Box<Exchange>,
    mut parts: Parts,
    body: Incoming,
    on_upgrade: Option<OnUpgrade>,
    internal: bool,
) -> Result<Response<ResponseBody>, Answered> {
    let upgrade = head::upgrade_of(&parts).cloned();
    if let Some(reply) = refuse_upgrade(&exchange, upgrade.as_ref()) {
        keep_head(&mut exchange, parts);
        return Err(Box::new((exchange, reply)));
    }
    let (upstream, permit) = match admit(&exchange, &parts).await {
        Ok(admitted) => admitted,
        Err(reply) => {
            keep_head(&mut exchange, parts);
            return Err(Box::new((exchange, reply)));
        }
    };
    let mut forwarding = Forwarding::new(exchange, upstream, &mut parts, body, upgrade, internal);
    let response = match forwarding.run(parts, permit).await {
        Ok(response) => response,
        Err(reply) => return Err(Box::new((forwarding.exchange, reply))),
    };
    Ok(forwarding.respond(response, on_upgrade))
}

fn refuse_upgrade(exchange: &Exchange, upgrade: Option<&HeaderValue>) -> Option<LocalReply> {
    let protocol = upgrade?.to_str().unwrap_or_default();
    let matched = exchange.matched.as_ref()?;
    if exchange.down.hcm.allows_upgrade(protocol, matched) {
        return None;
    }
    exchange.down.stats.downstream_rq_ws_on_non_ws_route.inc();
    Some(LocalReply::new(StatusCode::FORBIDDEN, "", ResponseFlags::NONE, "upgrade_failed"))
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The request's cluster, and leave to add a request to it.
async fn admit(exchange: &Exchange, parts: &Parts) -> Result<(Arc<Upstream>, Permit), LocalReply> {
    let matched = exchange.matched.as_ref();
    let down = &exchange.down;
    let upstream = match matched.and_then(|m| m.cluster(&parts.headers)) {
        Some(name) => down.worker.shared.need(name).await,
        None => None,
    };
    let Some(upstream) = upstream else {
        down.stats.no_cluster.inc();
        let status = matched.and_then(|m| m.forward()).map_or(StatusCode::SERVICE_UNAVAILABLE, |f| f.cluster_not_found);
        return Err(LocalReply::new(status, "", ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found"));
    };
    let priority = matched.and_then(|m| m.forward()).map_or(Priority::Default, |f| f.priority);
    match upstream.cluster.admit(Resource::Requests, priority, now()) {
        Ok(permit) => Ok((upstream, permit)),
        Err(_) => {
            upstream.stats.upstream_rq_pending_overflow.inc();
            Err(reply_to(&Failure::Overflow, false))
        }
    }
}

impl Forwarding {
    fn new(
        exchange: Box<Exchange>,
        upstream: Arc<Upstream>,
        parts: &mut Parts,
        body: Incoming,
        upgrade: Option<HeaderValue>,
        internal: bool,
    ) -> Self {
        let mut this = Self {
            config: upstream.cluster.config(),
            upstream,
            priority: Priority::Default,
            timeouts: Timeouts { route: None, per_try: None, per_try_idle: None, idle: None, max_stream: None },
            retries: None,
            tried: Vec::new(),
            body: Body::None,
            upgrade,
            hash: None,
            destination: None,
            exchange,
        };
        if let Some(matched) = this.exchange.matched.take() {
            this.timeouts = matched.timeouts(&parts.headers, internal);
            let hashed = matched.hash(&RequestView::of(parts), this.exchange.remote, this.exchange.down.local);
            this.hash = hashed.hash;
            this.exchange.cookies = hashed.cookies;
            if let Some(forward) = matched.forward() {
                this.priority = forward.priority;
                if this.upgrade.is_none() {
                    this.retries = RetryState::new(forward.retry_policy.as_ref(), &parts.headers, internal);
                }
            }
            let facts = this.exchange.facts(None);
            matched.mutate_request(parts, &facts);
            this.exchange.matched = Some(matched);
        }
        this.exchange.timer = this.timer();
        this.clean(parts);
        let mut body = Inlet::new(body);
        if this.upgrade.is_none() {
            mirror::send(&this.exchange, parts, &mut body, this.timeouts.route);
        }
        this.body = match (this.exchange.progress.is_some(), this.retries.is_some()) {
            (false, _) => Body::None,
            (true, true) => Body::Again(Replay::new(body)),
            (true, false) => Body::Once(Some(body)),
        };
        this
    }

    fn timer(&self) -> Option<Timer> {
        let hcm = &self.exchange.down.hcm;
        let idle = self.timeouts.idle.unwrap_or(hcm.stream_idle_timeout);
        let stream = self.timeouts.max_stream.unwrap_or(hcm.max_stream_duration);
        let set = |d: Option<Duration>| d.filter(|d| !d.is_zero());
        let stream = [set(stream), set(self.config.max_stream_duration)].into_iter().flatten().min();
        let route = self.timeouts.route.filter(|_| self.upgrade.is_none());
        Timer::new(self.exchange.started, route, stream, idle)
    }

    /// Makes the client's head one of ours.
    fn clean(&self, parts: &mut Parts) {
        let hcm = &self.exchange.down.hcm;
        head::strip_hop_by_hop(&mut parts.headers);
        if !hcm.proxy_100_continue {
            // hyper sends "100 Continue" itself when the body is first asked for.
            parts.headers.remove(http::header::EXPECT);
        }
        if !hcm.suppress_envoy_headers
            && let Some(timeout) = self.timeouts.per_try.or(self.timeouts.route)
        {
            parts.headers.insert(EXPECTED_TIMEOUT.clone(), HeaderValue::from(millis(timeout)));
        }
        if let Some(protocol) = &self.upgrade {
            parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(http::header::UPGRADE, protocol.clone());
        }
    }

    async fn run(&mut self, parts: Parts, permit: Permit) -> Result<Response<Source>, LocalReply> {
        let mut parts = Some(parts);
        let mut permit = Some(permit);
        let mut retry_permit = None;
        loop {
            // The head is needed again only for another try or for the log.
            let keep = self.exchange.keeps_head() || self.retries.is_some();
            let head = match (&self.exchange.head, parts.take()) {
                (Some(kept), _) => kept.clone(),
                (None, Some(parts)) if keep => {
                    let head = parts.clone();
                    self.exchange.head = Some(parts);
                    head
                }
                (None, Some(parts)) => parts,
                (None, None) => return Err(reply_to(&Failure::Terminated, true)),
            };
            let tried = self.attempt(head, permit.take(), retry_permit.take()).await;
            let tried = match tried {
                Tried::Answered(response) => match self.may_retry_response(&response) {
                    false => {
                        self.commit();
                        return Ok(response);
                    }
                    true => Tried::Answered(response),
                },
                failed => failed,
            };
            match self.again(tried).await {
                Ok(held) => (permit, retry_permit) = (held.0, Some(held.1)),
                Err(Ok(response)) => {
                    self.commit();
                    return Ok(response);
                }
                Err(Err(reply)) => return Err(reply),
            }
        }
    }

    /// Whether it is worth asking the engine, and the body can be sent again.
    fn may_retry_response(&self, response: &Response<Source>) -> bool {
        self.retries.is_some()
            && (response.status().as_u16() >= 400 || self.exchange.grpc || !response.status().is_success())
    }

    /// No further try: what is kept of the body is given up.
    fn commit(&mut self) {
        if let Body::Again(replay) = &self.body {
            replay.borrow_mut().commit();
        }
    }

    /// Whether the body can be sent once more, whole.
    fn body_repeats(&self) -> bool {
        match &self.body {
            Body::None => true,
            Body::Once(body) => body.is_some(),
            Body::Again(replay) => replay.borrow().can_restart(),
        }
    }

    /// Decides on another try, and waits for its time to come.
    async fn again(&mut self, tried: Tried) -> Result<(Option<Permit>, Permit), Result<Response<Source>, LocalReply>> {
        let result = match &tried {
            Tried::Answered(response) => {
                Some(TryResult::Response { status: response.status(), headers: response.headers() })
            }
            Tried::Failed(failure) if failure.is_connect() => Some(TryResult::ConnectFailure),
            Tried::Failed(Failure::Overflow) => Some(TryResult::Overflow),
            Tried::Failed(Failure::Reset { refused: true }) => Some(TryResult::Refused),
            Tried::Failed(Failure::Downstream) => None,
            Tried::Failed(_) => Some(TryResult::Reset { request_sent: true }),
            Tried::PerTryTimeout => Some(TryResult::PerTryTimeout),
            Tried::TimedOut(_) | Tried::NoHost(_) | Tried::Unresolved(_) => None,
        };
        let stats = self.upstream.stats.clone();
        let verdict = match (&result, &mut self.retries) {
            (Some(result), Some(retries)) => retries.should_retry(result),
            _ => Retry::NotRetriable,
        };
        let retried = self.exchange.attempts > 1;
        match verdict {
            Retry::Yes if !self.body_repeats() => stats.retry_or_shadow_abandoned.inc(),
            Retry::Yes => match self.upstream.cluster.admit(Resource::Retries, self.priority, now()) {
                Ok(held) => {
                    stats.upstream_rq_retry.inc();
                    stats.upstream_rq_retry_backoff_exponential.inc();
                    drop(tried);
                    return self.wait_for_retry(held).await.map_err(Err);
                }
                Err(_) => stats.upstream_rq_retry_overflow.inc(),
            },
            Retry::LimitExceeded => {
                stats.upstream_rq_retry_limit_exceeded.inc();
                self.exchange.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
            }
            Retry::NotRetriable => {}
        }
        Err(match tried {
            Tried::Answered(response) => Ok(response),
            Tried::Failed(failure) => {
                match &failure {
                    Failure::Connect(e) => self.exchange.failure = Some(format!("delayed connect error: {e}")),
                    Failure::Tls(reason) => self.exchange.failure = Some(reason.to_string()),
                    _ => {}
                }
                Err(reply_to(&failure, retried))
            }
            Tried::PerTryTimeout => Err(timeout_reply(TimedOut::Route)),
            Tried::TimedOut(which) => Err(timeout_reply(which)),
            Tried::Unresolved(error) => {
                self.exchange.failure = Some(error.reason());
                self.exchange.unreached = Some(self.upstream.clone());
                Err(unresolved_reply(&error))
            }
            Tried::NoHost(error) => {
                stats.upstream_cx_none_healthy.inc();
                self.exchange.unreached = Some(self.upstream.clone());
                Err(no_host_reply(&error))
            }
        })
    }

    async fn wait_for_retry(&mut self, held: Permit) -> Result<(Option<Permit>, Permit), LocalReply> {
        let permit = self.exchange.attempt.as_mut().and_then(|a| a._permit.take());
        self.exchange.end_attempt();
        let backoff = {
            let rng = &mut *self.exchange.down.worker.rng.borrow_mut();
            self.retries.as_ref().map_or(Duration::ZERO, |r| r.backoff(rng))
        };
        let sleep = async {
            tokio::time::sleep(backoff).await;
        };
        match limited(&mut self.exchange, sleep).await {
            Ok(()) => Ok((permit, held)),
            Err(which) => Err(timeout_reply(which)),
        }
    }

    /// One try: an endpoint, a connection to it, and the exchange of heads.
    async fn attempt(&mut self, mut parts: Parts, permit: Option<Permit>, retry_permit: Option<Permit>) -> Tried {
        if let Err(error) = self.resolve(&parts).await {
            return Tried::Unresolved(error);
        }
        let host = match self.pick(&parts) {
            Ok(host) => host,
            Err(error) => return Tried::NoHost(error),
        };
        let down = self.exchange.down.clone();
        let version = match self.config.http.version {
            UpstreamVersion::Http1 => Version::HTTP_11,
            UpstreamVersion::Http2 => Version::HTTP_2,
            UpstreamVersion::Downstream if self.exchange.version == Version::HTTP_2 => Version::HTTP_2,
            UpstreamVersion::Downstream => Version::HTTP_11,
        };
        self.exchange.attempts += 1;
        self.upstream.stats.upstream_rq_total.inc();
        self.upstream.stats.upstream_rq_active.inc();
        self.exchange.attempt = Some(Attempt {
            upstream: self.upstream.clone(),
            flight: host.begin_request(),
            began: Instant::now(),
            version,
            tls: None,
            observed: false,
            _permit: permit,
            _retry_permit: retry_permit,
        });
        self.dress(&mut parts, &host);
        let apart = apart(&self.config, &down, &parts);
        let pool = down.worker.pools.of(&self.upstream, &host, apart.as_ref());
        let body = self.body_for_try();
        let progress = self.exchange.progress.clone();
        let sending = Sending { pool, config: &self.config, priority: self.priority, progress };
        let upgrade = self.upgrade.as_ref().filter(|_| version == Version::HTTP_2);
        let exchange = async {
            match version {
                Version::HTTP_2 if upgrade.is_some() => sending.upgrade(parts, upgrade).await,
                Version::HTTP_2 => sending.http2(parts, body).await,
                _ => sending.http1(parts, body).await,
            }
        };
        // Until the response's head comes nothing moves towards us: the idle
        // limit of a try is then a limit of the try.
        let per_try =
            [self.timeouts.per_try, self.timeouts.per_try_idle].into_iter().flatten().filter(|d| !d.is_zero()).min();
        let result = match per_try {
            None => limited(&mut self.exchange, exchange).await.map(Some),
            Some(per_try) => {
                let timed = async { tokio::time::timeout(per_try, exchange).await.ok() };
                limited(&mut self.exchange, timed).await
            }
        };
        self.conclude(result)
    }

    fn pick(&mut self, parts: &Parts) -> Result<Arc<Host>, PickError> {
        let policy = self.retries.as_ref().and_then(RetryState::policy);
        let avoid = policy.filter(|p| p.avoid_previous_hosts).map_or(0, |p| p.host_selection_attempts);
        let down = &self.exchange.down;
        let context = PickContext {
            hash: self.hash,
            previous: &self.tried,
            avoid_attempts: avoid,
            original_dst: self.destination.or(down.original_dst.filter(|_| self.config.discovery.names().is_none())),
            headers: Some(&parts.headers),
        };
        let host = self.upstream.cluster.pick_endpoint(&context, &mut *down.worker.rng.borrow_mut())?;
        if self.retries.is_some() {
            self.tried.push(host.clone());
        }
        Ok(host)
    }

    /// Headers that depend on the try.
    fn dress(&self, parts: &mut Parts, host: &Host) {
        let Some(matched) = &self.exchange.matched else { return };
        if matched.virtual_host().include_request_attempt_count {
            parts.headers.insert(ATTEMPT_COUNT.clone(), HeaderValue::from(self.exchange.attempts));
        }
        if matched.auto_host_rewrite()
            && !host.hostname.is_empty()
            && let Ok(name) = HeaderValue::from_str(&host.hostname)
        {
            head::to_http1(parts);
            parts.headers.insert(http::header::HOST, name);
        }
    }

    fn body_for_try(&mut self) -> ReqBody {
        let Some(progress) = &self.exchange.progress else { return ReqBody::empty() };
        match &mut self.body {
            Body::None => ReqBody::empty(),
            Body::Once(body) => body.take().map_or_else(ReqBody::empty, |b| ReqBody::stream(b, progress.clone())),
            Body::Again(replay) => ReqBody::replay(replay.clone(), progress.clone()),
        }
    }

    /// Counts how the try ended.
    fn conclude(&mut self, result: Result<Option<Result<Response<Source>, Failure>>, TimedOut>) -> Tried {
        match result {
            Ok(Some(Ok(mut response))) => {
                if let Some(attempt) = &mut self.exchange.attempt {
                    attempt.tls = response.extensions_mut().remove::<Arc<TlsFacts>>();
                }
                let status = response.status().as_u16();
                self.upstream.stats.count_status(status);
                if self.exchange.attempts > 1 && status < 500 {
                    self.upstream.stats.upstream_rq_retry_success.inc();
                }
                // A gRPC status may still come in the trailers.
                match grpc::status_of(response.headers()) {
                    Some(code) if self.exchange.grpc => {
                        self.exchange.observe(Outcome::Status(grpc::http_from_status(code)));
                    }
                    _ if self.exchange.grpc && status == 200 => {}
                    _ => self.exchange.observe(Outcome::Status(status)),
                }
                Tried::Answered(response)
            }
            Ok(Some(Err(failure))) => {
                self.exchange.observe(match &failure {
                    failure if failure.is_connect() => Outcome::ConnectFailure,
                    _ => Outcome::Reset,
                });
                match &failure {
                    failure if failure.is_connect() => {
                        self.upstream.stats.upstream_rq_pending_failure_eject.inc();
                    }
                    Failure::Downstream | Failure::Overflow => {}
                    _ => self.upstream.stats.upstream_rq_rx_reset.inc(),
                }
                Tried::Failed(failure)
            }
            Ok(None) => {
                self.upstream.stats.upstream_rq_per_try_timeout.inc();
                self.exchange.observe(Outcome::Timeout);
                Tried::PerTryTimeout
            }
            Err(which) => {
                self.exchange.count_timeout(which);
                Tried::TimedOut(which)
            }
        }
    }

    /// Turns the upstream's response into ours.
    fn respond(self, response: Response<Source>, on_upgrade: Option<OnUpgrade>) -> Response<ResponseBody> {
        let mut exchange = self.exchange;
        let (mut parts, source) = response.into_parts();
        let switching = self.upgrade.is_some() && parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = switching.then(|| parts.headers.get(http::header::UPGRADE).cloned()).flatten();
        head::strip_hop_by_hop(&mut parts.headers);
        let began = exchange.attempt.as_ref().map_or(exchange.started, |a| a.began);
        if !exchange.down.hcm.suppress_envoy_headers {
            let took = millis(began.elapsed());
            parts.headers.insert(SERVICE_TIME.clone(), HeaderValue::from(took));
        }
        if exchange.matched.as_ref().is_some_and(|m| m.virtual_host().include_attempt_count_in_response) {
            parts.headers.insert(ATTEMPT_COUNT.clone(), HeaderValue::from(exchange.attempts));
        }
        if exchange.logged() {
            let first_byte = exchange.started.elapsed();
            exchange.response.get_or_insert_default().first_byte = Some(first_byte);
        } else if exchange.grpc && !exchange.down.hcm.filters.is_empty() {
            let kept = exchange.response.get_or_insert_default();
            if let Some(status) = parts.headers.get(grpc::GRPC_STATUS) {
                kept.headers.insert("grpc-status", status.clone());
            }
        }
        if exchange.details.is_none() {
            exchange.details = Some("via_upstream");
        }
        for cookie in std::mem::take(&mut exchange.cookies) {
            parts.headers.append(http::header::SET_COOKIE, cookie);
        }
        finish(&mut exchange, parts.status, &mut parts.headers);
        parts.version = exchange.version;
        parts.extensions.clear();
        if !switching {
            return Response::from_parts(parts, ResponseBody::new(source, exchange));
        }
        parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(http::header::UPGRADE, protocol);
        }
        upgrade::switch(parts, source, exchange, on_upgrade)
    }
}

/// Runs `future` under the request's timeouts.
async fn limited<F: Future>(exchange: &mut Exchange, future: F) -> Result<F::Output, TimedOut> {
    let progress = exchange.progress.as_deref();
    let Some(timer) = &mut exchange.timer else { return Ok(future.await) };
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => timer.poll(cx, progress).map(Err),
    })
    .await
}

static ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
static EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
