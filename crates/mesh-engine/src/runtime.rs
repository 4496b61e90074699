//! What a proxy has at one moment: listeners, route tables, clusters.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use crate::balance::Cluster;
use crate::cluster::ClusterConfig;
use crate::endpoint::LoadAssignment;
use crate::error::ConfigError;
use crate::hash::FastMap;
use crate::listener::Listener;
use crate::route::RouteTable;
use crate::tls::Secret;

mod load;
#[cfg(test)]
mod tests;

/// Everything a proxy decides by.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// Its listeners at this moment.
    pub listeners: Arc<Listeners>,
    /// Its route tables, swapped by name.
    pub routes: Arc<Routes>,
    /// Its clusters, swapped by name.
    pub clusters: Arc<Clusters>,
    /// Its secrets, swapped by name.
    pub secrets: Arc<Secrets>,
}

impl RuntimeConfig {
    /// Builds a configuration from encoded resources of any of the five types
    /// in any order, as `(type URL, body)`. Resources of other types are left
    /// alone. What cannot be honoured is set aside and returned.
    pub fn from_resources<'a>(resources: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<ConfigError>) {
        load::load(resources)
    }
}

/// Secrets by name.
#[derive(Debug, Default)]
pub struct Secrets {
    map: ArcSwap<BTreeMap<Arc<str>, Arc<Secret>>>,
}

impl Secrets {
    /// The secret called `name`, if it has arrived.
    pub fn get(&self, name: &str) -> Option<Arc<Secret>> {
        self.map.load().get(name).cloned()
    }

    /// Takes in `secret`, in place of the one of that name.
    pub fn set(&self, secret: Secret) {
        let secret = Arc::new(secret);
        self.map.rcu(|map| {
            let mut next = BTreeMap::clone(map);
            next.insert(secret.name.clone(), secret.clone());
            next
        });
    }

    /// Forgets all but those that `keep` names.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        if self.map.load().keys().any(|name| !keep(name)) {
            self.map.rcu(|map| BTreeMap::clone(map).into_iter().filter(|(n, _)| keep(n)).collect::<BTreeMap<_, _>>());
        }
    }

    /// All that have arrived, sorted by name.
    pub fn all(&self) -> Vec<Arc<Secret>> {
        self.map.load().values().cloned().collect()
    }
}

/// An immutable set of listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    by_name: BTreeMap<Arc<str>, Arc<Listener>>,
    by_address: HashMap<SocketAddr, Arc<Listener>>,
}

impl Listeners {
    /// These listeners.
    pub fn new(listeners: impl IntoIterator<Item = Arc<Listener>>) -> Self {
        let by_name: BTreeMap<_, _> = listeners.into_iter().map(|l| (l.name.clone(), l)).collect();
        let by_address = by_name
            .values()
            .flat_map(|l| {
                std::iter::once(l.address).chain(l.additional_addresses.iter().copied()).map(move |a| (a, l.clone()))
            })
            .collect();
        Self { by_name, by_address }
    }

    /// The listener called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Listener>> {
        self.by_name.get(name)
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.by_name.values()
    }

    /// The listener for a connection that `listener` accepted and whose
    /// restored destination is `destination`: the one with exactly that
    /// address, else the one with the wildcard address and that port, else
    /// `listener` itself. Without `use_original_dst` always `listener`.
    pub fn redirect_target<'a>(&'a self, listener: &'a Arc<Listener>, destination: SocketAddr) -> &'a Arc<Listener> {
        if !listener.use_original_dst {
            return listener;
        }
        self.at(destination).unwrap_or(listener)
    }

    /// The listener at exactly `address`, else the one at the wildcard address
    /// and that port.
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<Listener>> {
        let wildcard = match address {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], address.port())),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], address.port())),
        };
        self.by_address.get(&address).or_else(|| self.by_address.get(&wildcard))
    }
}

/// Route tables by name. A slot exists as soon as someone asks for it, and is
/// filled when the table arrives.
#[derive(Debug, Default)]
pub struct Routes {
    slots: Mutex<BTreeMap<Arc<str>, Arc<RouteSlot>>>,
}

/// A place for one route table, held by every connection manager that wants it.
#[derive(Debug)]
pub struct RouteSlot {
    name: Arc<str>,
    table: ArcSwapOption<RouteTable>,
}

impl RouteSlot {
    /// The name of the table.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The newest table. Takes no lock.
    pub fn load(&self) -> Option<Arc<RouteTable>> {
        self.table.load_full()
    }
}

impl Routes {
    /// The slot for `name`. Not for the hot path: holders keep what it returns.
    pub fn slot(&self, name: &str) -> Arc<RouteSlot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(name) {
            return slot.clone();
        }
        let name: Arc<str> = Arc::from(name);
        let slot = Arc::new(RouteSlot { name: name.clone(), table: ArcSwapOption::empty() });
        slots.insert(name, slot.clone());
        slot
    }

    /// Puts `table` into its slot; the next request sees it.
    pub fn set(&self, table: Arc<RouteTable>) {
        self.slot(&table.name).table.store(Some(table));
    }

    /// Empties the slot `name`: requests get 404 until a table arrives again.
    pub fn clear(&self, name: &str) {
        self.slot(name).table.store(None);
    }

    /// All tables that have arrived, sorted by name.
    pub fn tables(&self) -> Vec<Arc<RouteTable>> {
        self.slots.lock().values().filter_map(|s| s.load()).collect()
    }
}

/// Clusters by name.
#[derive(Debug, Default)]
pub struct Clusters {
    map: ArcSwap<FastMap<Arc<str>, Arc<Cluster>>>,
    writer: Mutex<()>,
}

impl Clusters {
    /// The cluster called `name`. Takes no lock.
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.map.load().get(name).cloned()
    }

    /// Makes a cluster, or gives the one of that name its new configuration
    /// (hosts and counters stay), and its endpoints if they are at hand.
    pub fn upsert(&self, config: ClusterConfig, endpoints: Option<&LoadAssignment>) -> Arc<Cluster> {
        let _writer = self.writer.lock();
        let current = self.map.load_full();
        let cluster = match current.get(&config.name) {
            Some(cluster) => {
                cluster.update_config(config);
                cluster.clone()
            }
            None => {
                let cluster = Arc::new(Cluster::new(config));
                let mut next = FastMap::clone(&current);
                next.insert(cluster.name().clone(), cluster.clone());
                self.map.store(Arc::new(next));
                cluster
            }
        };
        if let Some(endpoints) = endpoints {
            cluster.update_endpoints(endpoints);
        }
        cluster
    }

    /// Takes the cluster called `name` out. Those who hold it may finish.
    pub fn remove(&self, name: &str) -> Option<Arc<Cluster>> {
        let _writer = self.writer.lock();
        let mut next = FastMap::clone(&self.map.load_full());
        let removed = next.remove(name)?;
        self.map.store(Arc::new(next));
        Some(removed)
    }

    /// All of them, sorted by name.
    pub fn all(&self) -> Vec<Arc<Cluster>> {
        let mut all: Vec<_> = self.map.load().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }
}
