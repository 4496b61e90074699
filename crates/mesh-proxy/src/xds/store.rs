//! The one writer of the proxy's configuration.
//!
//! Invariant: what is in force stays in force until what replaces it is ready.
//! A cluster waits for its first endpoints, a listener for its route tables, both
//! for their secrets;
//! a removed cluster stays as long as a route or listener names it. A resource
//! that is refused changes nothing but its `refused` record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_engine::{ClusterConfig, Listener, LoadAssignment, RuntimeConfig};
use mesh_proto::envoy::config::bootstrap::v3::Bootstrap;
use mesh_proto::google::protobuf::Any;
use mesh_proto::types;
use mesh_xds::client::{Update, Wanted};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::record::{Records, pack, timestamp};
use crate::process::{Command, ProxyError};
use crate::stats::sets::DiscoveryStats;
use crate::worker::Shared;

/// See the module.
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: RuntimeConfig,
    pub(crate) records: Arc<Mutex<Records>>,
    pub(super) workers: Vec<UnboundedSender<Command>>,
    /// Clusters that wait for endpoints.
    pub(super) warming_clusters: BTreeMap<String, WarmingCluster>,
    /// Endpoints by EDS name.
    pub(super) endpoints: BTreeMap<String, LoadAssignment>,
    /// Removed by the control plane, but still named by a route or listener.
    pub(super) leaving_clusters: BTreeMap<String, Instant>,
    pub(super) listeners: BTreeMap<String, super::listeners::Active>,
    pub(super) warming_listeners: BTreeMap<String, super::listeners::Warming>,
    /// Listeners whose port is taken, and when to try again.
    pub(super) unbound: BTreeMap<String, super::listeners::Unbound>,
    /// Names that are asked for.
    wanted: BTreeMap<&'static str, Wanted>,
    /// Changes of that, for the client.
    pub(super) wants: Vec<(&'static str, Wanted)>,
    /// Clusters that were asked for on demand, and those of them that do not exist.
    demanded: BTreeSet<String>,
    pub(super) missing_clusters: BTreeSet<String>,
    /// Clusters come on demand.
    pub(super) on_demand: bool,
    /// What is known of secrets beside their content.
    pub(super) tls: super::secrets::TlsState,
    /// DNS clusters that began or changed, and that ended (`None`).
    pub(crate) dns: Vec<(String, Option<ClusterConfig>)>,
    init: Init,
    next_key: u64,
}

/// A cluster that is not in use yet.
pub(super) struct WarmingCluster {
    pub(super) config: ClusterConfig,
    pub(super) deadline: Option<Instant>,
}

/// What the server still waits for before it is live.
struct Init {
    cds: Option<Option<Instant>>,
    lds: Option<Option<Instant>>,
    wants_lds: bool,
}

impl Store {
    pub(crate) fn new(
        shared: Arc<Shared>,
        runtime: RuntimeConfig,
        bootstrap: &Bootstrap,
        workers: Vec<UnboundedSender<Command>>,
    ) -> Self {
        let records = Records { bootstrap: bootstrap.clone(), bootstrap_loaded: timestamp(), ..Records::default() };
        Self {
            shared,
            runtime,
            records: Arc::new(Mutex::new(records)),
            workers,
            warming_clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            leaving_clusters: BTreeMap::new(),
            listeners: BTreeMap::new(),
            warming_listeners: BTreeMap::new(),
            unbound: BTreeMap::new(),
            wanted: BTreeMap::new(),
            wants: Vec::new(),
            demanded: BTreeSet::new(),
            missing_clusters: BTreeSet::new(),
            on_demand: false,
            tls: super::secrets::TlsState::default(),
            dns: Vec::new(),
            init: Init { cds: None, lds: None, wants_lds: false },
            next_key: 1,
        }
    }

    /// Takes in the static resources. Any that cannot be honoured ends the start.
    pub(crate) fn load_static(&mut self, bootstrap: &Bootstrap) -> Result<(), ProxyError> {
        let Some(resources) = &bootstrap.static_resources else { return Ok(()) };
        for cluster in &resources.clusters {
            self.cluster(&cluster.name, pack(cluster), "", true)
                .map_err(|detail| resource_error("cluster", &cluster.name, detail))?;
        }
        for listener in &resources.listeners {
            let taken_port = self.listener(&listener.name, pack(listener), "", true);
            match taken_port {
                Ok(()) => {}
                // The port may become free; the rest of the proxy works meanwhile.
                Err(detail) if self.unbound.contains_key(&listener.name) => {
                    tracing::error!(listener = %listener.name, %detail, "A static listener cannot listen yet; it is tried again.");
                }
                Err(detail) => return Err(resource_error("listener", &listener.name, detail)),
            }
        }
        Ok(())
    }

