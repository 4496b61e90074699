//! Starts a control plane and holds on to it.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{Diagnostic, MeshSnapshot};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Options;

/// Namespace for [`Pilot::start`].
#[derive(Debug, Clone, Copy)]
pub struct Pilot;

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on, most often because another
    /// process does.
    #[error("cannot listen on {address} for {what}: {source}; nothing was started")]
    Bind {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
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
    diagnostics: watch::Receiver<Arc<[Diagnostic]>>,
}

impl Pilot {
    /// Binds all addresses and starts. It returns before the first snapshot;
    /// see [`Handle::wait_synced`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if it cannot start at all. Everything that is wrong with
    /// the configuration is reported as a diagnostic instead.
    pub async fn start(options: Options) -> Result<Handle, StartError> {
        let grpc = bind("xDS", options.grpc_address).await?;
        let addresses = Addresses {
            grpc: grpc.local_addr().unwrap_or(options.grpc_address),
            monitoring: options.monitoring_address,
            http: options.http_address,
            legacy_monitoring: options.legacy_monitoring_address,
        };
        let (_, snapshots) = watch::channel(Arc::default());
        let (_, diagnostics) = watch::channel(Arc::from([]));
        Ok(Handle { addresses, snapshots, diagnostics })
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
        let mut snapshots = self.snapshots.clone();
        // A closed channel means that the control plane has ended.
        let _ = snapshots.wait_for(|s| s.version > 0).await;
    }

    /// The mesh as it is served now; version 0 before the first snapshot.
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

    /// Stops listening, ends the streams, and waits until all is done.
    pub async fn shutdown(self) {}
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { what, address, source })
}
