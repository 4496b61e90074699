//! What the DestinationRules of one host say together.

use mesh_model::rules::DestinationRule;
use mesh_model::rules::destination_rule::{Algorithm, Effective, HashKey, Subset, TrafficPolicy, Tunnel};
use mesh_model::{Code, Diagnostic, Hostname, Severity};
use mesh_proto::origin::Origin;

use crate::memo::ById;
use crate::xds;

/// The rules that hold for a host, oldest first, read as one.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a>(pub(crate) &'a [ById<DestinationRule>]);

impl<'a> Destination<'a> {
    /// The first rule that states a policy for the whole host.
    fn base(self) -> Option<&'a DestinationRule> {
        self.0.iter().map(|r| &**r).find(|r| states_policy(r))
    }

    /// Every subset with the rule that defines it; of several with one name,
    /// the first.
    pub(crate) fn subsets(self) -> Vec<(&'a Subset, &'a DestinationRule)> {
        let mut subsets: Vec<(&Subset, &DestinationRule)> = Vec::new();
        for rule in self.0 {
            for subset in &rule.subsets {
                if !subsets.iter().any(|(s, _)| s.name == subset.name) {
                    subsets.push((subset, rule));
                }
            }
        }
        subsets
    }

    /// The subset of this name.
    pub(crate) fn subset(self, name: &str) -> Option<&'a Subset> {
        self.0.iter().flat_map(|rule| &rule.subsets).find(|s| &*s.name == name)
    }

    /// What holds for a port, of the whole host or of one subset.
    pub(crate) fn policy(self, subset: Option<&'a Subset>, port: u16) -> Effective<'a> {
        TrafficPolicy::effective(self.base().map(|r| &r.policy), subset.map(|s| &s.policy), port)
    }

    /// How connections, of the whole host or of one subset, are tunnelled.
    pub(crate) fn tunnel(self, subset: Option<&'a Subset>) -> Option<&'a Tunnel> {
        match subset {
            Some(subset) => subset.policy.tunnel.as_ref(),
            None => self.base().and_then(|r| r.policy.tunnel.as_ref()),
        }
    }

    /// Whether connections to a port are told apart by the client's address.
    pub(crate) fn hashes_source(self, subset: Option<&'a Subset>, port: u16) -> bool {
        let algorithm = self.policy(subset, port).load_balancer.map(|b| &b.algorithm);
        matches!(algorithm, Some(Algorithm::ConsistentHash(hash)) if hash.key == Some(HashKey::SourceIp))
    }

    /// Every policy that is in force for some port or subset.
    pub(crate) fn policies(self) -> impl Iterator<Item = &'a TrafficPolicy> {
        let subsets = self.subsets().into_iter().map(|(subset, _)| &subset.policy);
        self.base().map(|r| &r.policy).into_iter().chain(subsets)
    }

    /// The rules behind a cluster, as origins.
    pub(crate) fn origins(self, subset: Option<&DestinationRule>) -> Vec<Origin> {
        let base = self.base().or(self.0.first().map(|r| &**r));
        subset.into_iter().chain(base).map(|r| xds::origin(&r.meta)).collect()
    }

    /// The first rule, by Istio's `config` path.
    pub(crate) fn config_path(self) -> Option<String> {
        let rule = self.base().or(self.0.first().map(|r| &**r))?;
        let (namespace, name) = (rule.meta.namespace(), rule.meta.name());
        Some(format!("/apis/networking.istio.io/v1/namespaces/{namespace}/destination-rule/{name}"))
    }

    /// Whether a port's connections keep the address that the client called.
    pub(crate) fn is_passthrough(self, subset: Option<&'a Subset>, port: u16) -> bool {
        self.policy(subset, port).load_balancer.is_some_and(|b| b.algorithm == Algorithm::Passthrough)
    }

    /// Where the rules contradict each other about `host`, and who wins.
    pub(crate) fn conflicts(self, host: &Hostname) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let base = self.base();
        for (index, rule) in self.0.iter().enumerate() {
            if let Some(winner) = base.filter(|w| !std::ptr::eq(*w, &**rule) && states_policy(rule)) {
                let consequence = format!("the policy of {} holds, this one is set aside", winner.meta.object);
                found.push(conflict(rule, "spec.trafficPolicy", policy_of(host, winner), consequence));
            }
            for (at, subset) in rule.subsets.iter().enumerate() {
                let defines = |r: &&ById<DestinationRule>| r.subsets.iter().any(|s| s.name == subset.name);
                if let Some(winner) = self.0[..index].iter().find(defines) {
                    let message =
                        format!("subset {} of {host} is already defined by {}", subset.name, winner.meta.object);
                    let consequence = format!("the subset of {} holds, this one is set aside", winner.meta.object);
                    found.push(conflict(rule, &format!("spec.subsets[{at}]"), message, consequence));
                }
            }
        }
        found
    }
}

/// Whether a rule says something of the host as a whole.
fn states_policy(rule: &DestinationRule) -> bool {
    rule.policy != TrafficPolicy::default()
}

fn policy_of(host: &Hostname, winner: &DestinationRule) -> String {
    format!("{} states a policy for {host} as well, and is the older one", winner.meta.object)
}

/// The rules that `winner` sets aside because fewer or other namespaces see
/// them.
pub(crate) fn set_aside(
    host: &Hostname,
    losers: &[ById<DestinationRule>],
    winner: Option<&DestinationRule>,
) -> Vec<Diagnostic> {
    let Some(winner) = winner else { return Vec::new() };
    let one = |loser: &ById<DestinationRule>| {
        let message = format!("{} is about {host} too, and is exported to other namespaces", winner.meta.object);
        let consequence = format!("clients that see both use {} alone", winner.meta.object);
        conflict(loser, "spec.exportTo", message, consequence)
    };
    losers.iter().map(one).collect()
}

fn conflict(loser: &DestinationRule, field: &str, message: String, consequence: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Conflict,
        object: Some(loser.meta.object.clone()),
        location: loser.meta.location.clone(),
        field: field.to_owned(),
        message,
        consequence,
    }
}
