//! The Kubernetes Gateway API and Ingress, as written: what `gateway_api` (the
//! module that converts them) turns into Istio's rules.
//!
//! Values are structurally right (types, required fields, bounds); whether what
//! they refer to exists, and whether that is allowed, the conversion says, in
//! the object's status.
//!
//! Source: <https://gateway-api.sigs.k8s.io/reference/spec/>, version 1.6, and
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/>.

use std::sync::Arc;

use crate::{Labels, Meta, Name};

pub mod gateway;
pub mod ingress;
pub mod policy;
pub mod route;

pub use gateway::{Gateway, GatewayClass, Listener, ListenerSet};
pub use ingress::{Ingress, IngressClass};
pub use policy::{BackendTlsPolicy, BackendTrafficPolicy, ReferenceGrant};
pub use route::Route;

/// One object of the Gateway API, or of Ingress.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the kinds' own names")]
pub enum GatewayApi {
    GatewayClass(GatewayClass),
    Gateway(Gateway),
    ListenerSet(ListenerSet),
    /// HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.
    Route(Route),
    ReferenceGrant(ReferenceGrant),
    BackendTlsPolicy(BackendTlsPolicy),
    BackendTrafficPolicy(BackendTrafficPolicy),
    Ingress(Ingress),
    IngressClass(IngressClass),
}

impl GatewayApi {
    /// What every object carries.
    pub fn meta(&self) -> &Arc<Meta> {
        match self {
            GatewayApi::GatewayClass(o) => &o.meta,
            GatewayApi::Gateway(o) => &o.meta,
            GatewayApi::ListenerSet(o) => &o.meta,
            GatewayApi::Route(o) => &o.meta,
            GatewayApi::ReferenceGrant(o) => &o.meta,
            GatewayApi::BackendTlsPolicy(o) => &o.meta,
            GatewayApi::BackendTrafficPolicy(o) => &o.meta,
            GatewayApi::Ingress(o) => &o.meta,
            GatewayApi::IngressClass(o) => &o.meta,
        }
    }
}

/// API group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// API group of its experiments.
pub const GROUP_EXPERIMENTS: &str = "gateway.networking.x-k8s.io";

/// Group and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// API group; empty for Kubernetes' core.
    pub group: Name,
    /// Kind.
    pub kind: Name,
}

impl GroupKind {
    /// Whether it is this kind of this group.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        &*self.group == group && &*self.kind == kind
    }
}

/// A reference to an object; the defaults of its field are filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// What it is.
    pub target: GroupKind,
    /// Where it is; `None`: beside the object that refers to it.
    pub namespace: Option<Name>,
    /// What it is called.
    pub name: Name,
}

/// Labels that objects must have, as Kubernetes selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`
    pub labels: Labels,
    /// `matchExpressions`
    pub expressions: Vec<LabelRequirement>,
}

/// One of a selector's expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label.
    pub key: Name,
    /// What must hold of it.
    pub operator: LabelOperator,
    /// Values, for In and NotIn.
    pub values: Vec<Name>,
}

/// What must hold of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are Kubernetes' own words")]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Whether all of it holds for an object; `get` gives the value of a label.
    ///
    /// Source: Kubernetes `LabelSelectorAsSelector`.
    pub fn matches<'l>(&self, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        let holds = |r: &LabelRequirement| {
            let value = get(&r.key);
            let listed = value.is_some_and(|value| r.values.iter().any(|v| **v == *value));
            match r.operator {
                LabelOperator::In => listed,
                LabelOperator::NotIn => !listed,
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        };
        self.labels.iter().all(|(key, value)| get(key) == Some(value)) && self.expressions.iter().all(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_of_a_selector_must_hold_and_an_absent_label_is_not_in_any_list() {
        let labels = Labels::from_iter([("team", "a"), ("tier", "web")]);
        let check = |operator, key: &str, values: &[&str], expected| {
            let values = values.iter().map(|v| (*v).into()).collect();
            let requirement = LabelRequirement { key: key.into(), operator, values };
            let selector = LabelSelector { labels: Labels::from_iter([("team", "a")]), expressions: vec![requirement] };
            assert_eq!(selector.matches(|key| labels.get(key)), expected, "{selector:?}");
        };
        check(LabelOperator::In, "tier", &["db", "web"], true);
        check(LabelOperator::In, "zone", &["x"], false);
        check(LabelOperator::NotIn, "zone", &["x"], true);
        check(LabelOperator::NotIn, "tier", &["web"], false);
        check(LabelOperator::Exists, "tier", &[], true);
        check(LabelOperator::DoesNotExist, "tier", &[], false);
        let other = LabelSelector { labels: Labels::from_iter([("team", "b")]), ..LabelSelector::default() };
        assert!(!other.matches(|key| labels.get(key)) && LabelSelector::default().matches(|_| None));
    }
}