    /// Begins to ask a control plane. `cds` and `lds` say what for, and how
    /// long the server waits for the first answer (`Some(None)`: for ever).
    pub(crate) fn begin(&mut self, cds: Option<Option<Duration>>, lds: Option<Option<Duration>>, delta: bool) {
        self.on_demand = cds.is_some() && delta && self.shared.demand.is_some();
        if self.shared.demand.is_some() && !self.on_demand {
            tracing::warn!("Clusters come on demand over incremental xDS (DELTA_GRPC) only; here all come at once.");
        }
        let cds = cds.filter(|_| !self.on_demand);
        let at = |wait: Option<Duration>| wait.map(|d| Instant::now() + d);
        self.init = Init { cds: cds.map(at), lds: lds.map(at), wants_lds: lds.is_some() };
        if cds.is_some() {
            self.want(types::CLUSTER, Wanted::Wildcard);
        }
        self.settle();
    }

    /// A request or connection needs the cluster called `name`.
    pub(crate) fn demand(&mut self, name: &str) {
        if !self.on_demand || self.demanded.len() >= crate::demand::NAMES_MAX {
            // It will not come; whoever waits must not wait in vain.
            if self.missing_clusters.len() >= crate::demand::NAMES_MAX {
                self.missing_clusters.clear();
            }
            self.missing_clusters.insert(name.to_owned());
        } else if self.demanded.insert(name.to_owned()) {
            self.want(types::CLUSTER, Wanted::Names(self.demanded.clone()));
        }
        self.settle();
    }

