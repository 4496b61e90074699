//! The TCP proxy: one downstream connection to one endpoint.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use mesh_engine::balance::Resource;
use mesh_engine::cluster::{ClusterConfig, UpstreamVersion};
use mesh_engine::listener::FilterChain;
use mesh_engine::route::Priority;
use mesh_engine::tcp::ByServerName;
use mesh_engine::tls::TlsFacts;
use mesh_engine::{Facts, Host, Outcome, PickContext, ResponseFlags, TcpProxy};
use tokio::time::Instant;

use crate::dynamic::Unresolved;
use crate::tls::client::Inside;
use crate::tls::stream::Stream;
use crate::upstream::connect::{Opened, Purpose};
use crate::upstream::pool::{Counted, millis};
use crate::upstream::{Failure, Upstream};
use crate::worker::{Entered, Worker};

mod chunked;
pub(crate) mod copy;
mod tunnel;

use tunnel::{Ask, Far};

/// A downstream connection that goes to a cluster as it is.
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    pub(crate) chain: Arc<FilterChain>,
    pub(crate) tcp: Arc<TcpProxy>,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) original_dst: Option<SocketAddr>,
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) tls: Option<Arc<TlsFacts>>,
    pub(crate) id: u64,
}

/// How the session went, for the log.
#[derive(Default)]
struct Story {
    flags: ResponseFlags,
    upstream: Option<Arc<Upstream>>,
    host: Option<Arc<Host>>,
    upstream_local: Option<SocketAddr>,
    upstream_tls: Option<Arc<TlsFacts>>,
    failure: Option<String>,
    moved: copy::Moved,
}

impl Session {
    /// Serves the connection to its end. `first` was read from it before.
    pub(crate) async fn serve(self, entered: Entered, mut stream: Stream, first: Bytes) {
        let stats = self
            .worker
            .shared
            .stats
            .tcp
            .named(&self.worker.shared.stats.store, crate::stats::ScopeName::tcp(&self.tcp.stat_prefix));
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        let (began, wall) = (Instant::now(), SystemTime::now());
        let mut story = Story::default();
        if let Some((mut upstream, counted)) = self.connect(&mut story).await {
            let copying = copy::both_ways(
                &mut stream,
                &mut upstream,
                first,
                Bytes::new(),
                self.tcp.idle_timeout,
                &mut story.moved,
            );
            let end = self.limited(&entered, copying).await;
            match end {
                Some(copy::End::Idle) => stats.idle_timeout.inc(),
                Some(copy::End::Failed(error)) => {
                    tracing::debug!(remote = %self.remote, %error, "A proxied TCP connection broke.");
                }
                Some(copy::End::Closed) => {}
                None => story.flags.insert(ResponseFlags::DURATION_TIMEOUT),
            }
            if let Some(counted) = counted {
                counted.bytes(story.moved);
            }
        } else {
            stats.downstream_cx_no_route.inc();
        }
        stats.downstream_cx_rx_bytes_total.add(story.moved.sent);
        stats.downstream_cx_tx_bytes_total.add(story.moved.received);
        stats.downstream_cx_active.dec();
        stats.downstream_cx_length_ms.record(millis(began.elapsed()));
        self.log(&story, began, wall);
    }

    /// Runs `copying` until it ends, is cut, or has lasted too long (`None`).
    async fn limited(&self, entered: &Entered, copying: impl Future<Output = copy::End>) -> Option<copy::End> {
        let mut copying = std::pin::pin!(copying);
        let watched = std::future::poll_fn(|cx| {
            entered.state.watch(cx.waker());
            if entered.state.cut.get() {
                return std::task::Poll::Ready(None);
            }
            copying.as_mut().poll(cx).map(Some)
        });
        match self.tcp.max_downstream_connection_duration.filter(|d| !d.is_zero()) {
            None => watched.await,
            Some(longest) => tokio::time::timeout(longest, watched).await.ok().flatten(),
        }
    }

    /// Connects to an endpoint, trying others if that fails.
    async fn connect(&self, story: &mut Story) -> Option<(Far, Option<Counted>)> {
        let name = self.tcp.cluster_for(self.worker.random(), self.requested_server_name());
        let Some(upstream) = self.worker.shared.need(&name).await else {
            story.flags.insert(ResponseFlags::NO_CLUSTER_FOUND);
            return None;
        };
        story.upstream = Some(upstream.clone());
        let config = upstream.cluster.config();
        let destination = match self.destination(&config).await {
            Ok(destination) => destination,
            Err(error) => {
                story.flags.insert(ResponseFlags::DNS_RESOLUTION_FAILED);
                story.failure = Some(error.reason());
                return None;
            }
        };
        let mut tried = Vec::new();
        for attempt in 0..self.tcp.max_connect_attempts.max(1) {
            if attempt > 0 {
                upstream.stats.upstream_rq_retry.inc();
            }
            let host = self.pick(&upstream, destination, &tried, story)?;
            upstream.stats.upstream_rq_total.inc();
            story.host = Some(host.clone());
            match self.reach(&upstream, &host, &config, story).await {
                Err(Failure::Overflow) => {
                    upstream.stats.upstream_cx_overflow.inc();
                    story.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
                    return None;
                }
                Ok(far) => {
                    self.observe(&upstream, &host, Outcome::Connected);
                    story.failure = None;
                    story.flags = ResponseFlags::NONE;
                    return Some(far);
                }
                Err(failure) => {
                    self.observe(
                        &upstream,
                        &host,
                        match failure {
                            Failure::ConnectTimeout => Outcome::Timeout,
                            _ => Outcome::ConnectFailure,
                        },
                    );
                    story.flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
                    story.failure = Some(failure.to_string());
                    tried.push(host);
                }
            }
        }
        upstream.stats.upstream_cx_connect_attempts_exceeded.inc();
        story.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
        None
    }

