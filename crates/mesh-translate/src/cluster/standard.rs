//! The clusters that every sidecar has.

use mesh_model::rules::MeshConfig;
use mesh_model::rules::destination_rule::Effective;
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use mesh_proto::envoy::config::core::v3::{BindConfig, ExtraSourceAddress};
use mesh_proto::resource::Resource;

use super::policy::{self, Upstream, Version};
use crate::scope::Families;
use crate::xds;

/// `PassthroughCluster`, `BlackHoleCluster`, and for captured proxies
/// `InboundPassthroughCluster`.
pub(crate) fn standard(mesh: &MeshConfig, families: Families, captured: bool) -> Vec<Resource> {
    let mut clusters = vec![
        original_destination(xds::PASSTHROUGH, mesh, None),
        api::Cluster {
            name: xds::BLACK_HOLE.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
            connect_timeout: xds::duration(mesh.connect_timeout),
            ..Default::default()
        },
    ];
    if captured {
        clusters.push(original_destination(xds::INBOUND_PASSTHROUGH, mesh, Some(own_source(families))));
    }
    clusters.iter().map(|c| Resource::new(c.name.as_str(), c)).collect()
}

fn original_destination(name: &str, mesh: &MeshConfig, bind: Option<BindConfig>) -> api::Cluster {
    let mut cluster = api::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        upstream_bind_config: bind,
        ..Default::default()
    };
    policy::apply_pool(&mut cluster, &Effective::default(), Upstream::new(mesh, Some(Version::Downstream)));
    cluster.lb_policy = LbPolicy::ClusterProvided as i32;
    cluster
}

/// The address that a sidecar calls its own application from. Capture rules
/// let connections from it pass; from any other they would come back.
pub(super) fn own_source(families: Families) -> BindConfig {
    let extra = ExtraSourceAddress { address: Some(xds::socket_address(SOURCE_V6, 0)), socket_options: None };
    BindConfig {
        source_address: Some(xds::socket_address(if families.v4 { SOURCE_V4 } else { SOURCE_V6 }, 0)),
        extra_source_addresses: Vec::from_iter((families.v4 && families.v6).then_some(extra)),
        ..Default::default()
    }
}

const SOURCE_V4: &str = "127.0.0.6";
const SOURCE_V6: &str = "::6";
