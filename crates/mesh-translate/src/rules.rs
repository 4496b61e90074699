//! Which rules hold for whom: DestinationRules by host, the Sidecar of a
//! workload, the VirtualServices that a namespace sees.
//!
//! Invariant: one [`Lookup`] per `RuleIndex`; what it answers depends on the
//! index and the arguments alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mesh_model::rules::{DestinationRule, PeerAuthentication, Sidecar, VirtualService};
use mesh_model::world::RuleIndex;
use mesh_model::{Hostname, Labels, Name};

use crate::mutual_tls::Modes;

#[cfg(test)]
mod tests;

/// Rules, arranged for the questions that translation asks.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    destinations: HashMap<Name, HostRules>,
    sidecars: HashMap<Name, Vec<Arc<Sidecar>>>,
    virtual_services: Vec<Arc<VirtualService>>,
    peer_authentications: Vec<Arc<PeerAuthentication>>,
    label_keys: BTreeSet<String>,
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
    /// the most specific host. Several rules for one host are one: the first
    /// that states a policy gives the policy, each adds the subsets that those
    /// before it lack.
    ///
    /// Source: `destinationRule`, istio `pilot/pkg/model/push_context.go`, and
    /// `mergeDestinationRule`, `pilot/pkg/model/destination_rule.go`.
    pub(crate) fn destination(
        &self,
        namespace: &str,
        labels: &Labels,
        host: &Hostname,
        owner: &str,
        root: &str,
    ) -> Vec<Arc<DestinationRule>> {
        for place in [namespace, owner, root] {
            let Some(rules) = self.destinations.get(place) else { continue };
            let found = rules.of_host(host, |rule| rule.export_to.includes(namespace));
            let found = select_by_workload(found, namespace, labels);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
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

/// Rules that select this client stand alone; else those that select nobody in
/// particular. A selector counts only in the client's own namespace.
fn select_by_workload(rules: Vec<Arc<DestinationRule>>, namespace: &str, labels: &Labels) -> Vec<Arc<DestinationRule>> {
    let (selective, general): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| !r.workload_selector.is_empty());
    let own = |r: &Arc<DestinationRule>| &**r.meta.namespace() == namespace && r.workload_selector.selects(labels);
    let selecting: Vec<_> = selective.into_iter().filter(own).collect();
    if selecting.is_empty() { general } else { selecting }
}

/// The gateway name that stands for all sidecars.
pub(crate) const MESH_GATEWAY: &str = "mesh";
