//! Listeners: binding, warming, changing in place or with new sockets, leaving.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_engine::Listener;
use mesh_engine::hcm::RouteSource;
use mesh_engine::listener::{FilterChain, NetworkFilter};
use mesh_proto::Message as _;
use mesh_proto::envoy::config::listener::v3 as proto;
use mesh_proto::google::protobuf::Any;
use mesh_proto::types;
use mesh_xds::client::Update;
use socket2::Socket;

use super::record::{Refused, Versioned};
use super::store::{Store, decode};
use crate::listener::socket;
use crate::process::Command;
use crate::stats::ScopeName;

/// A listener in use.
pub(super) struct Active {
    pub(super) listener: Arc<Listener>,
    /// Its sockets, as the workers know them.
    pub(super) keys: Vec<u64>,
    bound: Vec<SocketAddr>,
    /// Hashes of its chains' messages, to tell which ones an update changes.
    chains: Vec<(u64, Arc<FilterChain>)>,
}

/// A listener that waits for route tables and secrets.
pub(super) struct Warming {
    pub(super) listener: Arc<Listener>,
    sockets: Vec<Bound>,
    chains: Vec<u64>,
    deadline: Instant,
}

/// A listener whose address could not be bound.
pub(super) struct Unbound {
    any: Any,
    version: String,
    fixed: bool,
    again_at: Instant,
}

/// One address with a socket for each worker.
struct Bound {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

impl Bound {
    /// The address with the port the system chose, if it was to choose.
    fn address(&self) -> SocketAddr {
        self.sockets.first().and_then(socket::local_address).unwrap_or(self.address)
    }
}

impl Store {
    pub(super) fn on_listeners(&mut self, update: &Update, errors: &mut Vec<String>) {
        // What goes makes room for what comes at the same address.
        for name in &update.removed {
            self.remove_listener(name);
        }
        let mut refused = Vec::new();
        for (name, any) in &update.added {
            if let Err(text) = self.listener(name, any.clone(), &update.version, false) {
                refused.push(format!("{name}: {text}"));
            }
        }
        if !refused.is_empty() {
            errors.push(format!("Error adding/updating listener(s) {}", refused.join(", ")));
        }
        update.version.clone_into(&mut self.records.lock().lds_version);
        self.answered(types::LISTENER);
    }

    /// Takes in one listener.
    pub(super) fn listener(&mut self, name: &str, any: Any, version: &str, fixed: bool) -> Result<(), String> {
        {
            let mut records = self.records.lock();
            let entry = records.listeners.entry(name.to_owned()).or_default();
            if entry.fixed && !fixed {
                return Ok(());
            }
            entry.fixed = fixed;
            if entry.holds(&any) {
                return Ok(());
            }
        }
        match self.prepare(name, &any, version, fixed) {
            Ok(warming) => {
                let stats = &self.shared.stats.listeners;
                if self.listeners.contains_key(name) {
                    stats.listener_modified.inc()
                } else {
                    stats.listener_added.inc()
                }
                let mut records = self.records.lock();
                let entry = records.listeners.entry(name.to_owned()).or_default();
                entry.refused = None;
                entry.warming = Some(Versioned::new(version, any));
                drop(records);
                self.unbound.remove(name);
                self.warming_listeners.insert(name.to_owned(), warming);
                self.tls.changed = true;
                if fixed {
                    self.build_contexts();
                    self.warm_listeners();
                }
                Ok(())
            }
            Err(text) => {
                self.shared.stats.listeners.listener_create_failure.inc();
                let mut records = self.records.lock();
                if let Some(entry) = records.listeners.get_mut(name) {
                    entry.refused = Some(Refused::new(version, any, text.clone()));
                }
                Err(text)
            }
        }
    }

    /// Parses a listener and binds what it needs beyond what is bound.
    fn prepare(&mut self, name: &str, any: &Any, version: &str, fixed: bool) -> Result<Warming, String> {
        let message: proto::Listener = decode(name, any)?;
        let listener = Listener::parse(&message, &self.runtime.routes).map_err(|e| e.to_string())?;
        super::honour::listener(&listener)?;
        let addresses = addresses(&listener);
        self.check_addresses(name, &addresses)?;
        for table in inline_tables(&listener) {
            self.check_clusters(&table, true)?;
        }
        let have: Vec<SocketAddr> = self.listeners.get(name).map(|a| self.addresses_of(a)).unwrap_or_default();
        let mut sockets = Vec::new();
        for address in addresses.iter().filter(|a| listener.bind_to_port && !have.contains(a)) {
            match socket::bind(*address, &listener, self.workers.len()) {
                Ok(bound) => sockets.push(Bound { address: *address, sockets: bound }),
                Err(error) => {
                    let again_at = Instant::now() + BIND_RETRY;
                    let unbound = Unbound { any: any.clone(), version: version.to_owned(), fixed, again_at };
                    self.unbound.insert(name.to_owned(), unbound);
                    return Err(bind_error(name, *address, &error));
                }
            }
        }
        let chains =
            message.filter_chains.iter().chain(&message.default_filter_chain).map(|c| hash(&c.encode_to_vec()));
        let deadline = Instant::now() + WARM_WAIT;
        Ok(Warming { listener: Arc::new(listener), sockets, chains: chains.collect(), deadline })
    }

