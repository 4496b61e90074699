//! Copies of a request for other clusters, whose answers nobody waits for.
//!
//! A copy shares nothing with its request but what was read of the body: it
//! can neither delay nor fail it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::{Response, Version};
use http_body::Body as _;
use mesh_engine::balance::{Permit, Resource};
use mesh_engine::cluster::UpstreamVersion;
use mesh_engine::route::{Mirror, Priority};
use mesh_engine::{PickContext, RequestView};

use super::destination::{apart, resolved};
use super::send::Sending;
use crate::http::exchange::{Downstream, Exchange};
use crate::http::head;
use crate::http::response::Source;
use crate::upstream::body::{Progress, ReqBody};
use crate::upstream::tap::{Inlet, Tap};
use crate::upstream::{Failure, Upstream};
use crate::worker::Worker;

/// Sends the copies that the request's route asks for. `parts` is its head as
/// it goes upstream, `timeout` its route's.
pub(super) fn send(exchange: &Exchange, parts: &Parts, body: &mut Inlet, timeout: Option<Duration>) {
    let Some(forward) = exchange.matched.as_ref().and_then(|m| m.forward()) else { return };
    if forward.mirrors.is_empty() {
        return;
    }
    let worker = &exchange.down.worker;
    for mirror in forward.mirrors.iter().filter(|m| m.draws(worker.random())) {
        let Some(upstream) = worker.shared.upstreams.get(&mirror.cluster) else { continue };
        let permit = upstream.cluster.admit(Resource::Requests, forward.priority, std::time::Instant::now());
        let (Ok(permit), Some(slot)) = (permit, Slot::take(worker)) else {
            upstream.stats.upstream_rq_pending_overflow.inc();
            continue;
        };
        let copy = Copy {
            down: exchange.down.clone(),
            upstream,
            parts: head_of(mirror, parts),
            body: exchange.progress.is_some().then(|| body.tap()),
            version: exchange.version,
            priority: forward.priority,
            held: (permit, slot),
        };
        let limit = timeout.filter(|t| !t.is_zero()).unwrap_or(COPY_TIME_MAX).min(COPY_TIME_MAX);
        tokio::task::spawn_local(async move {
            if tokio::time::timeout(limit, copy.send()).await.is_err() {
                tracing::debug!("A copy of a request was not answered in time.");
            }
        });
    }
}

fn head_of(mirror: &Mirror, parts: &Parts) -> Parts {
    let mut copy = parts.clone();
    let host = mirror.host(RequestView::of(parts).authority);
    head::to_http1(&mut copy);
    if let Some(host) = host {
        copy.headers.insert(HOST, host);
    }
    copy
}

/// One copy on its way.
struct Copy {
    down: Rc<Downstream>,
    upstream: Arc<Upstream>,
    parts: Parts,
    body: Option<Tap>,
    version: Version,
    priority: Priority,
    held: (Permit, Slot),
}

impl Copy {
    async fn send(self) {
        let stats = self.upstream.stats.clone();
        stats.upstream_rq_total.inc();
        stats.upstream_rq_active.inc();
        let active = Active(self.upstream.clone());
        let upstream = self.upstream.clone();
        let (answer, _held) = self.exchange().await;
        match answer {
            Some(Ok(response)) => {
                stats.count_status(response.status().as_u16());
                drain(response.into_body()).await;
            }
            Some(Err(failure)) => {
                tracing::debug!(cluster = %upstream.cluster.name(), %failure, "A copy of a request failed.");
                stats.upstream_rq_rx_reset.inc();
            }
            None => stats.upstream_cx_none_healthy.inc(),
        }
        drop(active);
    }

    /// The answer, and what is held until it is read; `None` without a host to
    /// send the copy to.
    async fn exchange(mut self) -> (Option<Result<Response<Source>, Failure>>, (Permit, Slot)) {
        let answer = self.attempt().await;
        (answer, self.held)
    }

    async fn attempt(&mut self) -> Option<Result<Response<Source>, Failure>> {
        let worker = &self.down.worker;
        let config = self.upstream.cluster.config();
        let named = resolved(&config, &self.down, &self.parts).await.ok()?;
        let context = PickContext {
            original_dst: named.or(self.down.original_dst),
            headers: Some(&self.parts.headers),
            ..PickContext::default()
        };
        let host = self.upstream.cluster.pick_endpoint(&context, &mut *worker.rng.borrow_mut()).ok()?;
        let apart = apart(&config, &self.down, &self.parts);
        let progress = self.body.is_some().then(|| Rc::new(Progress::default()));
        let body = match (self.body.take(), &progress) {
            (Some(tap), Some(progress)) => ReqBody::copy(tap, progress.clone()),
            _ => ReqBody::empty(),
        };
        let pool = worker.pools.of(&self.upstream, &host, apart.as_ref());
        let sending = Sending { pool, config: &config, priority: self.priority, progress };
        let _flight = host.begin_request();
        let http2 = match config.http.version {
            UpstreamVersion::Http1 => false,
            UpstreamVersion::Http2 => true,
            UpstreamVersion::Downstream => self.version == Version::HTTP_2,
        };
        let parts = self.parts.clone();
        Some(if http2 { sending.http2(parts, body).await } else { sending.http1(parts, body).await })
    }
}

/// Reads an answer to its end, so that its connection can be used again.
async fn drain(mut source: Source) {
    let next = |source: &mut Source, cx: &mut std::task::Context<'_>| match source {
        // A copy never asks for an upgrade.
        Source::Local(_) | Source::Upgraded(_) => std::task::Poll::Ready(None),
        Source::Http1(body) => std::pin::Pin::new(body).poll_frame(cx),
        Source::Http2(body) => std::pin::Pin::new(body).poll_frame(cx),
    };
    while let Some(Ok(_)) = std::future::poll_fn(|cx| next(&mut source, cx)).await {}
}

/// Counts a copy as under way at its cluster.
struct Active(Arc<Upstream>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.stats.upstream_rq_active.dec();
    }
}

/// Counts a copy as under way at its worker.
struct Slot(Rc<Worker>);

impl Slot {
    /// `None` if there are [`COPIES_MAX`].
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let copies = worker.copies.get();
        if copies >= COPIES_MAX {
            return None;
        }
        worker.copies.set(copies + 1);
        Some(Self(worker.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

/// Copies under way per worker. Each may hold a mebibyte of its request's body;
/// a cluster that answers slowly must not fill the memory.
const COPIES_MAX: usize = 256;
/// A copy is given up after this long, whatever its route says.
const COPY_TIME_MAX: Duration = Duration::from_secs(60);
