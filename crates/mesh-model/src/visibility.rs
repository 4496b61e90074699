//! `exportTo`: which namespaces see an object.

use crate::Name;

/// Namespaces that see an object which lives in some namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// `*`, and nothing written where the mesh's default is public.
    #[default]
    Public,
    /// `~`: none.
    None,
    /// These; `.` has been replaced by the object's own namespace. Sorted.
    Namespaces(Vec<Name>),
}

impl Visibility {
    /// From the entries of `exportTo`; `default` where there are none. `own` is
    /// the object's namespace.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = &'a str>,
        own: &Name,
        default: &Visibility,
    ) -> Visibility {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_some() {
            return Self::of(&mut entries, own);
        }
        match default {
            Visibility::Namespaces(list) => Self::of(&mut list.iter().map(|n| &**n), own),
            other => other.clone(),
        }
    }

    fn of(entries: &mut dyn Iterator<Item = &str>, own: &Name) -> Visibility {
        let mut namespaces = Vec::new();
        let mut none = false;
        for entry in entries {
            match entry {
                "*" => return Visibility::Public,
                "~" => none = true,
                "." => namespaces.push(own.clone()),
                name => namespaces.push(name.into()),
            }
        }
        if none && namespaces.is_empty() {
            return Visibility::None;
        }
        namespaces.sort();
        namespaces.dedup();
        Visibility::Namespaces(namespaces)
    }

    /// Whether a proxy in `namespace` sees the object.
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Visibility::Public => true,
            Visibility::None => false,
            Visibility::Namespaces(list) => list.iter().any(|n| &**n == namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_of_own_namespace_means_that_of_each_object() {
        let own: Name = "shop".into();
        let default = Visibility::from_entries(["."], &".".into(), &Visibility::Public);
        let check = |entries: &[&str], expected| {
            assert_eq!(Visibility::from_entries(entries.iter().copied(), &own, &default), expected, "{entries:?}");
        };
        check(&[], Visibility::Namespaces(vec![own.clone()]));
        check(&["*"], Visibility::Public);
        check(&["~"], Visibility::None);
        check(&["b", ".", "b"], Visibility::Namespaces(vec!["b".into(), own.clone()]));
    }
}