    fn addresses_of(&self, active: &Active) -> Vec<SocketAddr> {
        if active.listener.bind_to_port { addresses(&active.listener) } else { Vec::new() }
    }

    fn check_addresses(&self, name: &str, wanted: &[SocketAddr]) -> Result<(), String> {
        let others = self.listeners.iter().map(|(n, a)| (n, &a.listener));
        let warming = self.warming_listeners.iter().map(|(n, w)| (n, &w.listener));
        for (other, listener) in others.chain(warming).filter(|(n, _)| n.as_str() != name) {
            if let Some(address) = addresses(listener).iter().find(|a| a.port() != 0 && wanted.contains(a)) {
                return Err(format!(
                    "error adding listener: '{name}' has duplicate address '{address}' as existing listener '{other}'"
                ));
            }
        }
        Ok(())
    }

    /// Tries the addresses again that were taken.
    pub(super) fn retry_unbound(&mut self) {
        let now = Instant::now();
        let due: Vec<String> = self.unbound.iter().filter(|(_, u)| u.again_at <= now).map(|(n, _)| n.clone()).collect();
        for name in due {
            let Some(unbound) = self.unbound.remove(&name) else { continue };
            if self.listener(&name, unbound.any, &unbound.version, unbound.fixed).is_ok() {
                tracing::info!(listener = %name, "The listener's address became free; it listens now.");
            }
        }
    }

