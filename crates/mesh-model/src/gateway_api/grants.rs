//! ReferenceGrants: which references may leave their namespace.

use super::Objects;
use crate::rules::gateway_api::{GROUP, GROUP_EXPERIMENTS, Reference};
use crate::{Kind, Name};

impl Objects<'_> {
    /// Whether an object of `from` in `namespace` may refer to `to`, which lies
    /// in another namespace.
    ///
    /// Source: `BackendAllowed` and `SecretAllowed`, istio
    /// `pilot/pkg/config/kube/gatewaycommon/references.go`.
    pub(super) fn is_granted(&self, from: Kind, namespace: &Name, to: &Reference) -> bool {
        let Some(target) = &to.namespace else { return true };
        if target == namespace {
            return true;
        }
        let (group, kind) = group_kind(from);
        self.grants.iter().filter(|grant| grant.meta.namespace() == target).any(|grant| {
            grant.from.iter().any(|(who, place)| who.is(group, kind) && place == namespace)
                && grant
                    .to
                    .iter()
                    .any(|(what, name)| *what == to.target && name.as_ref().is_none_or(|name| *name == to.name))
        })
    }
}

fn group_kind(kind: Kind) -> (&'static str, &'static str) {
    let group = if kind == Kind::XListenerSet { GROUP_EXPERIMENTS } else { GROUP };
    (group, kind.as_str())
}
