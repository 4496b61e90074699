//! Endpoints of clusters (EDS), grouped by where they run.

use mesh_model::{Address, Endpoint, EndpointSet, Health};
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::core::v3::HealthStatus;
use mesh_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mesh_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as ApiEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use mesh_proto::resource::Resource;

use crate::cluster::Assignment;
use crate::place::{Group, Nearness};
use crate::xds;

/// What becomes of an endpoint that is a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// It is resolved by the proxy.
    Resolved,
    /// It is left out: a proxy would refuse the whole assignment.
    LeftOut,
}

/// The assignments of one service's clusters; `set` is absent where it has no
/// endpoints.
pub(crate) fn assignments(wanted: &[Assignment], set: Option<&EndpointSet>) -> Vec<Resource> {
    let of = |wanted: &Assignment| {
        let endpoints = set.into_iter().flat_map(|s| s.of_port(&wanted.port_name));
        let chosen = endpoints.filter(|e| wanted.labels.selects(&e.labels));
        Resource::new(
            wanted.cluster.clone(),
            &assignment(&wanted.cluster, chosen, Names::LeftOut, wanted.nearness.as_deref()),
        )
    };
    wanted.iter().map(of).collect()
}

/// One assignment: a group per locality, sorted, each weighing as much as its
/// endpoints together, unless `nearness` says otherwise.
///
/// As Istio does by default, endpoints that are not ready or terminate are left
/// out, and draining ones are kept for the sessions they still have.
pub(crate) fn assignment<'a>(
    cluster: &str,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    names: Names,
    nearness: Option<&Nearness>,
) -> ClusterLoadAssignment {
    let usable = |endpoint: &&Endpoint| {
        let addressed = match endpoint.address {
            Address::Dns(_) => names == Names::Resolved,
            Address::Ip(_) | Address::Unix(_) => true,
        };
        addressed && matches!(endpoint.health, Health::Healthy | Health::Draining)
    };
    let groups = Nearness::arrange(nearness, endpoints.filter(usable));
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: groups.iter().map(group).collect(),
        ..Default::default()
    }
}

fn group(group: &Group<'_>) -> LocalityLbEndpoints {
    let locality = group.locality;
    LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: locality.region.to_string(),
            zone: locality.zone.to_string(),
            sub_zone: locality.subzone.to_string(),
        }),
        lb_endpoints: group.endpoints.iter().map(|e| lb_endpoint(e)).collect(),
        load_balancing_weight: xds::number(group.weight),
        priority: group.priority,
        ..Default::default()
    }
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let address = match &endpoint.address {
        Address::Ip(ip) => xds::socket(ip, endpoint.port),
        Address::Dns(name) => xds::socket(name, endpoint.port),
        Address::Unix(path) => xds::pipe(path),
    };
    LbEndpoint {
        health_status: match endpoint.health {
            Health::Draining => HealthStatus::Draining,
            _ => HealthStatus::Healthy,
        } as i32,
        metadata: xds::metadata(workload(endpoint), []),
        load_balancing_weight: xds::number(endpoint.weight.max(1)),
        host_identifier: Some(HostIdentifier::Endpoint(ApiEndpoint { address: Some(address), ..Default::default() })),
    }
}

/// Istio's `name;namespace;canonical name;canonical revision;cluster`.
fn workload(endpoint: &Endpoint) -> Vec<(&'static str, mesh_proto::google::protobuf::Value)> {
    if endpoint.workload.is_empty() {
        return Vec::new();
    }
    let label = |keys: &[&str]| keys.iter().find_map(|k| endpoint.labels.get(k)).unwrap_or_default().to_owned();
    let canonical = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    let text = format!("{};{};{canonical};{revision};Kubernetes", endpoint.workload, endpoint.namespace);
    vec![("workload", xds::text(&text))]
}
