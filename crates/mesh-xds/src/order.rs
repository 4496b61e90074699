//! The order of types on a stream, and which types refer to which.
//!
//! Additions flow from what is referred to towards what refers to it (CDS,
//! EDS, LDS, RDS, SDS, ECDS); removals wait until those that may refer to the
//! removed resource have settled.

use mesh_proto::types;

/// Position in the push order. Types without one come last, all alike.
pub(crate) fn rank(type_url: &str) -> usize {
    types::PUSH_ORDER.iter().position(|t| *t == type_url).unwrap_or(types::PUSH_ORDER.len())
}

/// Whether the type has a place in the push order.
pub(crate) fn is_ordered(type_url: &str) -> bool {
    rank(type_url) < types::PUSH_ORDER.len()
}

/// The types whose resources name resources of `type_url`. A removal of
/// `type_url` must not reach a proxy before their changes have.
pub(crate) fn referrers(type_url: &str) -> &'static [&'static str] {
    match type_url {
        types::CLUSTER => &[types::LISTENER, types::ROUTE],
        types::ENDPOINT => &[types::CLUSTER],
        types::ROUTE | types::EXTENSION_CONFIG => &[types::LISTENER],
        types::SECRET => &[types::CLUSTER, types::LISTENER],
        _ => &[],
    }
}

/// Whether resources of this type are watched by name: a state-of-the-world
/// response may then hold any part of them, says nothing about the others, and
/// an empty list of names asks for none. Of all other types a response holds
/// everything, what is missing is removed, and an empty list of names in the
/// first request asks for everything.
///
/// Source: the xDS protocol, "Grouping Resources into Responses" and "How the
/// client specifies what resources to return".
pub(crate) fn is_by_name(type_url: &str) -> bool {
    matches!(type_url, types::ENDPOINT | types::ROUTE | types::SECRET | types::EXTENSION_CONFIG)
}

/// The name that asks for everything.
pub(crate) const WILDCARD: &str = "*";