    /// Connects to one endpoint, through a tunnel if there is to be one.
    async fn reach(
        &self,
        upstream: &Arc<Upstream>,
        host: &Arc<Host>,
        config: &Arc<ClusterConfig>,
        story: &mut Story,
    ) -> Result<(Far, Option<Counted>), Failure> {
        let ask = self.tcp.tunnel.as_ref().map(|tunnel| Ask::new(tunnel, &self.facts()));
        let ask = match ask {
            Some(ask) if config.http.version == UpstreamVersion::Http2 => {
                let pool = self.worker.pools.of(upstream, host, None);
                let secure = config.transports.of(&host.labels).tls.is_some();
                // Apart, so that a session without a tunnel stays small.
                let tunnel = async { ask.over_http2(pool.h2(config, Priority::Default).await?.lease(), secure).await };
                return Ok((in_time(config, Box::pin(tunnel)).await?, None));
            }
            other => other,
        };
        let permit = upstream.cluster.admit(Resource::Connections, Priority::Default, std::time::Instant::now());
        let permit = permit.map_err(|_| Failure::Overflow)?;
        let counted = Counted::new(upstream, host, Some(permit), None);
        let inside = if ask.is_some() { Inside::Http1 } else { Inside::Bytes };
        let purpose = Purpose { inside, client: Some((self.remote, self.local)), ..Purpose::default() };
        let Opened { stream, local, tls } = counted.open(&self.worker.shared, config, &purpose).await?;
        (story.upstream_local, story.upstream_tls) = (local, tls);
        let far = match ask {
            None => Far::Own(stream, Bytes::new()),
            Some(ask) => in_time(config, Box::pin(ask.over_http1(stream))).await?,
        };
        Ok((far, Some(counted)))
    }

    fn requested_server_name(&self) -> Option<&str> {
        self.server_name.as_deref().or(self.tls.as_ref().and_then(|t| t.server_name.as_deref()))
    }

    /// What is known of the session when it begins.
    fn facts(&self) -> Facts<'_> {
        Facts {
            downstream_remote: Some(self.remote),
            downstream_direct_remote: Some(self.remote),
            downstream_local: Some(self.local),
            filter_chain: Some(&self.chain.name),
            server_name: self.requested_server_name(),
            downstream_tls: self.tls.as_deref(),
            connection_id: Some(self.id),
            hostname: Some(&self.worker.shared.hostname),
            ..Facts::default()
        }
    }

    /// Where the session is going: to the server that its handshake names, if
    /// filter and cluster say so, else to where it was going.
    async fn destination(&self, config: &ClusterConfig) -> Result<Option<SocketAddr>, Unresolved> {
        match (config.discovery.names(), &self.tcp.by_server_name, self.requested_server_name()) {
            (Some(_), Some(ByServerName::Resolve { cache, port }), Some(name)) => {
                Ok(Some(SocketAddr::new(self.worker.names.resolve(cache, name).await?, *port)))
            }
            // Without a name there is no endpoint.
            (Some(_), _, _) => Ok(None),
            (None, _, _) => Ok(self.original_dst),
        }
    }

    fn pick(
        &self,
        upstream: &Upstream,
        destination: Option<SocketAddr>,
        tried: &[Arc<Host>],
        story: &mut Story,
    ) -> Option<Arc<Host>> {
        let context = PickContext {
            hash: self.tcp.hash_source_ip.then(|| mesh_engine::route::source_hash(self.remote)),
            previous: tried,
            avoid_attempts: tried.len() as u32,
            original_dst: destination,
            headers: None,
        };
        let picked = upstream.cluster.pick_endpoint(&context, &mut *self.worker.rng.borrow_mut());
        picked
            .map_err(|_| {
                upstream.stats.upstream_cx_none_healthy.inc();
                story.flags.insert(ResponseFlags::NO_HEALTHY_UPSTREAM);
            })
            .ok()
    }

    fn observe(&self, upstream: &Upstream, host: &Arc<Host>, outcome: Outcome) {
        let rng = &mut *self.worker.rng.borrow_mut();
        let event = upstream.cluster.observe(host, outcome, std::time::Instant::now(), rng);
        upstream.count_event(event);
    }

    fn log(&self, story: &Story, began: Instant, wall: SystemTime) {
        if self.tcp.access_log.is_empty() {
            return;
        }
        let shared = &self.worker.shared;
        let facts = Facts {
            flags: story.flags,
            start_time: Some(wall),
            duration: Some(began.elapsed()),
            bytes_received: story.moved.sent,
            bytes_sent: story.moved.received,
            upstream_host: story.host.as_ref().map(|h| h.address),
            upstream_host_name: story.host.as_ref().map(|h| &*h.hostname).filter(|n| !n.is_empty()),
            upstream_local: story.upstream_local,
            upstream_cluster: story.upstream.as_ref().map(|u| &**u.cluster.name()),
            upstream_failure: story.failure.as_deref(),
            response_code: Some(0),
            upstream_tls: story.upstream_tls.as_deref(),
            access_log_type: Some("TcpConnectionEnd"),
            ..self.facts()
        };
        let random = self.worker.random();
        for log in self.tcp.access_log.iter().filter(|l| l.wants(&facts, random)) {
            self.worker.logs.borrow_mut().append(&shared.logs, &log.sink, |out| log.write(&facts, out));
        }
    }
}

/// Runs what belongs to connecting within the cluster's connect timeout.
async fn in_time<T>(config: &ClusterConfig, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(config.connect_timeout, future).await.unwrap_or(Err(Failure::ConnectTimeout))
}
