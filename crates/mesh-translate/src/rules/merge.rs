//! Which of the DestinationRules for one host hold for a client, and which
//! stand back.
//!
//! Source: `mergeDestinationRule`, istio `pilot/pkg/model/destination_rule.go`,
//! and `SidecarScope.DestinationRule`, `pilot/pkg/model/sidecar.go`.

use std::sync::Arc;

use mesh_model::rules::DestinationRule;
use mesh_model::{Labels, Visibility};

/// The rules that are read as one, and those that are not read at all.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    /// Oldest first.
    pub(crate) rules: Vec<Arc<DestinationRule>>,
    /// Rules without a selector that the client sees as well.
    pub(crate) set_aside: Vec<Arc<DestinationRule>>,
}

/// Chooses among `found`, oldest first, for a client in `namespace`.
///
/// Rules that select the client go before those that select nobody in
/// particular; of them the oldest, with those of the same selector. Rules
/// without a selector are read as one if the same namespaces see them; of
/// several such groups the youngest holds, as in Istio.
pub(super) fn choose(found: Vec<Arc<DestinationRule>>, namespace: &str, labels: &Labels) -> Chosen {
    let (selective, general): (Vec<_>, Vec<_>) = found.into_iter().partition(|r| !r.workload_selector.is_empty());
    let own = |r: &&Arc<DestinationRule>| &**r.meta.namespace() == namespace && r.workload_selector.selects(labels);
    if let Some(first) = selective.iter().find(own) {
        let same = selective.iter().filter(|r| r.workload_selector == first.workload_selector);
        // Rules that the very same namespace alone sees add to it.
        let beside = general.iter().filter(|r| r.export_to == first.export_to);
        return Chosen { rules: same.chain(beside).cloned().collect(), set_aside: Vec::new() };
    }
    let mut groups: Vec<(Visibility, Vec<Arc<DestinationRule>>)> = Vec::new();
    for rule in general {
        let mut apart = true;
        for (seen_by, rules) in &mut groups {
            let equal = *seen_by == rule.export_to;
            apart &= !equal;
            if equal || is_wider(&rule.export_to, seen_by) {
                rules.push(rule.clone());
            }
        }
        if apart {
            groups.push((rule.export_to.clone(), vec![rule]));
        }
    }
    let Some((_, rules)) = groups.pop() else { return Chosen::default() };
    let mut set_aside: Vec<Arc<DestinationRule>> = Vec::new();
    for rule in groups.into_iter().flat_map(|(_, rules)| rules) {
        if !rules.iter().chain(&set_aside).any(|r| Arc::ptr_eq(r, &rule)) {
            set_aside.push(rule);
        }
    }
    Chosen { rules, set_aside }
}

/// Whether `wide` names every namespace that `narrow` names.
fn is_wider(wide: &Visibility, narrow: &Visibility) -> bool {
    match (wide, narrow) {
        (Visibility::Namespaces(wide), Visibility::Namespaces(narrow)) => narrow.iter().all(|n| wide.contains(n)),
        _ => false,
    }
}
