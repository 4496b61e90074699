//! The indexes inside a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rules::{
    DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, Sidecar, Spec, Telemetry, VirtualService, delegation,
};
use crate::{Diagnostic, EndpointSet, Hostname, Rule, Service, ServiceKey, Workload, WorkloadKey};

/// All services, sorted by host name, then namespace.
#[derive(Debug, Default)]
pub struct ServiceIndex {
    by_key: BTreeMap<ServiceKey, Arc<Service>>,
}

impl ServiceIndex {
    /// An index of `services` that shares with this one every service that is
    /// equal; `None` if all are.
    pub fn replaced_by(&self, services: impl IntoIterator<Item = Arc<Service>>) -> Option<Self> {
        let mut changed = false;
        let mut by_key = BTreeMap::new();
        for service in services {
            let key = service.key();
            match self.by_key.get(&key) {
                Some(old) if *old == service => by_key.insert(key, old.clone()),
                _ => {
                    changed = true;
                    by_key.insert(key, service)
                }
            };
        }
        (changed || by_key.len() != self.by_key.len()).then_some(Self { by_key })
    }

    /// The service of this host that `namespace` declares.
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.by_key.get(key)
    }

    /// All services of this host, by namespace.
    pub fn of_host<'a>(&'a self, hostname: &'a Hostname) -> impl Iterator<Item = &'a Arc<Service>> + 'a {
        let first = ServiceKey { hostname: hostname.clone(), namespace: "".into() };
        self.by_key.range(first..).take_while(move |(k, _)| k.hostname == *hostname).map(|(_, s)| s)
    }

    /// All services, sorted by host name, then namespace.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_key.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// All endpoints by service. An index knows which one it was made from and what
/// differs.
#[derive(Debug)]
pub struct EndpointIndex {
    id: u64,
    parent: Option<u64>,
    changed: Arc<[ServiceKey]>,
    by_service: BTreeMap<ServiceKey, Arc<EndpointSet>>,
}

impl Default for EndpointIndex {
    fn default() -> Self {
        Self { id: next_id(), parent: None, changed: Arc::default(), by_service: BTreeMap::new() }
    }
}

impl EndpointIndex {
    /// This index with `changes` applied; `None` if nothing differs.
    pub fn with(&self, changes: BTreeMap<ServiceKey, Option<Arc<EndpointSet>>>) -> Option<Self> {
        let changes: Vec<_> =
            changes.into_iter().filter(|(key, set)| self.by_service.get(key) != set.as_ref()).collect();
        if changes.is_empty() {
            return None;
        }
        let mut by_service = self.by_service.clone();
        let mut changed = Vec::with_capacity(changes.len());
        for (key, set) in changes {
            changed.push(key.clone());
            match set {
                Some(set) => by_service.insert(key, set),
                None => by_service.remove(&key),
            };
        }
        Some(Self { id: next_id(), parent: Some(self.id), changed: changed.into(), by_service })
    }

    /// Tells this index from every other made in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The index it was made from.
    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Services whose endpoints differ from the parent's, sorted.
    pub fn changed(&self) -> &[ServiceKey] {
        &self.changed
    }

    /// Endpoints of a service; `None` if there are none.
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<EndpointSet>> {
        self.by_service.get(key)
    }

    /// All sets, sorted by service.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EndpointSet>> {
        self.by_service.values()
    }
}

/// All workloads.
#[derive(Debug, Default)]
pub struct WorkloadIndex {
    by_key: BTreeMap<WorkloadKey, Arc<Workload>>,
    by_address: HashMap<IpAddr, Arc<Workload>>,
}

impl WorkloadIndex {
    /// An index of `workloads`. Of several with one address, a workload of its
    /// own network is preferred to one on its host's.
    pub fn new(workloads: impl IntoIterator<Item = Arc<Workload>>) -> Self {
        let mut index = Self::default();
        for workload in workloads {
            for address in &workload.addresses {
                let entry = index.by_address.entry(*address).or_insert_with(|| workload.clone());
                if entry.host_network && !workload.host_network {
                    *entry = workload.clone();
                }
            }
            index.by_key.insert(workload.key(), workload);
        }
        index
    }

