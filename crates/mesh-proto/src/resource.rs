//! One xDS resource, encoded once, and sets of them as the control plane hands
//! them from translation to the xDS server.
//!
//! A resource's version is the hash of its content: equal bytes have equal
//! versions across restarts and replicas, and are never sent twice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use prost::{Message, Name};
use xxhash_rust::xxh3::xxh3_64;

/// A resource's name as xDS knows it, shared by everyone who mentions it.
pub type ResourceName = Arc<str>;

/// An encoded resource. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// The name under which a proxy subscribes to it.
    pub name: ResourceName,
    /// The encoded message, without the `Any` around it.
    pub body: Bytes,
    /// XXH3 of `body`.
    pub version: u64,
}

impl Resource {
    /// Encodes `message` under `name`, canonically, so that equal messages have
    /// equal versions.
    pub fn new<M: Message + Name>(name: impl Into<ResourceName>, message: &M) -> Self {
        Self::from_bytes(name, Bytes::from(crate::canonical::encode(message)))
    }

    /// Takes a message that is already encoded.
    pub fn from_bytes(name: impl Into<ResourceName>, body: Bytes) -> Self {
        let version = xxh3_64(&body);
        Self { name: name.into(), body, version }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x} ({} bytes)", self.name, self.version, self.body.len())
    }
}

/// All resources of one type that one kind of proxy may see, at one moment.
///
/// A set knows which set it was made from and what differs, so that a reader
/// that has seen the parent looks only at the difference.
#[derive(Debug, Clone)]
pub struct ResourceSet {
    id: u64,
    parent: Option<u64>,
    changed: Arc<[ResourceName]>,
    resources: BTreeMap<ResourceName, Resource>,
}

impl ResourceSet {
    /// A set without a parent.
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let resources: BTreeMap<_, _> = resources.into_iter().map(|r| (r.name.clone(), r)).collect();
        Self { id: next_id(), parent: None, changed: resources.keys().cloned().collect(), resources }
    }

    /// This set with `changes` applied: `Some` adds or replaces, `None`
    /// removes. Only names whose version really changes count as changed.
    ///
    /// Cost: one clone of the map (names and bytes are shared) plus the
    /// changes. Returns `None` if nothing changes.
    pub fn with(&self, changes: impl IntoIterator<Item = (ResourceName, Option<Resource>)>) -> Option<Self> {
        let mut next: Option<BTreeMap<ResourceName, Resource>> = None;
        let mut changed = Vec::new();
        for (name, change) in changes {
            let current = next.as_ref().unwrap_or(&self.resources).get(&name);
            if current.map(|r| r.version) == change.as_ref().map(|r| r.version) {
                continue;
            }
            let map = next.get_or_insert_with(|| self.resources.clone());
            match change {
                Some(resource) => map.insert(name.clone(), resource),
                None => map.remove(&name),
            };
            changed.push(name);
        }
        let resources = next?;
        changed.sort();
        changed.dedup();
        Some(Self { id: next_id(), parent: Some(self.id), changed: changed.into(), resources })
    }

    /// This set, replaced by exactly `resources`: what [`Self::with`] gives for
    /// the difference of the two. Returns `None` if they are equal.
    pub fn replaced_by(&self, resources: impl IntoIterator<Item = Resource>) -> Option<Self> {
        let next: BTreeMap<ResourceName, Resource> = resources.into_iter().map(|r| (r.name.clone(), r)).collect();
        let gone = self.resources.keys().filter(|n| !next.contains_key(*n)).map(|n| (n.clone(), None));
        let kept = next.values().map(|r| (r.name.clone(), Some(r.clone())));
        self.with(gone.chain(kept))
    }

    /// Tells this set from every other made in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The set it was made from.
    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Names added, replaced or removed since the parent, sorted; all names if
    /// there is no parent.
    pub fn changed(&self) -> &[ResourceName] {
        &self.changed
    }

    /// The resource called `name`.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// All resources, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, body: &'static str) -> Resource {
        Resource::from_bytes(name, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn equal_content_is_no_change() {
        let set = ResourceSet::new([resource("a", "1"), resource("b", "2")]);
        assert!(set.replaced_by([resource("b", "2"), resource("a", "1")]).is_none());
    }

    #[test]
    fn a_change_names_what_was_added_replaced_and_removed() {
        let set = ResourceSet::new([resource("a", "1"), resource("b", "2"), resource("c", "3")]);
        let next = set.replaced_by([resource("a", "1"), resource("b", "new"), resource("d", "4")]);
        let next = next.expect("three names differ");
        assert_eq!(next.parent(), Some(set.id()));
        assert_eq!(next.changed().iter().map(|n| &**n).collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(next.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["a", "b", "d"]);
    }
}
