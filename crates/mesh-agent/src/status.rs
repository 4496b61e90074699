//! The agent's own server: whether the proxy is ready, everyone's metrics in
//! one place, and orders to drain or quit.
//!
//! | Path | |
//! |---|---|
//! | `GET /healthz/ready` | 200 once the proxy serves a complete configuration |
//! | `GET /stats/prometheus`, `GET /metrics` | the agent's, the proxy's and the application's metrics |
//! | `POST /drain` | drains and ends the proxy; loopback only |
//! | `POST /quitquitquit` | ends the proxy at once; loopback only |
//!
//! Invariant: a source of metrics that does not answer costs its own part, not
//! the page.

mod metrics;
mod readiness;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::bootstrap::Scrape;
use crate::fetch::{self, Bounds};
use crate::supervise::Order;

pub use metrics::Metrics;
pub use readiness::{NotReady, judge};

/// What the server shows and to whom it passes orders. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    admin: SocketAddr,
    scrape: Option<Scrape>,
    /// The proxy was found ready, and has not been restarted since.
    ready: AtomicBool,
    terminating: AtomicBool,
    orders: mpsc::Sender<Order>,
    metrics: Metrics,
    started: Instant,
}

/// Questions to the proxy, which is on this machine.
const ADMIN: Bounds = Bounds { within: Duration::from_secs(1), bytes_max: 1 << 20 };
/// Metrics of a large mesh take their time and space.
const SCRAPE: Bounds = Bounds { within: Duration::from_secs(10), bytes_max: 64 << 20 };
/// Only what readiness looks at.
const READINESS_STATS: &str = concat!(
    "/stats?usedonly&filter=",
    "^(server.state|listener_manager.workers_started|",
    "(cluster_manager.cds|listener_manager.lds).(update_success|update_rejected))$"
);

impl Status {
    /// About the proxy whose admin interface is at `admin`.
    pub fn new(admin: SocketAddr, scrape: Option<Scrape>, orders: mpsc::Sender<Order>) -> Self {
        let inner = Inner {
            admin,
            scrape,
            ready: AtomicBool::new(false),
            terminating: AtomicBool::new(false),
            orders,
            metrics: Metrics::default(),
            started: Instant::now(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// A proxy has been started, again if it is not the first.
    pub fn proxy_started(&self) {
        self.inner.metrics.count_start();
    }

    /// The proxy has ended by itself: the next one is not ready yet.
    pub fn proxy_ended(&self) {
        self.inner.ready.store(false, Ordering::Relaxed);
    }

    /// The proxy will end: it is no longer ready for more.
    pub fn proxy_terminates(&self) {
        self.inner.terminating.store(true, Ordering::Relaxed);
    }

    /// Whether the proxy is ready. Once it was, it is not asked again.
    ///
    /// # Errors
    /// [`NotReady`] says what is missing.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let inner = &self.inner;
        if inner.terminating.load(Ordering::Relaxed) {
            return Err(NotReady::Terminating);
        }
        if inner.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let admin = inner.admin.to_string();
        let ask = async |path: &str| match fetch::fetch(&Method::GET, &admin, path, ADMIN).await {
            Ok((StatusCode::OK, body)) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Ok((status, _)) => Err(NotReady::Unreachable { why: format!("{path} answers {status}") }),
            Err(error) => Err(NotReady::Unreachable { why: error.to_string() }),
        };
        judge(&ask("/server_info").await?, &ask(READINESS_STATS).await?)?;
        if !inner.ready.swap(true, Ordering::Relaxed) {
            inner.metrics.set_startup(inner.started.elapsed());
        }
        Ok(())
    }

    /// Serves until the listener fails or the future is dropped.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        let router = Router::new()
            .route("/healthz/ready", get(healthz))
            .route("/stats/prometheus", get(prometheus))
            .route("/metrics", get(prometheus))
            .route("/drain", post(drain))
            .route("/quitquitquit", post(quit))
            .with_state(self.clone());
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
    }

    /// The agent's, the proxy's and the application's metrics, one after the
    /// other, and what could not be had counted as a failure.
    async fn merged(&self) -> String {
        let inner = &self.inner;
        let proxy = self.scrape("envoy", inner.admin.to_string(), "/stats/prometheus");
        let application = async {
            let scrape = inner.scrape.as_ref()?;
            self.scrape("application", format!("127.0.0.1:{}", scrape.port), &scrape.path).await
        };
        let (proxy, application) = tokio::join!(proxy, application);
        inner.metrics.count_scrape();
        let mut page = inner.metrics.render();
        for part in [proxy, application].into_iter().flatten() {
            page.push_str(&part);
            if !part.ends_with('\n') {
                page.push('\n');
            }
        }
        page
    }

    async fn scrape(&self, kind: &'static str, address: String, path: &str) -> Option<String> {
        match fetch::fetch(&Method::GET, &address, path, SCRAPE).await {
            Ok((StatusCode::OK, body)) => return Some(String::from_utf8_lossy(&body).into_owned()),
            Ok((status, _)) => tracing::warn!(kind, %address, path, %status, "Metrics are not available."),
            Err(error) => tracing::warn!(kind, %error, "Metrics are not available."),
        }
        self.inner.metrics.count_scrape_failure(kind);
        None
    }

    fn order(&self, peer: SocketAddr, order: Order) -> Response {
        if !peer.ip().to_canonical().is_loopback() {
            return (StatusCode::FORBIDDEN, "only requests from this machine are allowed\n").into_response();
        }
        match self.inner.orders.try_send(order) {
            Ok(()) => (StatusCode::OK, "OK\n").into_response(),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending already\n").into_response(),
        }
    }
}

async fn healthz(State(status): State<Status>) -> Response {
    match status.ready().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn prometheus(State(status): State<Status>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], status.merged().await).into_response()
}

async fn drain(State(status): State<Status>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    status.order(peer, Order::Drain)
}

async fn quit(State(status): State<Status>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    status.order(peer, Order::Stop)
}