    /// Puts the listeners into use whose route tables and secrets are there.
    pub(super) fn warm_listeners(&mut self) {
        let now = Instant::now();
        let ready: Vec<String> = self
            .warming_listeners
            .iter()
            .filter(|(_, w)| {
                let routed = || w.listener.route_names().iter().all(|n| self.runtime.routes.slot(n).load().is_some());
                w.deadline <= now || (self.has_secrets(super::secrets::of_listener(&w.listener)) && routed())
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in ready {
            if let Some(warming) = self.warming_listeners.remove(&name) {
                self.use_listener(&name, warming);
            }
        }
    }

    fn use_listener(&mut self, name: &str, warming: Warming) {
        let old = self.listeners.remove(name);
        let mut listener = warming.listener;
        let (mut keys, mut bound) = (Vec::new(), Vec::new());
        let wanted = if listener.bind_to_port { addresses(&listener) } else { Vec::new() };
        let mut dropped = Vec::new();
        let mut drained: Vec<usize> = Vec::new();
        if let Some(old) = old {
            // Sockets of addresses that stay go on; the others close.
            let old_addresses = self.addresses_of(&old);
            for (i, key) in old.keys.iter().enumerate() {
                match old_addresses.get(i).filter(|a| wanted.contains(a)) {
                    Some(_) => {
                        keys.push(*key);
                        bound.extend(old.bound.get(i));
                    }
                    None => dropped.push(*key),
                }
            }
            if let Some(listener) = Arc::get_mut(&mut listener) {
                drained = keep_chains(listener, &warming.chains, &old.chains);
            }
            self.shared.stats.listeners.listener_in_place_updated.add(u64::from(warming.sockets.is_empty()));
        }
        let chains = all_chains(&listener).zip(&warming.chains).map(|(c, h)| (*h, c.clone())).collect();
        let chain_name: Arc<str> = listener.name.clone();
        let mut sockets = Vec::new();
        for one in warming.sockets {
            let key = self.key();
            keys.push(key);
            bound.push(one.address());
            sockets.push((key, one));
        }
        self.listeners.insert(name.to_owned(), Active { listener, keys, bound: bound.clone(), chains });
        self.publish_listeners();
        for (key, one) in sockets {
            self.listen(&chain_name, key, one);
        }
        self.tell_workers(|_| Command::Unlisten { keys: dropped.clone() });
        if !drained.is_empty() {
            self.tell_workers(|_| Command::DrainChains { chains: drained.clone() });
        }
        self.shared.stats.listeners.listener_create_success.inc();
        self.record_in_use(name, bound);
    }

    fn listen(&self, name: &Arc<str>, key: u64, bound: Bound) {
        let address = bound.address();
        let backlog = self.shared.listeners.load().get(name).and_then(|l| l.tcp_backlog);
        let stat =
            self.shared.listeners.load().get(name).map_or_else(|| address.to_string(), |l| l.stat_prefix.to_string());
        let scope = ScopeName::listener(&stat);
        let stats = self.shared.stats.listener.named(&self.shared.stats.store, scope);
        for (worker, socket) in self.workers.iter().zip(bound.sockets) {
            match socket::listen(socket, backlog) {
                Ok(socket) => {
                    let command = Command::Listen { key, name: name.clone(), socket, stats: stats.clone() };
                    // A worker that is gone takes the process with it.
                    let _ = worker.send(command);
                }
                Err(error) => {
                    self.shared.stats.listeners.listener_create_failure.inc();
                    tracing::error!(listener = %name, %address, %error, "A socket cannot listen.");
                }
            }
        }
    }

    fn record_in_use(&self, name: &str, bound: Vec<SocketAddr>) {
        let Some(active) = self.listeners.get(name) else { return };
        let mut records = self.records.lock();
        let mut tables = Vec::new();
        if let Some(entry) = records.listeners.get_mut(name) {
            entry.active = entry.warming.take().or(entry.active.take());
            if let Some(version) = &entry.active
                && let Ok(message) = decode::<proto::Listener>(name, &version.resource)
            {
                tables = inline_messages(&message, version);
            }
        }
        records.inline_routes.insert(name.to_owned(), tables);
        let address = if active.listener.bind_to_port { bound } else { vec![active.listener.address] };
        records.bound.insert(name.to_owned(), address);
    }

    /// The control plane has taken a listener away.
    pub(super) fn remove_listener(&mut self, name: &str) {
        {
            let mut records = self.records.lock();
            if records.listeners.get(name).is_some_and(|e| e.fixed) {
                return;
            }
            records.listeners.remove(name);
            records.inline_routes.remove(name);
            records.bound.remove(name);
        }
        self.unbound.remove(name);
        self.warming_listeners.remove(name);
        let Some(active) = self.listeners.remove(name) else { return };
        self.shared.stats.listeners.listener_removed.inc();
        self.publish_listeners();
        self.tell_workers(|_| Command::Unlisten { keys: active.keys.clone() });
        self.tell_workers(|_| Command::DrainListener { name: active.listener.name.clone() });
    }
}

/// All addresses of a listener.
fn addresses(listener: &Listener) -> Vec<SocketAddr> {
    std::iter::once(listener.address).chain(listener.additional_addresses.iter().copied()).collect()
}

fn all_chains(listener: &Listener) -> impl Iterator<Item = &Arc<FilterChain>> {
    listener.filter_chains.iter().chain(&listener.default_filter_chain)
}

/// Lets the chains that did not change be the very same values as before, so
/// that their connections are not drained. Returns the chains that are gone.
fn keep_chains(listener: &mut Listener, hashes: &[u64], old: &[(u64, Arc<FilterChain>)]) -> Vec<usize> {
    let by_hash: HashMap<u64, &Arc<FilterChain>> = old.iter().map(|(h, c)| (*h, c)).collect();
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    for (chain, hash) in chains.zip(hashes) {
        if let Some(same) = by_hash.get(hash) {
            *chain = (*same).clone();
        }
    }
    let kept: BTreeSet<u64> = hashes.iter().copied().collect();
    old.iter().filter(|(h, _)| !kept.contains(h)).map(|(_, c)| Arc::as_ptr(c) as usize).collect()
}

fn inline_tables(listener: &Listener) -> Vec<Arc<mesh_engine::RouteTable>> {
    all_chains(listener)
        .filter_map(|c| match &c.filter {
            NetworkFilter::Http(hcm) => match &hcm.routes {
                RouteSource::Inline(table) => Some(table.clone()),
                RouteSource::Rds(_) => None,
            },
            NetworkFilter::Tcp(_) => None,
        })
        .collect()
}

fn inline_messages(message: &proto::Listener, version: &Versioned) -> Vec<Versioned> {
    use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    let filters = message.filter_chains.iter().chain(&message.default_filter_chain).flat_map(|c| &c.filters);
    filters
        .filter_map(|f| match &f.config_type {
            Some(proto::filter::ConfigType::TypedConfig(any)) => {
                mesh_proto::any::unpack::<hcm::HttpConnectionManager>(any).ok()
            }
            _ => None,
        })
        .filter_map(|m| match m.route_specifier {
            Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)) => {
                Some(Versioned { resource: super::record::pack(&table), ..version.clone() })
            }
            _ => None,
        })
        .collect()
}

fn bind_error(name: &str, address: SocketAddr, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => "port in use".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "error adding listener '{name}': cannot bind '{address}': {why}; the other listeners go on, and this one is tried again every {} s",
        BIND_RETRY.as_secs()
    )
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A listener whose route tables or secrets do not come goes into use without them, as
/// with Envoy's default `initial_fetch_timeout`.
const WARM_WAIT: Duration = Duration::from_secs(15);
/// Between attempts at an address that is taken.
const BIND_RETRY: Duration = Duration::from_secs(1);
