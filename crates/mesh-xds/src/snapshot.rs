//! What one kind of proxy should have, at one moment.
//!
//! A snapshot is a small map from type URL to a shared [`ResourceSet`]: making
//! one costs a handful of reference counts, whatever the sets hold.
//!
//! Invariant: immutable. A newer state is another snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_proto::resource::ResourceSet;

/// Type URL to resources. See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    sets: BTreeMap<Arc<str>, Arc<ResourceSet>>,
}

impl Snapshot {
    /// A snapshot of these sets. A later pair replaces an earlier one of the
    /// same type.
    pub fn new<T: Into<Arc<str>>>(sets: impl IntoIterator<Item = (T, Arc<ResourceSet>)>) -> Self {
        Self { sets: sets.into_iter().map(|(type_url, set)| (type_url.into(), set)).collect() }
    }

    /// The resources of one type. `None` means that this type is not served
    /// here, which a proxy sees as a type without resources.
    pub fn get(&self, type_url: &str) -> Option<&Arc<ResourceSet>> {
        self.sets.get(type_url)
    }

    /// This snapshot with one type replaced.
    #[must_use]
    pub fn with(&self, type_url: impl Into<Arc<str>>, set: Arc<ResourceSet>) -> Self {
        let mut sets = self.sets.clone();
        sets.insert(type_url.into(), set);
        Self { sets }
    }

    /// All types and their sets, sorted by type URL.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<ResourceSet>)> {
        self.sets.iter().map(|(type_url, set)| (&**type_url, set))
    }
}
