//! What one kind of proxy is to be told, complete, at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::Diagnostic;
use mesh_proto::resource::{Resource, ResourceSet};

/// All resources of a proxy and what is wrong with the rules behind them.
///
/// Every type that the proxy may ask for has a set, be it empty.
#[derive(Debug, Clone)]
pub struct ProxyResources {
    sets: BTreeMap<&'static str, Arc<ResourceSet>>,
    diagnostics: Arc<[Diagnostic]>,
}

impl ProxyResources {
    /// The set of one type.
    pub fn set(&self, type_url: &str) -> Option<&Arc<ResourceSet>> {
        self.sets.get(type_url)
    }

    /// All sets by type URL.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Arc<ResourceSet>)> {
        self.sets.iter().map(|(t, s)| (*t, s))
    }

    /// What could not be honoured, sorted, without repeats.
    pub fn diagnostics(&self) -> &Arc<[Diagnostic]> {
        &self.diagnostics
    }

    /// These resources with another set of one type.
    pub(crate) fn with(self: &Arc<Self>, type_url: &'static str, set: Arc<ResourceSet>) -> Arc<Self> {
        if self.set(type_url).is_some_and(|old| Arc::ptr_eq(old, &set)) {
            return self.clone();
        }
        let mut next = Self::clone(self);
        next.sets.insert(type_url, set);
        Arc::new(next)
    }

    /// These sets, or the parent if it has the very same.
    pub(crate) fn from_sets(
        parent: Option<&Arc<Self>>,
        sets: BTreeMap<&'static str, Arc<ResourceSet>>,
        diagnostics: Vec<Diagnostic>,
    ) -> Arc<Self> {
        if let Some(parent) = parent
            && parent.sets.len() == sets.len()
            && parent.sets.iter().zip(&sets).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
            && *parent.diagnostics == *diagnostics
        {
            return parent.clone();
        }
        Arc::new(Self { sets, diagnostics: diagnostics.into() })
    }
}

/// `resources` as a set whose parent is `parent`, or the parent if it is equal.
pub(crate) fn successor(
    parent: Option<&Arc<ResourceSet>>,
    resources: impl IntoIterator<Item = Resource>,
) -> Arc<ResourceSet> {
    match parent {
        None => Arc::new(ResourceSet::new(resources)),
        Some(parent) => parent.replaced_by(resources).map_or_else(|| parent.clone(), Arc::new),
    }
}
