//! What the DestinationRules of one host say together.

use mesh_model::rules::DestinationRule;
use mesh_model::rules::destination_rule::{LoadBalancer, PortPolicy, Subset, TrafficPolicy};
use mesh_proto::origin::Origin;

use crate::memo::ById;
use crate::xds;

/// The rules that hold for a host, oldest first, read as one.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a>(pub(crate) &'a [ById<DestinationRule>]);

impl<'a> Destination<'a> {
    /// The first rule that states a policy for the whole host.
    fn base(self) -> Option<&'a DestinationRule> {
        self.0.iter().map(|r| &**r).find(|r| r.policy != TrafficPolicy::default())
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

    /// What holds for a port, of the whole host or of one subset.
    pub(crate) fn policy(self, subset: Option<&Subset>, port: u16) -> PortPolicy {
        let base = self.base().map(|r| &r.policy);
        match (subset, base) {
            (Some(subset), base) => subset.policy.for_port(port, base),
            (None, Some(base)) => base.for_port(port, None),
            (None, None) => PortPolicy::default(),
        }
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
    pub(crate) fn is_passthrough(self, subset: Option<&Subset>, port: u16) -> bool {
        self.policy(subset, port).load_balancer == Some(LoadBalancer::Passthrough)
    }
}
