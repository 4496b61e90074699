//! Hosts of ORIGINAL_DST clusters: wherever the connection was going.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::{Host, PickContext, PickError};
use crate::cluster::OriginalDst;

/// Hosts that were used lately. A pick holds a shard's lock for one hash
/// lookup, never across a request.
#[derive(Debug)]
pub(super) struct Originals {
    shards: [RwLock<HashMap<SocketAddr, Entry>>; SHARDS],
}

impl Default for Originals {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

#[derive(Debug)]
struct Entry {
    host: Arc<Host>,
    used: AtomicBool,
}

impl Originals {
    pub(super) fn pick(&self, config: &OriginalDst, context: &PickContext<'_>) -> Result<Arc<Host>, PickError> {
        let by_header = config.header.as_ref().zip(context.headers).and_then(|(name, headers)| headers.get(name));
        let address = match by_header {
            Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()),
            None => context.original_dst,
        };
        let mut address: SocketAddr = address.ok_or(PickError::NoOriginalDestination)?;
        if let Some(port) = config.port_override {
            address.set_port(port);
        }
        Ok(self.host(address))
    }

    fn host(&self, address: SocketAddr) -> Arc<Host> {
        let shard = &self.shards[usize::from(address.port()) % SHARDS];
        if let Some(entry) = shard.read().get(&address) {
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            return entry.host.clone();
        }
        let mut hosts = shard.write();
        if hosts.len() >= HOSTS_PER_SHARD_MAX && !hosts.contains_key(&address) {
            // Nothing but the statistics of this host is lost.
            return Arc::new(Host::new(address, Arc::default()));
        }
        let make = || Entry { host: Arc::new(Host::new(address, Arc::default())), used: AtomicBool::new(true) };
        hosts.entry(address).or_insert_with(make).host.clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Host>> {
        let mut all: Vec<_> =
            self.shards.iter().flat_map(|s| s.read().values().map(|e| e.host.clone()).collect::<Vec<_>>()).collect();
        all.sort_by_key(|h| h.address);
        all
    }

    /// Forgets hosts that nobody asked for since the last sweep and that are idle.
    pub(super) fn sweep(&self) {
        for shard in &self.shards {
            shard.write().retain(|_, entry| {
                let busy = entry.host.active() > 0 || entry.host.stats.cx_active.load(Ordering::Relaxed) > 0;
                entry.used.swap(false, Ordering::Relaxed) || busy
            });
        }
    }
}

const SHARDS: usize = 16;
/// Bounds memory when a client scans the network through the passthrough cluster.
const HOSTS_PER_SHARD_MAX: usize = 4096;
