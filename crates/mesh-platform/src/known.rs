//! All that an adapter knows at one moment, and the difference between two such
//! moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::rules::MeshConfig;
use mesh_model::{
    Change, Diagnostic, Endpoint, Name, Namespace, ObjectRef, Rule, Secret, Service, ServiceKey, Workload, WorkloadKey,
};

/// Whose endpoints, and which source says so (an EndpointSlice's name).
pub type Shard = (ServiceKey, Name);

/// The objects of a platform at one moment, by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Services.
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
    /// Endpoints by service and source; no entry is empty.
    pub endpoints: BTreeMap<Shard, Vec<Endpoint>>,
    /// Pods and WorkloadEntries.
    pub workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// Namespaces.
    pub namespaces: BTreeMap<Name, Arc<Namespace>>,
    /// Secrets, and ConfigMaps with authorities.
    pub secrets: BTreeMap<ObjectRef, Arc<Secret>>,
    /// Rules of every kind, applied or not.
    pub rules: BTreeMap<ObjectRef, Arc<Rule>>,
    /// Mesh-wide settings; `None`: nobody says any, Istio's defaults hold.
    pub mesh: Option<Arc<MeshConfig>>,
    /// All that is wrong, or worth knowing, sorted.
    pub diagnostics: Vec<Diagnostic>,
}

impl Known {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Known::default()
    }

    /// What turns `before` into this. Mesh settings and namespaces come first,
    /// then what is new or different, then removals.
    pub fn changes_since(&self, before: &Known) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.mesh != before.mesh {
            changes.push(Change::MeshConfig(self.mesh.clone().unwrap_or_default()));
        }
        let (new, gone) = difference(&self.namespaces, &before.namespaces);
        changes.extend(new.map(|(_, v)| Change::Namespace(v.clone())));
        let namespaces_gone = gone;
        let (new, workloads_gone) = difference(&self.workloads, &before.workloads);
        changes.extend(new.map(|(_, v)| Change::Workload(v.clone())));
        let (new, services_gone) = difference(&self.services, &before.services);
        changes.extend(new.map(|(_, v)| Change::Service(v.clone())));
        let (new, endpoints_gone) = difference(&self.endpoints, &before.endpoints);
        changes.extend(new.map(|((service, source), endpoints)| Change::Endpoints {
            service: service.clone(),
            source: source.clone(),
            endpoints: endpoints.clone(),
        }));
        let (new, secrets_gone) = difference(&self.secrets, &before.secrets);
        changes.extend(new.map(|(_, v)| Change::Secret(v.clone())));
        let (new, rules_gone) = difference(&self.rules, &before.rules);
        changes.extend(new.map(|(_, v)| Change::Rule(v.clone())));
        changes.extend(rules_gone.map(|(k, _)| Change::RuleRemoved(k.clone())));
        changes.extend(secrets_gone.map(|(k, _)| Change::SecretRemoved(k.clone())));
        changes.extend(endpoints_gone.map(|((service, source), _)| Change::Endpoints {
            service: service.clone(),
            source: source.clone(),
            endpoints: Vec::new(),
        }));
        changes.extend(services_gone.map(|(k, _)| Change::ServiceRemoved(k.clone())));
        changes.extend(workloads_gone.map(|(k, _)| Change::WorkloadRemoved(k.clone())));
        changes.extend(namespaces_gone.map(|(k, _)| Change::NamespaceRemoved(k.clone())));
        changes
    }
}

type Entries<'a, K, V> = Box<dyn Iterator<Item = (&'a K, &'a V)> + 'a>;

/// Whether two values are the same; for what is shared, the pointer mostly tells.
trait Same {
    fn same(&self, other: &Self) -> bool;
}

impl<T: PartialEq> Same for Arc<T> {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other) || self == other
    }
}

impl Same for Vec<Endpoint> {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// Entries of `now` that are new or different, and entries of `before` whose
/// key is gone.
fn difference<'a, K: Ord, V: Same>(
    now: &'a BTreeMap<K, V>,
    before: &'a BTreeMap<K, V>,
) -> (Entries<'a, K, V>, Entries<'a, K, V>) {
    let new = now.iter().filter(move |(k, v)| !before.get(k).is_some_and(|old| old.same(v)));
    let gone = before.iter().filter(move |(k, _)| !now.contains_key(k));
    (Box::new(new), Box::new(gone))
}
