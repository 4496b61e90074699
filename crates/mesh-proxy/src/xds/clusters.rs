//! Clusters and their endpoints: warming, swapping, leaving.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_engine::cluster::Discovery;
use mesh_engine::endpoint::Health;
use mesh_engine::{ClusterConfig, LoadAssignment};
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::google::protobuf::Any;
use mesh_proto::types;
use mesh_xds::client::Update;

use super::record::{Refused, Versioned};
use super::store::{Store, WarmingCluster, decode};
use crate::stats::ScopeName;
use crate::stats::sets::ClusterStats;
use crate::upstream::Upstream;

impl Store {
    pub(super) fn on_clusters(&mut self, update: &Update, errors: &mut Vec<String>) {
        let mut refused = Vec::new();
        for (name, any) in &update.added {
            self.missing_clusters.remove(name);
            if let Err(text) = self.cluster(name, any.clone(), &update.version, false) {
                refused.push(format!("{name}: {text}"));
                if self.on_demand && self.shared.upstreams.get(name).is_none() {
                    self.missing_clusters.insert(name.clone());
                }
            }
        }
        if !refused.is_empty() {
            errors.push(format!("Error adding/updating cluster(s) {}", refused.join(", ")));
        }
        for name in &update.removed {
            if self.on_demand {
                self.missing_clusters.insert(name.clone());
            }
            self.leave(name);
        }
        update.version.clone_into(&mut self.records.lock().cds_version);
        self.answered(types::CLUSTER);
    }