    /// Takes in one update.
    ///
    /// # Errors
    /// The NACK's text. What was good in the update is in force nevertheless.
    pub(crate) fn update(&mut self, update: &Update) -> Result<(), String> {
        let stats = self.discovery_stats(&update.type_url);
        if let Some(stats) = &stats {
            stats.update_attempt.inc();
        }
        let mut errors = Vec::new();
        match update.type_url.as_str() {
            types::CLUSTER => self.on_clusters(update, &mut errors),
            types::ENDPOINT => self.on_endpoints(update, &mut errors),
            types::LISTENER => self.on_listeners(update, &mut errors),
            types::ROUTE => self.on_routes(update, &mut errors),
            types::SECRET => self.on_secrets(update, &mut errors),
            other => errors.push(format!("resources of type {other} are not supported")),
        }
        self.settle();
        if let Some(stats) = &stats {
            count(stats, &update.version, errors.is_empty());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    fn discovery_stats(&self, type_url: &str) -> Option<Arc<DiscoveryStats>> {
        match type_url {
            types::CLUSTER => Some(self.shared.stats.cds.clone()),
            types::LISTENER => Some(self.shared.stats.lds.clone()),
            _ => None,
        }
    }

    /// Carries out what an update, an answer from DNS, or time has made possible.
    pub(crate) fn settle(&mut self) {
        // First, so that what goes into use now finds its TLS.
        self.build_contexts();
        self.warm_clusters();
        self.warm_listeners();
        self.remove_leaving_clusters();
        self.want_names();
        self.advance();
        let stats = &self.shared.stats;
        stats.clusters.warming_clusters.set(self.warming_clusters.len() as u64);
        stats.clusters.active_clusters.set(self.shared.upstreams.all().len() as u64);
        stats.listeners.total_listeners_active.set(self.listeners.len() as u64);
        stats.listeners.total_listeners_warming.set(self.warming_listeners.len() as u64);
        if let Some(demand) = &self.shared.demand {
            demand.settle(&self.missing_clusters);
        }
    }

    /// To be called about once a second.
    pub(crate) fn tick(&mut self) {
        self.retry_unbound();
        self.look_at_files();
        self.settle();
        let now = Instant::now();
        let mut rng = rand::rng();
        for upstream in self.shared.upstreams.all() {
            for (_, event) in upstream.cluster.tick(now, &mut rng) {
                upstream.count_event(Some(event));
            }
            super::clusters::count_members(&upstream);
        }
        let stats = &self.shared.stats.server;
        let live_since = self.records.lock().live_since;
        stats.uptime.set(live_since.map_or(0, |since| since.elapsed().as_secs()));
    }

    pub(super) fn want(&mut self, type_url: &'static str, wanted: Wanted) {
        if self.wanted.get(type_url) != Some(&wanted) {
            self.wanted.insert(type_url, wanted.clone());
            self.wants.push((type_url, wanted));
        }
    }

    /// Subscriptions that changed since the last call, in the order in which
    /// they are to be made.
    pub(crate) fn take_wants(&mut self) -> Vec<(&'static str, Wanted)> {
        std::mem::take(&mut self.wants)
    }

    fn want_names(&mut self) {
        let services: BTreeSet<String> = self.eds_names();
        if !services.is_empty() || self.wanted.contains_key(types::ENDPOINT) {
            self.endpoints.retain(|name, _| services.contains(name));
            self.records.lock().endpoints.retain(|name, _| services.contains(name));
            self.want(types::ENDPOINT, Wanted::Names(services));
        }
        let tables: BTreeSet<String> = self.route_names();
        if !tables.is_empty() || self.wanted.contains_key(types::ROUTE) {
            self.forget_routes(&tables);
            self.want(types::ROUTE, Wanted::Names(tables));
        }
        let secrets = self.secret_names();
        if !secrets.is_empty() || self.wanted.contains_key(types::SECRET) {
            self.forget_secrets(&secrets);
            self.want(types::SECRET, Wanted::Names(secrets));
        }
    }

    /// Whether the first answer of `type_url` has come.
    pub(super) fn answered(&mut self, type_url: &str) {
        match type_url {
            types::CLUSTER => self.init.cds = None,
            _ => self.init.lds = None,
        }
    }

    /// Clusters first, then listeners, then live: as Envoy starts.
    fn advance(&mut self) {
        let now = Instant::now();
        let waits = |first: &Option<Option<Instant>>| match first {
            None => false,
            Some(deadline) => deadline.is_none_or(|at| now < at),
        };
        let cds = waits(&self.init.cds);
        if self.init.wants_lds && !cds && self.warming_clusters.is_empty() {
            self.init.wants_lds = false;
            self.want(types::LISTENER, Wanted::Wildcard);
        }
        let lds = self.init.wants_lds || waits(&self.init.lds);
        let mut unready: Vec<String> = Vec::new();
        unready.extend(cds.then(|| "cds".to_owned()));
        unready.extend(lds.then(|| "lds".to_owned()));
        unready.extend(self.warming_clusters.keys().map(|n| format!("cluster {n}")));
        unready.extend(self.warming_listeners.keys().map(|n| format!("listener {n}")));
        let mut records = self.records.lock();
        if !records.live && unready.is_empty() {
            records.live = true;
            records.live_since = Some(now);
            self.shared.stats.server.live.set(1);
            self.shared.stats.server.state.set(0);
            tracing::info!("The proxy is live.");
        }
        records.unready = unready;
    }

    pub(super) fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    pub(super) fn tell_workers(&self, mut command: impl FnMut(usize) -> Command) {
        for (i, worker) in self.workers.iter().enumerate() {
            // A worker that is gone takes the process with it.
            let _ = worker.send(command(i));
        }
    }

    /// Asks every connection to close, accepting no more.
    pub(crate) fn drain_listeners(&mut self, inbound_only: bool, keep_accepting: bool) {
        let names: Vec<String> = self
            .listeners
            .iter()
            .filter(|(_, l)| !inbound_only || l.listener.traffic_direction == mesh_engine::listener::Direction::Inbound)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(active) = self.listeners.get_mut(&name) {
                let keys = if keep_accepting { Vec::new() } else { std::mem::take(&mut active.keys) };
                self.shared.stats.listeners.listener_stopped.add(u64::from(!keep_accepting));
                for worker in &self.workers {
                    let _ = worker.send(Command::Unlisten { keys: keys.clone() });
                    let _ = worker.send(Command::DrainListener { name: Arc::from(name.as_str()) });
                }
            }
        }
    }

    /// Stops accepting everywhere and asks all connections to close, at once.
    pub(crate) fn drain_all(&mut self) {
        self.tell_workers(|_| Command::DrainAll);
    }

    pub(super) fn publish_listeners(&self) {
        let all: Vec<Arc<Listener>> = self.listeners.values().map(|l| l.listener.clone()).collect();
        self.shared.listeners.store(Arc::new(mesh_engine::Listeners::new(all)));
    }
}

fn count(stats: &DiscoveryStats, version: &str, good: bool) {
    if good {
        stats.update_success.inc();
        stats.config_reload.inc();
        version.clone_into(&mut stats.version_text.0.lock());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        stats.update_time.set(now);
        stats.config_reload_time_ms.set(now);
    } else {
        stats.update_rejected.inc();
    }
}

fn resource_error(kind: &str, name: &str, detail: String) -> ProxyError {
    ProxyError::Resource { resource: format!("static {kind} {name:?}"), detail }
}

/// The messages of an update, decoded; what does not decode is an error.
pub(super) fn decode<M: mesh_proto::Message + mesh_proto::Name + Default>(name: &str, any: &Any) -> Result<M, String> {
    mesh_proto::any::unpack(any).map_err(|e| format!("{name}: {e}"))
}
