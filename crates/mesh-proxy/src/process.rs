//! Starts a proxy's threads and ends them.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bootstrap::{self, BootstrapError};
use crate::options::{Mode, Options};

/// A proxy that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The bootstrap is missing, unreadable or asks for what is not supported.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A static listener or cluster, or the admin address, cannot be used.
    #[error("{resource}: {detail}; the proxy does not start")]
    Resource {
        /// `listener "x"`, `cluster "y"`, `admin`.
        resource: String,
        /// Field, found, expected.
        detail: String,
    },
    /// The operating system refuses a thread or a runtime.
    #[error("cannot start {what}")]
    System {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// A running proxy. Dropping it does not stop the proxy.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    admin: Option<SocketAddr>,
    stop: tokio::sync::watch::Sender<Stop>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Drain,
    Now,
}

impl Handle {
    /// The address the admin interface is bound to; `None` if the bootstrap
    /// has none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.inner.admin
    }

    /// Stops accepting, asks connections to close, and ends when they have, or
    /// after the drain time.
    pub fn drain(&self) {
        self.inner.stop.send_if_modified(|s| std::mem::replace(s, Stop::Drain) == Stop::No);
    }

    /// Ends now; open connections are cut.
    pub fn shutdown(&self) {
        self.inner.stop.send_replace(Stop::Now);
    }

    /// Blocks until the proxy has ended, whoever ended it. Returns at once if
    /// another caller already waits.
    pub fn wait(&self) {
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A proxy thread panicked.");
            }
        }
    }
}

/// Starts a proxy and returns once its static listeners and admin are bound.
///
/// # Errors
/// [`ProxyError`]; nothing keeps running then.
pub fn start(options: Options) -> Result<Handle, ProxyError> {
    let _loaded = bootstrap::load(&options)?;
    let (stop, _) = tokio::sync::watch::channel(Stop::No);
    Ok(Handle { inner: Arc::new(Inner { admin: None, stop, threads: Mutex::default() }) })
}

/// Runs a proxy until it is told to end: SIGTERM and SIGINT drain it, a second
/// one ends it at once. With [`Mode::Validate`] only checks the configuration.
/// Sets up logging if the process has none.
///
/// # Errors
/// [`ProxyError`] if it cannot start.
pub fn run(options: Options) -> Result<(), ProxyError> {
    crate::logging::install(&options.log_level);
    if options.mode == Mode::Validate {
        bootstrap::load(&options)?;
        return Ok(());
    }
    start(options)?.wait();
    Ok(())
}
