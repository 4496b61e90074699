//! Accepts connections and takes each to its filter chain.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_engine::listener::{FilterChain, ListenerFilterKind, NetworkFilter};
use mesh_engine::tls::{ServerTls, TlsFacts};
use mesh_engine::{Connection, Facts, Listener, ResponseFlags};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::inspect::{self, Findings, Refusal};
use super::socket;
use crate::http::exchange::Downstream;
use crate::http::serve;
use crate::stats::ScopeName;
use crate::stats::sets::ListenerStats;
use crate::tcp::Session;
use crate::tls::stream::{Rewound, Stream};
use crate::upstream::pool::millis;
use crate::worker::{Connections, Limits, Worker};

/// One socket of one listener on one worker.
pub(crate) struct Acceptor {
    pub(crate) worker: Rc<Worker>,
    pub(crate) name: Arc<str>,
    pub(crate) stats: Arc<ListenerStats>,
    pub(crate) connections_max: usize,
}

impl Acceptor {
    /// Accepts until the task is aborted.
    pub(crate) async fn run(self, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, remote)) => self.accepted(stream, remote),
                Err(error) => {
                    // Usually out of file descriptors: retrying at once would spin.
                    tracing::warn!(listener = %self.name, %error, "A connection could not be accepted.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, remote: SocketAddr) {
        if self.worker.connections.len() >= self.connections_max {
            self.stats.downstream_cx_overflow.inc();
            return;
        }
        self.stats.downstream_cx_total.inc();
        self.stats.downstream_cx_active.inc();
        let arrival = Arrival {
            worker: self.worker.clone(),
            name: self.name.clone(),
            stats: self.stats.clone(),
            remote,
            opened: Instant::now(),
        };
        tokio::task::spawn_local(arrival.serve(stream));
    }
}

/// A connection that has just come in. Dropping it counts its end.
struct Arrival {
    worker: Rc<Worker>,
    name: Arc<str>,
    stats: Arc<ListenerStats>,
    remote: SocketAddr,
    opened: Instant,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.stats.downstream_cx_active.dec();
        self.stats.downstream_cx_destroy.inc();
        self.stats.downstream_cx_length_ms.record(millis(self.opened.elapsed()));
    }
}

/// A connection about which everything is known.
struct Arrived {
    listener: Arc<Listener>,
    local: SocketAddr,
    restored: Option<SocketAddr>,
    findings: Findings,
}

impl Arrival {
    async fn serve(self, mut stream: TcpStream) {
        // Without it a small message waits for the peer's delayed ACK: 40 ms.
        let _ = stream.set_nodelay(true);
        let Some(mut arrived) = self.inspect(&mut stream).await else { return };
        let first = std::mem::take(&mut arrived.findings.first).freeze();
        let Some(chain) = self.chain(&arrived) else {
            self.stats.no_filter_chain_match.inc();
            self.log_refused(&arrived, None, "filter_chain_not_found");
            return;
        };
        let (stream, first, tls) = match &chain.tls {
            None => (Stream::Plain(stream), first, None),
            // Apart, so that a plaintext connection's task stays small.
            Some(context) => match Box::pin(self.handshake(context, Rewound { first, stream }, &chain)).await {
                Ok((stream, facts)) => (stream, Bytes::new(), Some(Arc::new(facts))),
                Err(reason) => {
                    tracing::debug!(listener = %self.name, remote = %self.remote, %reason, "A TLS handshake failed.");
                    self.log_refused(&arrived, Some(&chain), &reason);
                    return;
                }
            },
        };
        self.hand_over(stream, first, arrived, chain, tls).await;
    }

    /// The TLS handshake of a connection, bounded in time and number. An error is its reason.
    async fn handshake(
        &self,
        context: &ServerTls,
        io: Rewound,
        chain: &FilterChain,
    ) -> Result<(Stream, TlsFacts), String> {
        let stats = &self.stats.ssl;
        let Some(server) = self.worker.shared.tls.load().servers.get(&context.common.hash).cloned() else {
            stats.secrets_not_ready.inc();
            stats.connection_error.inc();
            return Err("TLS_error: the secrets of its filter chain have not arrived".to_owned());
        };
        let Some(_turn) = Turn::take(&self.worker.handshakes) else {
            self.stats.downstream_cx_overflow.inc();
            return Err("too many handshakes at once".to_owned());
        };
        let longest = chain.transport_socket_connect_timeout.unwrap_or(HANDSHAKE_MAX);
        match tokio::time::timeout(longest, server.accept(io)).await {
            Ok(Ok((stream, facts))) => {
                stats.count(&facts);
                Ok((stream, facts))
            }
            Ok(Err(error)) => {
                crate::tls::server::count_failure(stats, &error);
                Err(crate::tls::failure_text(&error))
            }
            Err(_) => {
                stats.connection_error.inc();
                Err(format!("TLS_error: no handshake within {} ms", longest.as_millis()))
            }
        }
    }