    /// The workload of this name.
    pub fn get(&self, key: &WorkloadKey) -> Option<&Arc<Workload>> {
        self.by_key.get(key)
    }

    /// The workload that has this address.
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.by_address.get(&address)
    }

    /// All workloads, sorted by namespace, then name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_key.values()
    }
}

/// All rules, by kind. Each list is sorted oldest first (see
/// [`crate::Meta::age_order`]).
#[derive(Debug, Default)]
pub struct RuleIndex {
    all: Vec<Arc<Rule>>,
    virtual_services: Vec<Arc<VirtualService>>,
    destination_rules: Vec<Arc<DestinationRule>>,
    envoy_filters: Vec<Arc<EnvoyFilter>>,
    sidecars: Vec<Arc<Sidecar>>,
    peer_authentications: Vec<Arc<PeerAuthentication>>,
    gateways: Vec<Arc<Gateway>>,
    telemetries: Vec<Arc<Telemetry>>,
    diagnostics: Vec<Diagnostic>,
}

impl RuleIndex {
    /// An index of `rules`.
    pub fn new(rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        Self::default().replaced_by(rules)
    }

    /// An index of `rules` that shares with this one what is made of several
    /// rules and is equal.
    pub fn replaced_by(&self, rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        let mut index = Self::default();
        index.all.extend(rules);
        index
            .all
            .sort_by(|a, b| (a.meta.age_order(), a.meta.object.kind).cmp(&(b.meta.age_order(), b.meta.object.kind)));
        for rule in &index.all {
            match &rule.spec {
                Spec::VirtualService(rule) => index.virtual_services.push(rule.clone()),
                Spec::DestinationRule(rule) => index.destination_rules.push(rule.clone()),
                Spec::EnvoyFilter(rule) => index.envoy_filters.push(rule.clone()),
                Spec::Sidecar(rule) => index.sidecars.push(rule.clone()),
                Spec::PeerAuthentication(rule) => index.peer_authentications.push(rule.clone()),
                Spec::Gateway(rule) => index.gateways.push(rule.clone()),
                Spec::Telemetry(rule) => index.telemetries.push(rule.clone()),
                Spec::ServiceEntry(_) | Spec::GatewayApi(_) | Spec::NotApplied => {}
            }
        }
        // What was derived shows in the object that its author wrote.
        index.all.retain(|rule| !rule.is_derived());
        let written = std::mem::take(&mut index.virtual_services);
        (index.virtual_services, index.diagnostics) = delegation::resolve(written, &self.virtual_services);
        index
    }

    /// What is wrong between rules.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Every rule of every kind.
    pub fn all(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// VirtualServices that have hosts, with the routes of those they delegate
    /// to.
    pub fn virtual_services(&self) -> &[Arc<VirtualService>] {
        &self.virtual_services
    }

    /// DestinationRules.
    pub fn destination_rules(&self) -> &[Arc<DestinationRule>] {
        &self.destination_rules
    }

    /// Telemetries.
    pub fn telemetries(&self) -> &[Arc<Telemetry>] {
        &self.telemetries
    }

    /// EnvoyFilters.
    pub fn envoy_filters(&self) -> &[Arc<EnvoyFilter>] {
        &self.envoy_filters
    }

    /// PeerAuthentications.
    pub fn peer_authentications(&self) -> &[Arc<PeerAuthentication>] {
        &self.peer_authentications
    }

    /// Sidecars.
    pub fn sidecars(&self) -> &[Arc<Sidecar>] {
        &self.sidecars
    }

    /// Gateways.
    pub fn gateways(&self) -> &[Arc<Gateway>] {
        &self.gateways
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
