//! How a cluster's endpoints are chosen.
//!
//! Source: `applyLoadBalancer`, istio
//! `pilot/pkg/networking/core/cluster_traffic_policy.go`.

use mesh_model::rules::destination_rule::{Algorithm, ConsistentHash, HashAlgorithm, LoadBalancer, Warmup};
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use mesh_proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use mesh_proto::envoy::config::core::v3::RuntimeDouble;
use mesh_proto::envoy::r#type::v3::Percent;
use mesh_proto::google::protobuf::UInt64Value;

use crate::place::Nearness;
use crate::proxy::Generator;
use crate::xds;

/// Sets the policy and its options.
pub(super) fn apply(cluster: &mut api::Cluster, balancer: Option<&LoadBalancer>, generator: Generator) {
    let default = LoadBalancer::default();
    let balancer = balancer.unwrap_or(&default);
    let (policy, config) = match generator {
        Generator::Grpc => for_grpc(balancer),
        _ => for_proxy(balancer),
    };
    cluster.lb_policy = policy as i32;
    cluster.lb_config = config;
}

fn for_proxy(balancer: &LoadBalancer) -> (LbPolicy, Option<LbConfig>) {
    let slow_start = balancer.warmup.as_ref().map(slow_start);
    match &balancer.algorithm {
        Algorithm::LeastRequest => {
            let config = LeastRequestLbConfig { slow_start_config: slow_start, ..Default::default() };
            (
                LbPolicy::LeastRequest,
                config.slow_start_config.is_some().then_some(LbConfig::LeastRequestLbConfig(config)),
            )
        }
        Algorithm::RoundRobin => {
            let config = RoundRobinLbConfig { slow_start_config: slow_start };
            (LbPolicy::RoundRobin, config.slow_start_config.is_some().then_some(LbConfig::RoundRobinLbConfig(config)))
        }
        Algorithm::Random => (LbPolicy::Random, None),
        // Where the client's address cannot be kept, there is nothing to keep
        // but Istio's default.
        Algorithm::Passthrough => (LbPolicy::LeastRequest, None),
        Algorithm::ConsistentHash(ConsistentHash { algorithm: HashAlgorithm::Maglev(size), .. }) => {
            let config = MaglevLbConfig { table_size: Some(UInt64Value { value: *size }) };
            (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config)))
        }
        Algorithm::ConsistentHash(ConsistentHash { algorithm: HashAlgorithm::RingHash(minimum), .. }) => {
            (LbPolicy::RingHash, Some(ring(*minimum)))
        }
    }
}

/// gRPC's libraries refuse a cluster with a policy that they lack; see
/// [`super::reports`] for what is said to the author.
fn for_grpc(balancer: &LoadBalancer) -> (LbPolicy, Option<LbConfig>) {
    match &balancer.algorithm {
        Algorithm::ConsistentHash(hash) => {
            let minimum = match hash.algorithm {
                HashAlgorithm::RingHash(minimum) => minimum,
                HashAlgorithm::Maglev(_) => None,
            };
            (LbPolicy::RingHash, Some(ring(minimum)))
        }
        _ => (LbPolicy::RoundRobin, None),
    }
}

fn ring(minimum: Option<u64>) -> LbConfig {
    let value = minimum.unwrap_or(RING_SIZE_DEFAULT);
    LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: Some(UInt64Value { value }),
        ..Default::default()
    })
}

/// The older of the two fields says nothing of percent and aggression, and
/// leaves them to the proxy, which has the same defaults.
fn slow_start(warmup: &Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: xds::duration(warmup.duration),
        aggression: Some(RuntimeDouble {
            default_value: warmup.aggression.unwrap_or(AGGRESSION_DEFAULT),
            runtime_key: AGGRESSION_KEY.to_owned(),
        }),
        min_weight_percent: Some(Percent { value: warmup.minimum_percent.unwrap_or(MINIMUM_PERCENT_DEFAULT) }),
    }
}

/// How the proxy takes the groups of endpoints that it is given.
pub(super) fn apply_nearness(cluster: &mut api::Cluster, nearness: Option<&Nearness>) {
    let specifier = match nearness {
        Some(nearness) if nearness.is_weighted() => {
            LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})
        }
        Some(Nearness::Zones(zones)) => LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled: (!zones.enabled).then_some(Percent { value: 0.0 }),
            min_cluster_size: zones.min_cluster_size.map(|size| UInt64Value { value: u64::from(size) }),
            ..Default::default()
        }),
        _ => return,
    };
    cluster.common_lb_config.get_or_insert_default().locality_config_specifier = Some(specifier);
}

const RING_SIZE_DEFAULT: u64 = 1024;
const MINIMUM_PERCENT_DEFAULT: f64 = 10.0;
const AGGRESSION_DEFAULT: f64 = 1.0;
/// A proxy's operator may set it at run time.
const AGGRESSION_KEY: &str = "upstream.slow_start.aggression";