    /// Logs a connection that no filter sees: no chain takes it, or its TLS failed.
    fn log_refused(&self, arrived: &Arrived, chain: Option<&FilterChain>, reason: &str) {
        let shared = &self.worker.shared;
        let facts = Facts {
            flags: if chain.is_none() { ResponseFlags::NO_ROUTE_FOUND } else { ResponseFlags::NONE },
            connection_termination_details: chain.is_none().then_some(reason),
            downstream_failure: chain.is_some().then_some(reason),
            filter_chain: chain.map(|c| &*c.name),
            start_time: Some(std::time::SystemTime::now()),
            duration: Some(self.opened.elapsed()),
            downstream_remote: Some(self.remote),
            downstream_direct_remote: Some(self.remote),
            downstream_local: Some(arrived.local),
            server_name: arrived.findings.server_name.as_deref(),
            hostname: Some(&shared.hostname),
            response_code: Some(0),
            access_log_type: Some("NotSet"),
            ..Facts::default()
        };
        let random = self.worker.random();
        for log in arrived.listener.access_log.iter().filter(|l| l.wants(&facts, random)) {
            self.worker.logs.borrow_mut().append(&shared.logs, &log.sink, |out| log.write(&facts, out));
        }
    }

    async fn inspect(&self, stream: &mut TcpStream) -> Option<Arrived> {
        let shared = &self.worker.shared;
        let listeners = shared.listeners.load_full();
        let accepted_by = listeners.get(&self.name)?.clone();
        let local = stream.local_addr().ok()?;
        if let Some(keepalive) = &accepted_by.tcp_keepalive {
            // A connection without keepalive is still a connection.
            let _ = crate::upstream::connect::set_keepalive(&socket2::SockRef::from(&*stream), keepalive);
        }
        let mut findings = Findings::default();
        // As in Envoy, handing over by destination brings the filter that restores it.
        let captured =
            accepted_by.use_original_dst || inspect::wants(&accepted_by, ListenerFilterKind::OriginalDst, local.port());
        let restored = captured.then(|| socket::original_destination(stream, local)).flatten();
        let destination = restored.unwrap_or(local);
        self.stats.downstream_pre_cx_active.inc();
        let mut result = inspect::run(&accepted_by, destination.port(), stream, &mut findings).await;
        let mut listener = accepted_by.clone();
        if restored.is_some() {
            listener = listeners.redirect_target(&accepted_by, destination).clone();
            if result.is_ok() && !Arc::ptr_eq(&listener, &accepted_by) {
                result = inspect::run(&listener, destination.port(), stream, &mut findings).await;
            }
        }
        self.stats.downstream_pre_cx_active.dec();
        match result {
            Ok(()) => Some(Arrived { listener, local: destination, restored, findings }),
            Err(Refusal::RemoteClose) => {
                self.stats.downstream_listener_filter_remote_close.inc();
                None
            }
            Err(Refusal::Timeout) => {
                self.stats.downstream_pre_cx_timeout.inc();
                None
            }
        }
    }

    fn chain(&self, arrived: &Arrived) -> Option<Arc<FilterChain>> {
        let protocols: Vec<&str> = arrived.findings.protocols.iter().map(|p| &**p).collect();
        let connection = Connection {
            destination: arrived.local,
            source: self.remote,
            direct_source: self.remote.ip(),
            server_name: arrived.findings.server_name.as_deref(),
            transport_protocol: if arrived.findings.tls { "tls" } else { "raw_buffer" },
            application_protocols: &protocols,
        };
        arrived.listener.select_chain(&connection).cloned()
    }

    async fn hand_over(
        &self,
        stream: Stream,
        first: Bytes,
        arrived: Arrived,
        chain: Arc<FilterChain>,
        tls: Option<Arc<TlsFacts>>,
    ) {
        let worker = &self.worker;
        let id = worker.shared.connection_id();
        let limits = match &chain.filter {
            NetworkFilter::Http(hcm) => serve::limits(hcm),
            NetworkFilter::Tcp(_) => Limits::default(),
        };
        let entered = Connections::enter(worker, id, &arrived.listener, &chain, limits);
        match &chain.filter {
            NetworkFilter::Http(hcm) => {
                let stats =
                    worker.shared.stats.http.named(&worker.shared.stats.store, ScopeName::http(&hcm.stat_prefix));
                let down = Downstream {
                    worker: worker.clone(),
                    hcm: hcm.clone(),
                    stats,
                    state: entered.state.clone(),
                    remote: self.remote,
                    local: arrived.local,
                    original_dst: arrived.restored,
                    server_name: arrived.findings.server_name,
                    tls,
                    id,
                    chain,
                };
                serve::serve(Rc::new(down), entered, stream, first).await;
            }
            NetworkFilter::Tcp(tcp) => {
                let session = Session {
                    worker: worker.clone(),
                    tcp: tcp.clone(),
                    remote: self.remote,
                    local: arrived.local,
                    original_dst: arrived.restored,
                    server_name: arrived.findings.server_name,
                    tls,
                    id,
                    chain,
                };
                session.serve(entered, stream, first).await;
            }
        }
    }
}

/// One of the handshakes that a worker does at once.
struct Turn<'a>(&'a Cell<usize>);

impl<'a> Turn<'a> {
    fn take(under_way: &'a Cell<usize>) -> Option<Self> {
        (under_way.get() < HANDSHAKES_MAX).then(|| {
            under_way.set(under_way.get() + 1);
            Self(under_way)
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Handshakes of a worker at once: each holds some 20 KiB, and a client may
/// take its time over it.
const HANDSHAKES_MAX: usize = 4096;
/// A handshake takes no longer, unless the chain says so. Envoy has no limit of
/// its own; a client that says nothing must not hold a connection for ever.
const HANDSHAKE_MAX: Duration = Duration::from_secs(15);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
