//! Which resources of one type a proxy watches, and how its requests change
//! that.

use std::collections::BTreeSet;

use mesh_proto::resource::ResourceName;

use crate::order::WILDCARD;

/// Names and wildcard of one type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    names: BTreeSet<ResourceName>,
    wildcard: bool,
    /// The wildcard was asked for by an empty list, and lasts while the list
    /// stays empty.
    legacy: bool,
}

/// How a request changed a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Names to answer for: new ones, and in delta those asked for again.
    pub(super) added: Vec<ResourceName>,
    pub(super) removed: Vec<ResourceName>,
    pub(super) wildcard_added: bool,
    pub(super) wildcard_removed: bool,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Subscription {
    pub(super) fn names(&self) -> &BTreeSet<ResourceName> {
        &self.names
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// State of the world: the list replaces the last one. In the `first`
    /// request an empty list means everything if `empty_means_all`.
    pub(super) fn replace(
        &mut self,
        requested: &[String],
        first: bool,
        empty_means_all: bool,
        intern: impl Fn(&str) -> ResourceName,
    ) -> Change {
        let was_wildcard = self.wildcard;
        self.legacy = requested.is_empty() && if first { empty_means_all } else { self.legacy };
        self.wildcard = self.legacy || requested.iter().any(|name| name == WILDCARD);
        let requested: BTreeSet<&str> = requested.iter().map(String::as_str).filter(|name| *name != WILDCARD).collect();
        let removed: Vec<_> = self.names.iter().filter(|name| !requested.contains(&***name)).cloned().collect();
        let added: Vec<_> = requested.into_iter().filter(|name| !self.names.contains(*name)).map(intern).collect();
        removed.iter().for_each(|name| {
            self.names.remove(name);
        });
        self.names.extend(added.iter().cloned());
        self.changed(was_wildcard, added, removed)
    }

    /// Delta: names are added and removed. In the `first` request an empty
    /// list means everything if `empty_means_all`.
    pub(super) fn change(
        &mut self,
        subscribe: &[String],
        unsubscribe: &[String],
        first: bool,
        empty_means_all: bool,
        intern: impl Fn(&str) -> ResourceName,
    ) -> Change {
        let was_wildcard = self.wildcard;
        self.wildcard |= first && subscribe.is_empty() && empty_means_all;
        let mut added = BTreeSet::new();
        for name in subscribe {
            if name == WILDCARD {
                self.wildcard = true;
            } else {
                let name = intern(name);
                self.names.insert(name.clone());
                added.insert(name);
            }
        }
        let mut removed = Vec::new();
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            } else if let Some(name) = self.names.take(name.as_str()) {
                added.remove(&name);
                removed.push(name);
            }
        }
        self.changed(was_wildcard, added.into_iter().collect(), removed)
    }

    fn changed(&self, was_wildcard: bool, added: Vec<ResourceName>, removed: Vec<ResourceName>) -> Change {
        let wildcard_added = self.wildcard && !was_wildcard;
        let wildcard_removed = !self.wildcard && was_wildcard;
        Change { added, removed, wildcard_added, wildcard_removed }
    }
}
