//! Which patches are about which proxy.
//!
//! Invariant: an EnvoyFilter is compiled once for as long as it stays the same
//! object, and equal selections are one [`Patches`] for as long as any proxy
//! has it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use mesh_model::rules::envoy_filter::{ApplyTo, Context};
use mesh_model::world::RuleIndex;
use mesh_model::{Labels, Name, ObjectRef};

use super::Patches;
use super::compile::{Compiled, Patch};
use crate::memo::ById;

/// Compiled EnvoyFilters and the selections that were made of them.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    rules: Option<ById<RuleIndex>>,
    compiled: HashMap<ObjectRef, Arc<Compiled>>,
    /// In the order of their age.
    by_namespace: HashMap<Name, Vec<Arc<Compiled>>>,
    made: HashMap<Key, Weak<Patches>>,
}

/// Patches by identity, and the objects with findings.
type Key = (Vec<ById<Patch>>, Vec<ById<Compiled>>);

/// A proxy, as far as patches are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) namespace: &'a Name,
    pub(crate) root: &'a Name,
    pub(crate) labels: &'a Labels,
    /// `ISTIO_VERSION`; may be empty.
    pub(crate) version: &'a str,
    /// Texts in its node's metadata.
    pub(crate) metadata: &'a HashMap<Name, Name>,
    /// EnvoyFilters that it does not get.
    pub(crate) withdrawn: &'a BTreeSet<ObjectRef>,
}

impl Selection {
    /// Takes note of the rules: what did not change stays compiled.
    pub(crate) fn update(&mut self, rules: &Arc<RuleIndex>) {
        let index = ById::of(rules);
        if self.rules.as_ref() == Some(&index) {
            return;
        }
        self.rules = Some(index);
        let mut before = std::mem::take(&mut self.compiled);
        self.by_namespace.clear();
        for rule in rules.envoy_filters() {
            let known = before.remove(&rule.meta.object).filter(|c| Arc::ptr_eq(&c.rule, rule));
            let compiled = known.unwrap_or_else(|| Arc::new(Compiled::new(rule)));
            self.by_namespace.entry(rule.meta.namespace().clone()).or_default().push(compiled.clone());
            self.compiled.insert(rule.meta.object.clone(), compiled);
        }
        self.made.retain(|_, patches| patches.strong_count() > 0);
    }

    /// The patches for some sides of a proxy; `None` if there are none.
    pub(crate) fn patches(&mut self, subject: Subject<'_>, contexts: &[Context]) -> Option<ById<Patches>> {
        let here = self.here(subject);
        if here.is_empty() {
            return None;
        }
        let wrong: Vec<ById<Compiled>> = here.iter().filter(|c| !c.diagnostics.is_empty()).map(ById::of).collect();
        let applies = |p: &&Arc<Patch>| is_for(p, contexts) && of_proxy(p, subject);
        let selected = here.iter().filter(|c| {
            c.rule.workload_selector.selects(subject.labels) && !subject.withdrawn.contains(&c.rule.meta.object)
        });
        let patches: Vec<ById<Patch>> = selected.flat_map(|c| &c.patches).filter(applies).map(ById::of).collect();
        if patches.is_empty() && wrong.is_empty() {
            return None;
        }
        let key = (patches, wrong);
        if let Some(known) = self.made.get(&key).and_then(Weak::upgrade) {
            return Some(ById(known));
        }
        let made = Arc::new(Patches {
            patches: key.0.iter().map(|p| p.0.clone()).collect(),
            diagnostics: key.1.iter().flat_map(|c| c.diagnostics.iter().cloned()).collect(),
        });
        self.made.insert(key, Arc::downgrade(&made));
        Some(ById(made))
    }

    /// EnvoyFilters of the proxy's namespace and of the root namespace, in the
    /// order in which they apply.
    ///
    /// Source: `mergeEnvoyFilters`, istio `pilot/pkg/model/push_context.go`.
    fn here(&self, subject: Subject<'_>) -> Vec<Arc<Compiled>> {
        let of = |namespace: &Name| self.by_namespace.get(namespace).into_iter().flatten().cloned();
        let mut here: Vec<Arc<Compiled>> = of(subject.root).collect();
        if subject.namespace != subject.root {
            here.extend(of(subject.namespace));
        }
        // Stable: within a namespace the oldest come first already.
        here.sort_by_key(|c| (c.rule.priority, c.rule.meta.namespace() != subject.root));
        here
    }
}

fn is_for(patch: &Patch, contexts: &[Context]) -> bool {
    match patch.apply_to {
        ApplyTo::Bootstrap | ApplyTo::ExtensionConfig => {
            contexts.iter().any(|c| matches!(c, Context::SidecarOutbound | Context::Gateway))
        }
        _ => patch.context == Context::Any || contexts.contains(&patch.context),
    }
}

fn of_proxy(patch: &Patch, subject: Subject<'_>) -> bool {
    let version = patch.version.as_ref();
    version.is_none_or(|regex| !subject.version.is_empty() && regex.is_match(subject.version))
        && patch.metadata.iter().all(|(key, value)| subject.metadata.get(key) == Some(value))
}
