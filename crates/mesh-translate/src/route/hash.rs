//! What of a request is hashed, where a DestinationRule asks that like requests
//! go to the same endpoint.
//!
//! Source: `ConsistentHashToHashPolicy`, istio
//! `pilot/pkg/networking/core/route/route.go`.

use mesh_model::rules::destination_rule::{Algorithm, ConsistentHash, Cookie, HashKey};
use mesh_proto::envoy::config::route::v3::RouteAction;
use mesh_proto::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie as CookiePolicy, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use mesh_proto::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};

use crate::destination::Destination;
use crate::scope;
use crate::xds;

/// Adds to `action` what the rules of its clusters want hashed. A request that
/// belongs to one endpoint is not led away from it by a retry, unless the
/// route asks for that (`avoid`).
pub(super) fn apply(action: &mut RouteAction, scope: &scope::Outbound, avoid: bool) {
    let names: Vec<&str> = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![name],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters.iter().map(|c| &*c.name).collect(),
        _ => return,
    };
    let hashes: Vec<&ConsistentHash> = names.iter().filter_map(|name| of_cluster(scope, name)).collect();
    let only = names.len() == 1 && !hashes.is_empty();
    let policies: Vec<HashPolicy> = hashes.iter().filter_map(|hash| hash.key.as_ref()).map(policy).collect();
    if let Some(retries) = action.retry_policy.as_mut().filter(|_| only && !avoid) {
        retries.retry_host_predicate.clear();
    }
    for policy in policies {
        if !action.hash_policy.contains(&policy) {
            action.hash_policy.push(policy);
        }
    }
}

/// How the endpoints of an outbound cluster are hashed to.
fn of_cluster<'a>(scope: &'a scope::Outbound, name: &str) -> Option<&'a ConsistentHash> {
    let (port, subset, host) = xds::parts_of_outbound(name)?;
    let visible = scope.visible.service(&host.into())?;
    let destination = Destination(&visible.rules);
    let subset = match subset {
        "" => None,
        subset => Some(destination.subset(subset)?),
    };
    match &destination.policy(subset, port).load_balancer?.algorithm {
        Algorithm::ConsistentHash(hash) => Some(hash),
        _ => None,
    }
}

fn policy(key: &HashKey) -> HashPolicy {
    let specifier = match key {
        HashKey::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.to_string(), ..Default::default() })
        }
        HashKey::Cookie(cookie) => PolicySpecifier::Cookie(cookie_policy(cookie)),
        HashKey::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() }),
    };
    HashPolicy { policy_specifier: Some(specifier), ..Default::default() }
}

fn cookie_policy(cookie: &Cookie) -> CookiePolicy {
    let attribute = |(name, value): &(mesh_model::Name, mesh_model::Name)| CookieAttribute {
        name: name.to_string(),
        value: value.to_string(),
    };
    CookiePolicy {
        name: cookie.name.to_string(),
        path: cookie.path.to_string(),
        ttl: cookie.ttl.and_then(xds::duration),
        attributes: cookie.attributes.iter().map(attribute).collect(),
    }
}
