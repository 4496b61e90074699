//! Host names, exact and with a wildcard in front.

use std::fmt;
use std::sync::Arc;

/// A lower-case DNS name, or one whose first label is `*`, or `*` itself.
/// Trailing dots are removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Lower-cases `text` and drops one trailing dot. What a valid host is, is
    /// the parser's concern; any text makes a `Hostname`.
    pub fn new(text: &str) -> Self {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Self(text.to_ascii_lowercase().into())
        } else {
            Self(text.into())
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn name(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Whether it begins with `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether every name that `other` stands for is also one of this one's:
    /// `*.com` covers `a.com` and `*.a.com`; `a.com` covers only itself.
    ///
    /// Source: `Name.SubsetOf`, istio `pkg/config/host/name.go`.
    pub fn covers(&self, other: &Hostname) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => {
                let other = other.0.strip_prefix('*').unwrap_or(&other.0);
                other.len() >= suffix.len() && other.ends_with(suffix)
            }
            None => self == other,
        }
    }

    /// Whether some name is meant by both.
    ///
    /// Source: `Name.Matches`, istio `pkg/config/host/name.go`.
    pub fn overlaps(&self, other: &Hostname) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Sorts the most specific first: exact before wildcard, longer before
    /// shorter, then alphabetically.
    pub fn specificity(&self) -> (bool, std::cmp::Reverse<usize>, &str) {
        (self.is_wildcard(), std::cmp::Reverse(self.0.len()), &self.0)
    }

    /// A short name (`reviews`, without a dot) is meant in `namespace`; every
    /// other name stands for itself.
    ///
    /// Source: `ResolveShortnameToFQDN`, istio `pkg/config/resource`.
    pub fn resolve(text: &str, namespace: &str, domain: &str) -> Self {
        if text.is_empty() || text.contains('.') || text.starts_with('*') {
            return Self::new(text);
        }
        Self::new(&format!("{text}.{namespace}.svc.{domain}"))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Hostname {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, covers: bool, overlaps: bool) {
        let (a, b) = (Hostname::new(a), Hostname::new(b));
        assert_eq!((a.covers(&b), a.overlaps(&b)), (covers, overlaps), "{a} and {b}");
    }

    #[test]
    fn a_wildcard_covers_what_ends_like_it() {
        check("*", "a.b", true, true);
        check("*.com", "a.com", true, true);
        check("*.com", "*.a.com", true, true);
        check("*.a.com", "*.com", false, true);
        check("*.com", "com", false, false);
        check("A.com.", "a.COM", true, true);
        check("a.com", "b.com", false, false);
    }

    #[test]
    fn only_a_name_without_a_dot_is_short() {
        let resolve = |t| Hostname::resolve(t, "shop", "cluster.local").to_string();
        assert_eq!(resolve("reviews"), "reviews.shop.svc.cluster.local");
        assert_eq!(resolve("reviews.other"), "reviews.other");
        assert_eq!(resolve("*"), "*");
    }
}
