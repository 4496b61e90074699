//! Starts a control plane and holds on to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Diagnostic, MeshSnapshot, WorkloadKey};
use mesh_xds::transport::server::{AdsServer, Options as AdsOptions};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

use crate::board::Board;
use crate::fleet::{Fleet, Served};
use crate::http::{self, Ops};
use crate::metrics::Metrics;
use crate::options::TRANSLATE_THREADS_MAX;
use crate::pipeline::{self, Outlets, Pipeline};
use crate::settle::{Settle, Window};
use crate::view::{ProxyView, WorkloadError};
use crate::{Options, platform};

/// Namespace for [`Pilot::start`].
#[derive(Debug, Clone, Copy)]
pub struct Pilot;

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on, most often because another
    /// process does.
    #[error("cannot listen on {address} for {what}; nothing was started")]
    Bind {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The configuration cannot be watched at all.
    #[error("the configuration cannot be watched; nothing was started")]
    Platform(#[from] mesh_platform::StartError),
    /// The system gives no more threads.
    #[error("a thread for translation could not be started; nothing was started")]
    Thread(#[source] std::io::Error),
}

/// Where a control plane listens. Ports that were given as 0 are the chosen
/// ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// xDS.
    pub grpc: SocketAddr,
    /// Metrics and debug pages.
    pub monitoring: Option<SocketAddr>,
    /// The same pages.
    pub http: Option<SocketAddr>,
    /// The same pages.
    pub legacy_monitoring: Option<SocketAddr>,
}

/// A running control plane. Dropping it stops it, without waiting for the end.
#[derive(Debug)]
pub struct Handle {
    addresses: Addresses,
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    synced: watch::Receiver<Option<Served>>,
    diagnostics: watch::Receiver<Arc<[Diagnostic]>>,
    pushes: mpsc::Sender<()>,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

/// How long the end of connections is waited for when a pilot is stopped.
const DRAIN_MAX: Duration = Duration::from_secs(5);

impl Pilot {
    /// Binds all addresses and starts. It returns before the first snapshot;
    /// see [`Handle::wait_synced`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if it cannot start at all. Everything that is wrong with
    /// the configuration is reported as a diagnostic instead.
    pub async fn start(options: Options) -> Result<Handle, StartError> {
        let sockets = Sockets::bind(&options).await?;
        let addresses = sockets.addresses(&options);
        // Reading a large folder takes a while, and this is an async thread.
        let platform = platform::of(&options);
        let updates = match tokio::task::spawn_blocking(move || platform.start()).await {
            Ok(started) => started?,
            Err(error) => return Err(StartError::Thread(std::io::Error::other(error))),
        };

        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let metrics = Arc::new(Metrics::new());
        let board = Arc::new(Board::new(options.log_diagnostics));
        let (served, synced) = watch::channel(None);
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let (pushes, push_requests) = mpsc::channel(1);
        let fleet = Arc::new(Fleet::new(synced.clone(), metrics.clone()));
        let closing = Closing(fleet.clone());
        start_workers(&fleet, options.translate_threads)?;

        let ads = AdsServer::new(fleet.clone(), fleet.clone(), AdsOptions::default());
        let ops = Arc::new(Ops {
            snapshots: snapshot.clone(),
            synced: synced.clone(),
            diagnostics: board.subscribe(),
            fleet: fleet.clone(),
            streams: ads.streams(),
            metrics: metrics.clone(),
            pushes: pushes.clone(),
            started: Instant::now(),
            busy: Semaphore::new(http::PAGES_AT_ONCE),
        });
        let diagnostics = board.subscribe();
        let outlets = Outlets { served, snapshots, fleet: fleet.clone(), board: board.clone(), metrics };
        let pipeline = Pipeline { updates, settle: settle(&options), outlets, pushes: push_requests };

        let (mut tasks, watching) = (JoinSet::new(), stop.clone());
        tasks.spawn(pipeline::run(pipeline, stop.clone()));
        tasks.spawn(pipeline::probe_namespaces(fleet.clone(), stop.clone()));
        tasks.spawn(async move {
            pipeline::watch_fleet(fleet, board, watching).await;
            drop(closing);
        });
        for listener in sockets.pages {
            tasks.spawn(http::serve(listener, ops.clone(), stop.clone()));
        }
        tasks.spawn(serve_xds(ads, sockets.grpc, stop));
        info!(grpc = %addresses.grpc, monitoring = ?addresses.monitoring, http = ?addresses.http, "The control plane is up.");
        Ok(Handle { addresses, snapshots: snapshot, synced, diagnostics, pushes, tasks, stop: guard })
    }
}

impl Handle {
    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Completes when everything that was there at the start has been read and
    /// the first snapshot is served.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.clone();
        // A closed channel means that the control plane has ended.
        let _ = synced.wait_for(Option::is_some).await;
    }

    /// The mesh as it is served now; empty before the first snapshot.
    pub fn snapshot(&self) -> Arc<MeshSnapshot> {
        self.snapshots.borrow().clone()
    }

    /// Every snapshot, from now on (a slow reader sees the newest).
    pub fn snapshots(&self) -> watch::Receiver<Arc<MeshSnapshot>> {
        self.snapshots.clone()
    }

    /// Everything that is wrong now, sorted.
    pub fn diagnostics(&self) -> watch::Receiver<Arc<[Diagnostic]>> {
        self.diagnostics.clone()
    }

    /// What the sidecar of `workload` gets from the newest snapshot, whether or
    /// not it is connected.
    ///
    /// # Errors
    /// See [`WorkloadError`].
    pub fn view(&self, workload: &WorkloadKey) -> Result<ProxyView, WorkloadError> {
        ProxyView::of_workload(&self.snapshot(), workload)
    }

    /// Has the mesh passed on now, settled or not, and translated for every
    /// proxy. What is equal to what a proxy has is still not sent again.
    pub fn push(&self) {
        // A request that waits already does what this one would.
        let _ = self.pushes.try_send(());
    }

    /// Stops listening, ends the streams, and waits until all is done, but no
    /// longer than a few seconds for connections that do not end.
    pub async fn shutdown(self) {
        let Self { mut tasks, stop, .. } = self;
        drop(stop);
        let drained = tokio::time::timeout(DRAIN_MAX, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tasks.shutdown().await;
        }
        info!("The control plane is down.");
    }
}

/// Sends the workers home when the control plane ends, or does not start.
struct Closing(Arc<Fleet>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What is listened on.
struct Sockets {
    grpc: TcpListener,
    /// Monitoring, HTTP, legacy monitoring, those that are wanted.
    pages: Vec<TcpListener>,
}

impl Sockets {
    async fn bind(options: &Options) -> Result<Self, StartError> {
        let grpc = bind("xDS", options.grpc_address).await?;
        let mut pages = Vec::new();
        for (what, address) in page_addresses(options) {
            if let Some(address) = address {
                pages.push(bind(what, address).await?);
            }
        }
        Ok(Self { grpc, pages })
    }

    fn addresses(&self, options: &Options) -> Addresses {
        let mut bound = self.pages.iter().map(TcpListener::local_addr);
        let [monitoring, http, legacy_monitoring] = page_addresses(options).map(|(_, wanted)| {
            // A bound socket knows its address; if not, it is the one asked for.
            wanted.map(|wanted| bound.next().and_then(Result::ok).unwrap_or(wanted))
        });
        let grpc = self.grpc.local_addr().unwrap_or(options.grpc_address);
        Addresses { grpc, monitoring, http, legacy_monitoring }
    }
}

fn page_addresses(options: &Options) -> [(&'static str, Option<SocketAddr>); 3] {
    [
        ("metrics and debug pages", options.monitoring_address),
        ("HTTP pages", options.http_address),
        ("legacy monitoring", options.legacy_monitoring_address),
    ]
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { what, address, source })
}

fn settle(options: &Options) -> Settle {
    let endpoints = Window { quiet: options.endpoint_debounce_after, max: options.endpoint_debounce_max };
    let config = Window { quiet: options.debounce_after, max: options.debounce_max };
    Settle::new(endpoints, config)
}

/// Starts the threads that translate; they go home when the fleet is closed.
fn start_workers(fleet: &Arc<Fleet>, wanted: usize) -> Result<(), StartError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if wanted == 0 { cores.min(TRANSLATE_THREADS_MAX) } else { wanted };
    for number in 0..count {
        let fleet = fleet.clone();
        let thread = std::thread::Builder::new().name(format!("translate-{number}"));
        thread.spawn(move || fleet.work()).map_err(StartError::Thread)?;
    }
    Ok(())
}

async fn serve_xds(ads: AdsServer<Arc<Fleet>, Arc<Fleet>>, listener: TcpListener, stop: CancellationToken) {
    let routes = ads.routes();
    if let Err(error) = ads.serve(listener, routes, stop.cancelled()).await {
        error!(%error, "The xDS server has ended; proxies keep what they have until a restart.");
    }
}

#[cfg(test)]
mod tests;
