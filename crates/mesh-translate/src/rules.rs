//! Which rules hold for whom: DestinationRules by host, the Sidecar of a
//! workload, the VirtualServices that a namespace sees.
//!
//! Invariant: one [`Lookup`] per `RuleIndex`; what it answers depends on the
//! index and the arguments alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mesh_model::rules::{DestinationRule, MeshConfig, PeerAuthentication, Sidecar, VirtualService};
use mesh_model::world::RuleIndex;
use mesh_model::{Hostname, Labels, Name, Visibility};

use crate::mutual_tls::Modes;
use crate::place;

mod merge;
#[cfg(test)]
mod tests;

pub(crate) use merge::Chosen;

/// Rules, arranged for the questions that translation asks.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    destinations: HashMap<Name, HostRules>,
    sidecars: HashMap<Name, Vec<Arc<Sidecar>>>,
    virtual_services: Vec<Arc<VirtualService>>,
    peer_authentications: Vec<Arc<PeerAuthentication>>,
    label_keys: BTreeSet<String>,
    /// Labels by which some rule tells near endpoints from far ones.
    place_keys: BTreeSet<String>,
}

/// The DestinationRules of one namespace.
#[derive(Debug, Default)]
struct HostRules {
    exact: HashMap<Hostname, Vec<Arc<DestinationRule>>>,
    /// Most specific first.
    wildcard: Vec<(Hostname, Vec<Arc<DestinationRule>>)>,
}

impl Lookup {
    pub(crate) fn new(rules: &RuleIndex) -> Self {
        let mut lookup = Self::default();
        for rule in rules.destination_rules() {
            lookup.destinations.entry(rule.meta.namespace().clone()).or_default().add(rule);
            lookup.label_keys.extend(rule.workload_selector.iter().map(|(k, _)| k.to_owned()));
            let policies = std::iter::once(&rule.policy).chain(rule.subsets.iter().map(|s| &s.policy));
            lookup.place_keys.extend(place::label_keys(policies).map(str::to_owned));
        }
        for rules in lookup.destinations.values_mut() {
            rules.wildcard.sort_by(|a, b| a.0.specificity().cmp(&b.0.specificity()));
        }
        for rule in rules.sidecars() {
            lookup.sidecars.entry(rule.meta.namespace().clone()).or_default().push(rule.clone());
        }
        let of_mesh = |v: &&Arc<VirtualService>| v.gateways.iter().any(|g| &**g == MESH_GATEWAY);
        lookup.virtual_services = rules.virtual_services().iter().filter(of_mesh).cloned().collect();
        lookup.peer_authentications = rules.peer_authentications().to_vec();
        for matched in lookup.virtual_services.iter().flat_map(|v| &v.http).flat_map(|r| &r.matches) {
            lookup.label_keys.extend(matched.source_labels.iter().map(|(k, _)| k.to_owned()));
        }
        lookup
    }

    /// The part of `labels` that any rule looks at: workloads that agree in it
    /// are treated alike.
    pub(crate) fn relevant(&self, labels: &Labels) -> Labels {
        if self.label_keys.is_empty() {
            return Labels::default();
        }
        labels.iter().filter(|(k, _)| self.label_keys.contains(*k)).collect()
    }

    /// The Sidecar of a workload: one that selects it, else the namespace's,
    /// else the root namespace's; the oldest of several.
    pub(crate) fn sidecar(&self, namespace: &str, labels: &Labels, root: &str) -> Option<&Arc<Sidecar>> {
        let of = |namespace: &str| self.sidecars.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let whole = |list: &'_ [Arc<Sidecar>]| list.iter().position(|s| s.workload_selector.is_empty());
        let own = of(namespace);
        let selecting = own.iter().find(|s| !s.workload_selector.is_empty() && s.workload_selector.selects(labels));
        selecting.or_else(|| whole(own).map(|i| &own[i])).or_else(|| whole(of(root)).map(|i| &of(root)[i]))
    }

    /// Which connections a workload accepts.
    pub(crate) fn mutual_tls(&self, namespace: &str, labels: &Labels, root: &str) -> Modes {
        Modes::of(&self.peer_authentications, namespace, labels, root)
    }

    /// VirtualServices for sidecars that `namespace` sees, oldest first.
    pub(crate) fn virtual_services<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> + 'a {
        self.virtual_services.iter().filter(move |v| v.export_to.includes(namespace))
    }

    /// The DestinationRules that hold when a client in `namespace` with
    /// `labels` calls `host`, declared in `owner`: those of the client's
    /// namespace, else of the service's, else of the root namespace; there, of
    /// the most specific host. A client in the root namespace goes by what is
    /// private there first: rules that hold for the whole mesh must not hide
    /// those of a service. See [`merge`] for several rules of one host.
    ///
    /// Source: `destinationRule`, istio `pilot/pkg/model/push_context.go`.
    pub(crate) fn destination(
        &self,
        namespace: &str,
        labels: &Labels,
        host: &Hostname,
        owner: &str,
        root: &str,
    ) -> Chosen {
        let private = |rule: &DestinationRule| match &rule.export_to {
            Visibility::Namespaces(list) => matches!(&list[..], [only] if &**only == namespace),
            _ => false,
        };
        let places = [(namespace, namespace == root), (owner, false), (root, false)];
        for (place, private_only) in places {
            let Some(rules) = self.destinations.get(place) else { continue };
            let seen = |rule: &DestinationRule| rule.export_to.includes(namespace) && (!private_only || private(rule));
            let chosen = merge::choose(rules.of_host(host, seen), namespace, labels);
            if !chosen.rules.is_empty() {
                return chosen;
            }
        }
        Chosen::default()
    }

    /// The part of `labels` by which some rule tells near endpoints from far
    /// ones, with what `topology` says of the place.
    pub(crate) fn place_labels<'a>(
        &'a self,
        mesh: &'a MeshConfig,
        labels: &Labels,
        topology: impl Fn(&str) -> String,
    ) -> Labels {
        let mesh_zones = mesh.zone_aware.iter().flat_map(|z| &z.failover_priority);
        let of_mesh = mesh.locality_balancing.failover_priority.iter().chain(mesh_zones).map(|l| place::key_of(l));
        let keys = self.place_keys.iter().map(String::as_str).chain(of_mesh);
        let value = |key: &str| labels.get(key).map_or_else(|| topology(key), str::to_owned);
        keys.map(|key| (key.to_owned(), value(key))).filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl HostRules {
    fn add(&mut self, rule: &Arc<DestinationRule>) {
        if !rule.host.is_wildcard() {
            self.exact.entry(rule.host.clone()).or_default().push(rule.clone());
            return;
        }
        match self.wildcard.iter_mut().find(|(host, _)| *host == rule.host) {
            Some((_, rules)) => rules.push(rule.clone()),
            None => self.wildcard.push((rule.host.clone(), vec![rule.clone()])),
        }
    }

    fn of_host(&self, host: &Hostname, visible: impl Fn(&DestinationRule) -> bool) -> Vec<Arc<DestinationRule>> {
        let exact = self.exact.get(host).into_iter();
        let wildcard = self.wildcard.iter().filter(|(pattern, _)| pattern.covers(host)).map(|(_, rules)| rules);
        exact
            .chain(wildcard)
            .map(|rules| rules.iter().filter(|r| visible(r)).cloned().collect::<Vec<_>>())
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }
}

/// The gateway name that stands for all sidecars.
pub(crate) const MESH_GATEWAY: &str = "mesh";
