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

/// Whether a state-of-the-world response of this type always holds everything,
/// so that what is missing is removed. Only Listener and Cluster are like that;
/// the others are watched by name and a response may hold any part.
///
/// Source: the xDS protocol's "Grouping Resources into Responses".
pub(crate) fn is_full_state(type_url: &str) -> bool {
    matches!(type_url, types::LISTENER | types::CLUSTER)
}

/// Whether an empty list of names in the first request means everything.
/// It does for all types but those that are watched by name.
pub(crate) fn empty_means_all(type_url: &str) -> bool {
    !matches!(type_url, types::ENDPOINT | types::ROUTE | types::SECRET | types::EXTENSION_CONFIG)
}
