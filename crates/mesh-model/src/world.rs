//! The mesh as it is known: one mutable [`World`] with one owner, and the
//! immutable [`MeshSnapshot`]s that everybody else reads.
//!
//! ```text
//! adapters, parser ── Change ──► World ── snapshot() ──► Arc<MeshSnapshot> + diagnostics
//! ```
//!
//! Invariant: a snapshot shares every part that did not change with the one
//! before it, so that a reader tells what changed by pointer, and an endpoint
//! change costs nothing but the endpoint index.

mod derived;
mod external;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use index::{EndpointIndex, RuleIndex, ServiceIndex, WorkloadIndex};

use self::derived::Derived;
use crate::gateway_api::{self, Inputs};
use crate::rules::{MeshConfig, Spec};
use crate::secret::SecretIndex;
use crate::status::Statuses;
use crate::{
    Code, Diagnostic, Endpoint, EndpointSet, Name, Namespace, ObjectRef, Rule, Secret, Service, ServiceKey, Severity,
    Workload, WorkloadKey,
};

/// One thing that an adapter or the parser reports. Saying the same thing twice
/// changes nothing.
#[derive(Debug, Clone)]
pub enum Change {
    /// A service appeared or is different.
    Service(Arc<Service>),
    /// A service is gone; its endpoints stay until they are removed too.
    ServiceRemoved(ServiceKey),
    /// All endpoints that one source (an EndpointSlice, a cluster) knows for a
    /// service; empty if it knows none any more.
    Endpoints {
        /// Whose they are.
        service: ServiceKey,
        /// Which source says so.
        source: Name,
        /// All it knows.
        endpoints: Vec<Endpoint>,
    },
    /// A workload appeared or is different.
    Workload(Arc<Workload>),
    /// A workload is gone.
    WorkloadRemoved(WorkloadKey),
    /// A namespace appeared or is different.
    Namespace(Arc<Namespace>),
    /// A namespace is gone.
    NamespaceRemoved(Name),
    /// A secret appeared or is different.
    Secret(Arc<Secret>),
    /// A secret is gone.
    SecretRemoved(ObjectRef),
    /// A rule appeared or is different.
    Rule(Arc<Rule>),
    /// A rule is gone.
    RuleRemoved(ObjectRef),
    /// The mesh-wide settings are different.
    MeshConfig(Arc<MeshConfig>),
}

/// The mesh at one moment. Cheap to clone, safe to keep.
#[derive(Debug, Clone)]
pub struct MeshSnapshot {
    /// Counts snapshots from 1.
    pub version: u64,
    /// Mesh-wide settings.
    pub mesh: Arc<MeshConfig>,
    /// Namespaces by name.
    pub namespaces: Arc<BTreeMap<Name, Arc<Namespace>>>,
    /// Services of platforms and ServiceEntries.
    pub services: Arc<ServiceIndex>,
    /// Endpoints by service.
    pub endpoints: Arc<EndpointIndex>,
    /// Workloads.
    pub workloads: Arc<WorkloadIndex>,
    /// Secrets.
    pub secrets: Arc<SecretIndex>,
    /// Rules.
    pub rules: Arc<RuleIndex>,
    /// What has become of objects, as their authors are told.
    pub statuses: Arc<Statuses>,
}

impl Default for MeshSnapshot {
    fn default() -> Self {
        Self {
            version: 0,
            mesh: Arc::new(MeshConfig::default()),
            namespaces: Arc::default(),
            services: Arc::default(),
            endpoints: Arc::default(),
            workloads: Arc::default(),
            secrets: Arc::default(),
            rules: Arc::default(),
            statuses: Arc::default(),
        }
    }
}

/// All that is known, with the one right to change it.
#[derive(Debug, Default)]
pub struct World {
    current: Arc<MeshSnapshot>,
    diagnostics: Vec<Diagnostic>,
    /// Of these, those about services.
    duplicates: Vec<Diagnostic>,
    mesh: Arc<MeshConfig>,
    namespaces: BTreeMap<Name, Arc<Namespace>>,
    services: BTreeMap<ServiceKey, Arc<Service>>,
    shards: BTreeMap<ServiceKey, BTreeMap<Name, Vec<Endpoint>>>,
    workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    secrets: BTreeMap<ObjectRef, Arc<Secret>>,
    rules: BTreeMap<ObjectRef, Arc<Rule>>,
    /// Endpoints that ServiceEntries brought last time, to tell what went.
    external: BTreeMap<ServiceKey, Arc<EndpointSet>>,
    /// What objects of the Gateway API became last time.
    derived: Derived,
    dirty: Dirty,
}

/// Which parts of the snapshot must be built again.
#[derive(Debug, Default)]
struct Dirty {
    mesh: bool,
    namespaces: bool,
    services: bool,
    workloads: bool,
    secrets: bool,
    rules: bool,
    /// Rules that others are derived from.
    sources: bool,
    /// Rules or workloads that ServiceEntries depend on.
    entries: bool,
    endpoints: BTreeSet<ServiceKey>,
}

