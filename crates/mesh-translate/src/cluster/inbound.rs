//! Clusters that lead to a proxy's own application.

use mesh_model::rules::mesh_config::InboundTrafficPolicy;
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use mesh_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mesh_proto::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use mesh_proto::resource::Resource;

use super::policy::{self, Upstream};
use super::{described, standard};
use crate::destination::Destination;
use crate::scope::{Inbound, OwnPort};
use crate::xds;

/// One cluster per own port: of several services on it, the oldest shapes it.
///
/// A captured connection is sent on to the address it was made to, from
/// 127.0.0.6, so that the application may listen on the workload's address
/// alone. Under `inboundTrafficPolicy: LOCALHOST`, and without capture, it goes
/// to a fixed address instead.
pub(crate) fn inbound(scope: &Inbound) -> Vec<Resource> {
    let mut clusters: Vec<Resource> = Vec::new();
    for ports in scope.ports.chunk_by(|a, b| a.target == b.target) {
        let cluster = cluster(scope, ports);
        clusters.push(Resource::new(cluster.name.as_str(), &cluster));
    }
    clusters
}

fn cluster(scope: &Inbound, ports: &[OwnPort]) -> api::Cluster {
    let first = &ports[0];
    let destination = Destination(&first.rules);
    let services = ports.iter().map(|p| described(&p.service));
    let origins = ports.iter().map(|p| xds::origin(&p.service.meta)).chain(destination.origins(None));
    let mut cluster = api::Cluster {
        name: xds::inbound_cluster(first.target).to_string(),
        metadata: xds::metadata(vec![("services", xds::list(services))], origins),
        ..Default::default()
    };
    let version = first.service.port(first.number).and_then(policy::version);
    let settings = destination.policy(None, first.number);
    policy::apply_pool(&mut cluster, &settings, Upstream::new(&scope.mesh, version));
    let discovery = match fixed_address(scope) {
        Some(address) => {
            cluster.load_assignment = Some(at(&cluster.name, address, first.target));
            DiscoveryType::Static
        }
        None => {
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
            cluster.upstream_bind_config = Some(standard::own_source(scope.families));
            DiscoveryType::OriginalDst
        }
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery as i32));
    cluster
}

fn fixed_address(scope: &Inbound) -> Option<String> {
    if let Some(bound) = &scope.bound {
        return Some(bound.application.to_string());
    }
    let localhost = scope.mesh.inbound_traffic_policy == InboundTrafficPolicy::Localhost;
    localhost.then(|| if scope.families.v4 { "127.0.0.1" } else { "::1" }.to_owned())
}

fn at(cluster: &str, address: String, port: u16) -> ClusterLoadAssignment {
    let endpoint = Endpoint { address: Some(xds::socket(address, port)), ..Default::default() };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
