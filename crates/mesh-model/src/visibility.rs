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
        let mut namespaces = Vec::new();
        let (mut any, mut none) = (false, false);
        for entry in entries {
            any = true;
            match entry {
                "*" => return Visibility::Public,
                "~" => none = true,
                "." => namespaces.push(own.clone()),
                name => namespaces.push(name.into()),
            }
        }
        if !any {
            return match default {
                Visibility::Namespaces(list) => {
                    Visibility::from_entries(list.iter().map(|n| &**n), own, &Visibility::Public)
                }
                other => other.clone(),
            };
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
