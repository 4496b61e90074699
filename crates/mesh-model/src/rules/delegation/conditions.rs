//! The conditions of a root's route and of its delegate's, together.
//!
//! A delegate may narrow what it is given, not widen it: its condition on a
//! part of the request must lie within the root's on the same part. Regular
//! expressions cannot be compared and so contradict everything.

use crate::Name;
use crate::rules::virtual_service::{HttpMatch, StringMatch};

/// Every match of `leaf` with every one of `root` that it lies within. `None`
/// if some match of `leaf` lies within none.
pub(super) fn all(root: &[HttpMatch], leaf: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    match (root, leaf) {
        ([], only) | (only, []) => Some(only.to_vec()),
        _ => {
            let mut found = Vec::new();
            for leaf in leaf {
                let before = found.len();
                found.extend(root.iter().filter(|root| within(root, leaf)).map(|root| both(root, leaf)));
                if found.len() == before {
                    return None;
                }
            }
            Some(found)
        }
    }
}

/// `root-leaf`, or the one of them that is not empty.
pub(super) fn joined(root: &Name, leaf: &Name) -> Name {
    match (root.is_empty(), leaf.is_empty()) {
        (true, _) => leaf.clone(),
        (_, true) => root.clone(),
        _ => format!("{root}-{leaf}").into(),
    }
}

fn within(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let parts = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let of = |list: &'_ [(Name, StringMatch)], key: &Name| list.iter().position(|(k, _)| k == key);
    let keyed = |root: &[(Name, StringMatch)], leaf: &[(Name, StringMatch)]| {
        leaf.iter().all(|(key, value)| of(root, key).is_none_or(|at| narrows(&root[at].1, value)))
    };
    let claims = leaf.claims.iter().filter(|c| !c.without).all(|claim| {
        let same = root.claims.iter().find(|c| c.path == claim.path && !c.without);
        same.is_none_or(|root| narrows(&root.value, &claim.value))
    });
    parts.into_iter().all(|(root, leaf)| match (root, leaf) {
        (Some(root), Some(leaf)) => narrows(root, leaf),
        _ => true,
    }) && keyed(&root.headers, &leaf.headers)
        && keyed(&root.headers, &leaf.without_headers)
        && keyed(&root.query_params, &leaf.query_params)
        && claims
        && root.ignore_uri_case == leaf.ignore_uri_case
        && agree(root.port.as_ref(), leaf.port.as_ref())
        && agree(root.source_namespace.as_ref(), leaf.source_namespace.as_ref())
        && leaf.source_labels.iter().all(|(key, value)| root.source_labels.get(key).is_none_or(|v| v == value))
        && (root.gateways.is_empty() || leaf.gateways.iter().all(|g| root.gateways.contains(g)))
}

fn agree<T: PartialEq>(root: Option<&T>, leaf: Option<&T>) -> bool {
    root.is_none() || leaf.is_none() || root == leaf
}

/// Whether every string that `leaf` matches is one that `root` matches.
///
/// Source: `stringMatchConflict`, istio `pilot/pkg/model/virtualservice.go`.
fn narrows(root: &StringMatch, leaf: &StringMatch) -> bool {
    use StringMatch::{Exact, Prefix, Present};
    match (root, leaf) {
        (Present, _) => true,
        (Exact(root), Exact(leaf)) => root == leaf,
        (Prefix(root), Exact(leaf) | Prefix(leaf)) => leaf.starts_with(&**root),
        _ => false,
    }
}

fn both(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    HttpMatch {
        name: joined(&root.name, &leaf.name),
        uri: leaf.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: leaf.ignore_uri_case,
        scheme: leaf.scheme.clone().or_else(|| root.scheme.clone()),
        method: leaf.method.clone().or_else(|| root.method.clone()),
        authority: leaf.authority.clone().or_else(|| root.authority.clone()),
        headers: narrower(&root.headers, &leaf.headers),
        without_headers: union(&root.without_headers, &leaf.without_headers),
        claims: union(&root.claims, &leaf.claims),
        query_params: narrower(&root.query_params, &leaf.query_params),
        port: leaf.port.or(root.port),
        source_labels: root.source_labels.iter().chain(leaf.source_labels.iter()).collect(),
        source_namespace: leaf.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
    }
}

/// By key, the leaf's condition or else the root's; sorted.
fn narrower(root: &[(Name, StringMatch)], leaf: &[(Name, StringMatch)]) -> Vec<(Name, StringMatch)> {
    let rest = root.iter().filter(|(key, _)| !leaf.iter().any(|(k, _)| k == key));
    let mut found: Vec<_> = leaf.iter().chain(rest).cloned().collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn union<T: Clone + PartialEq>(root: &[T], leaf: &[T]) -> Vec<T> {
    root.iter().chain(leaf.iter().filter(|c| !root.contains(c))).cloned().collect()
}