    /// Takes in one cluster.
    pub(super) fn cluster(&mut self, name: &str, any: Any, version: &str, fixed: bool) -> Result<(), String> {
        {
            let mut records = self.records.lock();
            let entry = records.clusters.entry(name.to_owned()).or_default();
            if entry.fixed {
                // The bootstrap's own cluster wins, as in Envoy; nothing is wrong.
                return Ok(());
            }
            entry.fixed = fixed;
            if entry.holds(&any) && !self.leaving_clusters.contains_key(name) {
                return Ok(());
            }
        }
        let parsed = decode::<Cluster>(name, &any).and_then(|proto| {
            ClusterConfig::parse(&proto).map(|c| (initial_wait(&proto), c)).map_err(|e| e.to_string())
        });
        let parsed = parsed.and_then(|(wait, config)| super::honour::cluster(&config).map(|()| (wait, config)));
        let (wait, config) = match parsed {
            Ok(parsed) => parsed,
            Err(text) => {
                let mut records = self.records.lock();
                if let Some(entry) = records.clusters.get_mut(name) {
                    entry.refused = Some(Refused::new(version, any, text.clone()));
                }
                return Err(text);
            }
        };
        self.leaving_clusters.remove(name);
        let stats = &self.shared.stats.clusters;
        let known = self.shared.upstreams.get(name).is_some();
        if known {
            stats.cluster_modified.inc()
        } else {
            stats.cluster_added.inc()
        }
        stats.cluster_updated.add(u64::from(known));
        {
            let mut records = self.records.lock();
            let entry = records.clusters.entry(name.to_owned()).or_default();
            entry.refused = None;
            entry.warming = Some(Versioned::new(version, any));
        }
        if matches!(config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_)) {
            self.dns.push((name.to_owned(), Some(config.clone())));
        }
        let deadline = wait.map(|d| Instant::now() + d);
        self.warming_clusters.insert(name.to_owned(), WarmingCluster { config, deadline });
        self.tls.changed = true;
        Ok(())
    }

    /// Puts the clusters into use that have what they wait for.
    pub(super) fn warm_clusters(&mut self) {
        let now = Instant::now();
        let ready: Vec<String> = self
            .warming_clusters
            .iter()
            .filter(|(name, warming)| self.is_warm(name, &warming.config) || warming.deadline.is_some_and(|d| d <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ready {
            let Some(warming) = self.warming_clusters.remove(&name) else { continue };
            let endpoints = match &warming.config.discovery {
                Discovery::Static => Some(warming.config.load_assignment.clone()),
                Discovery::Eds { service_name } => self.endpoints.get(&**service_name).cloned(),
                Discovery::StrictDns(_) | Discovery::LogicalDns(_) => self.endpoints.get(&dns_key(&name)).cloned(),
                Discovery::OriginalDst(_) => None,
            };
            self.use_cluster(&name, warming.config, endpoints.as_ref());
        }
    }

    fn is_warm(&self, name: &str, config: &ClusterConfig) -> bool {
        if !self.has_secrets(super::secrets::of_cluster(config)) {
            return false;
        }
        match &config.discovery {
            Discovery::Static | Discovery::OriginalDst(_) => true,
            Discovery::Eds { service_name } => self.endpoints.contains_key(&**service_name),
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => self.endpoints.contains_key(&dns_key(name)),
        }
    }

    fn use_cluster(&mut self, name: &str, config: ClusterConfig, endpoints: Option<&LoadAssignment>) {
        let stat_name = config.stat_name.clone();
        let cluster = self.runtime.clusters.upsert(config, endpoints);
        let upstream = match self.shared.upstreams.get(name) {
            Some(upstream) => upstream,
            None => {
                let stats = Arc::new(ClusterStats::default());
                self.shared.stats.store.file("cluster", ScopeName::cluster(&stat_name), stats.clone());
                let upstream = Arc::new(Upstream { cluster, stats });
                self.shared.upstreams.insert(upstream.clone());
                upstream
            }
        };
        if endpoints.is_some() {
            upstream.stats.update_success.inc();
            upstream.stats.membership_change.inc();
        }
        count_members(&upstream);
        let mut records = self.records.lock();
        if let Some(entry) = records.clusters.get_mut(name) {
            entry.active = entry.warming.take().or(entry.active.take());
        }
    }

    /// EDS names of all clusters that have or will have endpoints by EDS.
    pub(super) fn eds_names(&self) -> BTreeSet<String> {
        let active: Vec<Arc<ClusterConfig>> = self.shared.upstreams.all().iter().map(|u| u.cluster.config()).collect();
        let configs = active.iter().map(|c| &**c).chain(self.warming_clusters.values().map(|w| &w.config));
        configs
            .filter_map(|c| match &c.discovery {
                Discovery::Eds { service_name } => Some(service_name.to_string()),
                Discovery::StrictDns(_) | Discovery::LogicalDns(_) => Some(dns_key(&c.name)),
                _ => None,
            })
            .filter(|n| !n.starts_with(DNS_KEY))
            .collect()
    }

    pub(super) fn on_endpoints(&mut self, update: &Update, errors: &mut Vec<String>) {
        let users = self.users();
        let none = Vec::new();
        for (name, any) in &update.added {
            let users = users.get(name.as_str()).unwrap_or(&none);
            let parsed = decode::<ClusterLoadAssignment>(name, any)
                .and_then(|proto| LoadAssignment::parse(&proto).map_err(|e| e.to_string()));
            match parsed {
                Ok(assignment) => {
                    let record = Versioned::new(&update.version, any.clone());
                    self.records.lock().endpoints.insert(name.clone(), record);
                    self.assign(name, users, assignment);
                }
                Err(text) => {
                    for upstream in users {
                        upstream.stats.update_rejected.inc();
                    }
                    errors.push(text);
                }
            }
        }
        // An assignment that is taken away leaves its endpoints in place, as
        // in Envoy: the cluster's own removal is what ends them.
    }

    /// The clusters in use by the name of their endpoints. Made once for each
    /// update: many endpoints must not cost many walks over all clusters.
    fn users(&self) -> HashMap<String, Vec<Arc<Upstream>>> {
        let mut users: HashMap<String, Vec<Arc<Upstream>>> = HashMap::new();
        for upstream in self.shared.upstreams.all() {
            if let Discovery::Eds { service_name } = &upstream.cluster.config().discovery {
                users.entry(service_name.to_string()).or_default().push(upstream.clone());
            }
        }
        users
    }

    fn assign(&mut self, name: &str, users: &[Arc<Upstream>], assignment: LoadAssignment) {
        for upstream in users {
            upstream.stats.update_attempt.inc();
            if self.endpoints.get(name) == Some(&assignment) {
                upstream.stats.update_no_rebuild.inc();
            } else {
                upstream.cluster.update_endpoints(&assignment);
                upstream.stats.membership_change.inc();
                count_members(upstream);
            }
            upstream.stats.update_success.inc();
        }
        self.endpoints.insert(name.to_owned(), assignment);
    }

    /// What the resolver found for a DNS cluster; `None`: it failed.
    pub(crate) fn resolved(&mut self, cluster: &str, assignment: Option<LoadAssignment>) {
        let key = dns_key(cluster);
        let upstream = self.shared.upstreams.get(cluster);
        match assignment {
            Some(assignment) => {
                if let Some(upstream) = &upstream {
                    upstream.stats.update_attempt.inc();
                    upstream.stats.update_success.inc();
                    if self.endpoints.get(&key) != Some(&assignment) {
                        upstream.cluster.update_endpoints(&assignment);
                        upstream.stats.membership_change.inc();
                        count_members(upstream);
                    }
                }
                self.endpoints.insert(key, assignment);
            }
            None => {
                if let Some(upstream) = &upstream {
                    upstream.stats.update_failure.inc();
                }
                // The first answer, even a bad one, ends the wait.
                self.endpoints.entry(key).or_default();
            }
        }
        self.settle();
    }

    /// The control plane has taken a cluster away.
    fn leave(&mut self, name: &str) {
        if self.records.lock().clusters.get(name).is_some_and(|e| e.fixed) {
            return;
        }
        if self.warming_clusters.remove(name).is_some() && self.shared.upstreams.get(name).is_none() {
            self.records.lock().clusters.remove(name);
            self.dns.push((name.to_owned(), None));
            return;
        }
        if self.shared.upstreams.get(name).is_some() {
            self.leaving_clusters.entry(name.to_owned()).or_insert_with(|| Instant::now() + LEAVE_WAIT);
        } else {
            self.records.lock().clusters.remove(name);
        }
    }

    pub(super) fn remove_leaving_clusters(&mut self) {
        if self.leaving_clusters.is_empty() {
            return;
        }
        let named = self.clusters_named();
        let now = Instant::now();
        let gone: Vec<String> = self
            .leaving_clusters
            .iter()
            .filter(|(name, deadline)| !named.contains(*name) || **deadline <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.leaving_clusters.remove(&name);
            self.shared.stats.clusters.cluster_removed.inc();
            if let Some(upstream) = self.shared.upstreams.get(&name) {
                let stat_name = upstream.cluster.config().stat_name.clone();
                self.shared.stats.store.drop_prefix(&ScopeName::cluster(&stat_name).prefix);
            }
            self.shared.upstreams.remove(&name);
            self.runtime.clusters.remove(&name);
            self.endpoints.remove(&dns_key(&name));
            self.dns.push((name.clone(), None));
            self.records.lock().clusters.remove(&name);
        }
    }
}

/// Brings a cluster's membership gauges up to date.
pub(super) fn count_members(upstream: &Upstream) {
    let hosts = upstream.cluster.hosts();
    let members = &hosts.members;
    let count =
        |which: &dyn Fn(&mesh_engine::balance::Member) -> bool| members.iter().filter(|m| which(m)).count() as u64;
    let stats = &upstream.stats;
    stats.membership_total.set(members.len() as u64);
    stats.membership_degraded.set(count(&|m| m.health == Health::Degraded));
    stats.membership_excluded.set(0);
    stats.membership_healthy.set(count(&|m| !m.ejected && matches!(m.health, Health::Unknown | Health::Healthy)));
    stats.max_host_weight.set(members.iter().map(|m| u64::from(m.weight)).max().unwrap_or(0));
}

fn initial_wait(proto: &Cluster) -> Option<Duration> {
    let eds = proto.eds_cluster_config.as_ref().and_then(|e| e.eds_config.as_ref());
    wait_of(eds.and_then(|c| c.initial_fetch_timeout.as_ref()))
}

/// `initial_fetch_timeout`: 15 s unless set, zero means for ever.
pub(crate) fn wait_of(timeout: Option<&mesh_proto::google::protobuf::Duration>) -> Option<Duration> {
    match timeout {
        None => Some(INITIAL_FETCH),
        Some(d) => {
            Some(Duration::new(d.seconds.max(0).unsigned_abs(), d.nanos.max(0).unsigned_abs())).filter(|d| !d.is_zero())
        }
    }
}

/// Resolved endpoints are filed with those from EDS, under a name EDS cannot have.
fn dns_key(cluster: &str) -> String {
    format!("{DNS_KEY}{cluster}")
}

const DNS_KEY: &str = "\0dns/";
const INITIAL_FETCH: Duration = Duration::from_secs(15);
/// A removed cluster that a route still names stays this long: a control plane
/// that takes both away sends the route's removal after it.
const LEAVE_WAIT: Duration = Duration::from_secs(10);