/// Whether rules were derived, and whether they are different.
#[derive(Debug, Default, Clone, Copy)]
struct Ran {
    ran: bool,
    rules: bool,
}

impl World {
    /// An empty mesh with Istio's default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a change. O(log n); nothing is built before
    /// [`World::snapshot`].
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Service(service) => {
                if self.services.get(&service.key()) != Some(&service) {
                    self.services.insert(service.key(), service);
                    self.dirty.services = true;
                }
            }
            Change::ServiceRemoved(key) => self.dirty.services |= self.services.remove(&key).is_some(),
            Change::Endpoints { service, source, endpoints } => self.apply_endpoints(service, source, endpoints),
            Change::Workload(workload) => {
                if self.workloads.get(&workload.key()) != Some(&workload) {
                    self.workloads.insert(workload.key(), workload);
                    self.workloads_changed();
                }
            }
            Change::WorkloadRemoved(key) => {
                if self.workloads.remove(&key).is_some() {
                    self.workloads_changed();
                }
            }
            Change::Namespace(namespace) => {
                let name = namespace.meta.name().clone();
                if self.namespaces.get(&name) != Some(&namespace) {
                    self.namespaces.insert(name, namespace);
                    self.dirty.namespaces = true;
                }
            }
            Change::NamespaceRemoved(name) => self.dirty.namespaces |= self.namespaces.remove(&name).is_some(),
            Change::Secret(secret) => {
                if self.secrets.get(&secret.meta.object) != Some(&secret) {
                    self.secrets.insert(secret.meta.object.clone(), secret);
                    self.dirty.secrets = true;
                }
            }
            Change::SecretRemoved(key) => self.dirty.secrets |= self.secrets.remove(&key).is_some(),
            Change::Rule(rule) => {
                if self.rules.get(rule.object()) != Some(&rule) {
                    self.rule_changed(&rule);
                    self.rules.insert(rule.object().clone(), rule);
                }
            }
            Change::RuleRemoved(object) => {
                if let Some(rule) = self.rules.remove(&object) {
                    self.rule_changed(&rule);
                }
            }
            Change::MeshConfig(mesh) => {
                if self.mesh != mesh {
                    self.mesh = mesh;
                    self.dirty.mesh = true;
                }
            }
        }
    }

    /// The mesh as it is now, and what is wrong between its objects (what is
    /// wrong inside one, the parser has said). Returns the previous snapshot,
    /// the same `Arc`, if nothing changed since.
    pub fn snapshot(&mut self) -> (Arc<MeshSnapshot>, &[Diagnostic]) {
        let dirty = std::mem::take(&mut self.dirty);
        let mut next = MeshSnapshot::clone(&self.current);
        let mut changed = dirty.mesh || dirty.namespaces || dirty.workloads || dirty.secrets || dirty.rules;
        next.mesh = self.mesh.clone();
        if dirty.namespaces {
            next.namespaces = Arc::new(self.namespaces.clone());
        }
        if dirty.workloads {
            next.workloads = Arc::new(WorkloadIndex::new(self.workloads.values().cloned()));
        }
        if dirty.secrets {
            next.secrets = Arc::new(SecretIndex::new(self.secrets.values().cloned()));
        }
        let mut endpoints: BTreeMap<ServiceKey, Option<Arc<EndpointSet>>> = BTreeMap::new();
        if dirty.services || dirty.entries {
            self.build_services(&mut next, &mut endpoints);
            changed |= dirty.services || !Arc::ptr_eq(&next.services, &self.current.services);
        }
        for key in &dirty.endpoints {
            let merged = self.merged_endpoints(key);
            endpoints.insert(key.clone(), merged);
        }
        let touched = endpoints.keys().any(|key| self.derived.watched.contains(key));
        if let Some(index) = next.endpoints.with(endpoints) {
            next.endpoints = Arc::new(index);
            changed = true;
        }
        let derived = self.derive(&dirty, touched, &mut next);
        if dirty.rules || derived.rules {
            let all = self.rules.values().chain(&self.derived.rules);
            next.rules = Arc::new(self.current.rules.replaced_by(all.cloned()));
        }
        changed |= derived.rules || !Arc::ptr_eq(&next.statuses, &self.current.statuses);
        if dirty.services || dirty.entries || dirty.rules || derived.ran {
            let found = self.duplicates.iter().chain(next.rules.diagnostics()).chain(&self.derived.diagnostics);
            self.diagnostics = found.cloned().collect();
        }
        if changed {
            next.version += 1;
            self.current = Arc::new(next);
        }
        (self.current.clone(), &self.diagnostics)
    }

    /// Converts objects of the Gateway API and Ingress anew, if anything changed
    /// that the conversion looks at.
    fn derive(&mut self, dirty: &Dirty, touched: bool, next: &mut MeshSnapshot) -> Ran {
        let of_mesh = dirty.mesh || dirty.namespaces || dirty.services || dirty.entries || dirty.secrets;
        let changed = dirty.sources || of_mesh || touched || (dirty.workloads && self.derived.watches_workloads);
        let any = || !self.derived.is_empty() || self.rules.values().any(|rule| gateway_api::concerns(rule));
        if !changed || !any() {
            return Ran::default();
        }
        let inputs = Inputs {
            mesh: &next.mesh,
            namespaces: &next.namespaces,
            rules: &self.rules,
            services: &next.services,
            endpoints: &next.endpoints,
            workloads: &next.workloads,
            secrets: &next.secrets,
        };
        let rules = self.derived.refresh(&inputs);
        next.statuses = self.derived.statuses.clone();
        Ran { ran: true, rules }
    }

    fn apply_endpoints(&mut self, service: ServiceKey, source: Name, endpoints: Vec<Endpoint>) {
        let shards = self.shards.entry(service.clone()).or_default();
        let changed = if endpoints.is_empty() {
            shards.remove(&source).is_some()
        } else if shards.get(&source) == Some(&endpoints) {
            false
        } else {
            shards.insert(source, endpoints);
            true
        };
        if shards.is_empty() {
            self.shards.remove(&service);
        }
        if changed {
            self.dirty.endpoints.insert(service);
        }
    }

    fn workloads_changed(&mut self) {
        self.dirty.workloads = true;
        self.dirty.entries |= self.rules.values().any(|r| selects_workloads(r));
    }

    fn rule_changed(&mut self, rule: &Rule) {
        self.dirty.rules = true;
        self.dirty.entries |= matches!(rule.spec, Spec::ServiceEntry(_));
        self.dirty.sources |= gateway_api::concerns(rule);
    }

    /// Platform services and ServiceEntries together, and the endpoints that
    /// the entries bring or no longer bring.
    fn build_services(
        &mut self,
        next: &mut MeshSnapshot,
        endpoints: &mut BTreeMap<ServiceKey, Option<Arc<EndpointSet>>>,
    ) {
        let entries = self.rules.values().filter_map(|r| match &r.spec {
            Spec::ServiceEntry(entry) => Some(entry.as_ref()),
            _ => None,
        });
        let external = external::convert(entries, &next.workloads);
        self.duplicates.clear();
        let mut services: BTreeMap<ServiceKey, Arc<Service>> = self.services.clone();
        let mut brought = BTreeMap::new();
        for (service, set) in external {
            let key = service.key();
            if let Some(existing) = services.get(&key) {
                self.duplicates.push(duplicate_host(&service, existing));
                continue;
            }
            services.insert(key.clone(), service);
            brought.insert(key, Arc::new(set));
        }
        for key in self.external.keys().filter(|k| !brought.contains_key(k)) {
            endpoints.insert(key.clone(), None);
        }
        let previous = std::mem::replace(&mut self.external, brought);
        for (key, set) in &mut self.external {
            // What is equal keeps its identity, so that readers see no change.
            match previous.get(key) {
                Some(old) if old == set => *set = old.clone(),
                _ => {
                    endpoints.insert(key.clone(), None);
                }
            }
        }
        let touched: Vec<ServiceKey> = endpoints.keys().cloned().collect();
        for key in touched {
            let merged = self.merged_endpoints(&key);
            endpoints.insert(key, merged);
        }
        if let Some(index) = next.services.replaced_by(services.into_values()) {
            next.services = Arc::new(index);
        }
    }

    /// All endpoints of a service: those of every source, then the entry's own.
    fn merged_endpoints(&self, key: &ServiceKey) -> Option<Arc<EndpointSet>> {
        let shards = self.shards.get(key);
        let external = self.external.get(key);
        match (shards, external) {
            (None, external) => external.cloned(),
            (Some(shards), external) => {
                let own = external.into_iter().flat_map(|set| set.endpoints.iter().cloned());
                let all = shards.values().flatten().cloned().chain(own);
                Some(Arc::new(EndpointSet::new(key.clone(), all)))
            }
        }
    }
}

fn selects_workloads(rule: &Rule) -> bool {
    matches!(&rule.spec, Spec::ServiceEntry(entry) if entry.workload_selector.is_some())
}

fn duplicate_host(loser: &Service, winner: &Service) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Conflict,
        object: Some(loser.meta.object.clone()),
        location: loser.meta.location.clone(),
        field: "spec.hosts".to_owned(),
        message: format!("host {} is already declared by {}", loser.hostname, winner.meta.object),
        consequence: format!("{} stays in force for it, this declaration is set aside", winner.meta.object),
    }
}
