//! Clusters that are asked for when a request or connection first needs them,
//! so that a proxy holds those that it uses and not those that there are.
//!
//! ```text
//! worker: need(name) -- not here --> ask --> control thread: subscribe to the name
//!    ^                                             |
//!    +------------- settled: look again <----------+  in use, or known not to exist
//! ```
//! The request waits meanwhile, within its own timeouts and [`WAIT_MAX`], and
//! then goes on as if the cluster had always been there.
//!
//! **Invariant:** a cluster that is here costs one look into a map; nothing is
//! sent and nothing waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::upstream::{Upstream, Upstreams};

/// See the module.
pub(crate) struct Demand {
    ask: mpsc::Sender<Arc<str>>,
    asked: Mutex<Option<mpsc::Receiver<Arc<str>>>>,
    settled: watch::Sender<()>,
    missing: ArcSwap<BTreeSet<String>>,
}

impl Demand {
    pub(crate) fn new() -> Self {
        let (ask, asked) = mpsc::channel(ASKING_MAX);
        Self { ask, asked: Mutex::new(Some(asked)), settled: watch::channel(()).0, missing: ArcSwap::default() }
    }

    /// What workers ask for; for the control thread, once.
    pub(crate) fn take_asked(&self) -> Option<mpsc::Receiver<Arc<str>>> {
        self.asked.lock().take()
    }

    /// Something came into use, or is known not to exist: `missing`.
    pub(crate) fn settle(&self, missing: &BTreeSet<String>) {
        if **self.missing.load() != *missing {
            self.missing.store(Arc::new(missing.clone()));
        }
        self.settled.send_replace(());
    }

    /// The cluster called `name`, which `upstreams` does not have yet; `None`
    /// if it does not exist, or does not come in time.
    pub(crate) async fn wait_for(&self, name: &str, upstreams: &Upstreams) -> Option<Arc<Upstream>> {
        let mut settled = self.settled.subscribe();
        // A full queue means that the control thread is busy with others' wishes: this one is not lost, it is late.
        let asking = async {
            self.ask.send(name.into()).await.ok()?;
            loop {
                if let Some(upstream) = upstreams.get(name) {
                    return Some(upstream);
                }
                if self.missing.load().contains(name) {
                    return None;
                }
                settled.changed().await.ok()?;
            }
        };
        tokio::time::timeout(WAIT_MAX, asking).await.ok().flatten()
    }
}

/// Names that may wait to be taken notice of.
const ASKING_MAX: usize = 1024;
/// How long a request waits for a cluster that it is the first to need: a
/// control plane answers within milliseconds, and a client has not for ever.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(5);
/// Clusters that may be asked for: a client that chooses their names (by
/// header or server name) must not fill the memory of both planes.
pub(crate) const NAMES_MAX: usize = 10_000;
