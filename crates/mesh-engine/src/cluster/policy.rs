//! Load-balancing policy, circuit breakers and panic: how a cluster's hosts
//! may be used.

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::load_balancing_policies as lb;

use super::{LbPolicy, RetryBudget, SlowStart, Thresholds};
use crate::cluster::hashing;
use crate::error::{At, ConfigError};
use crate::parse::{self, honour};
use crate::route::Priority;

/// A policy, and what its configuration says about localities.
pub(super) struct Policy {
    pub(super) policy: LbPolicy,
    pub(super) locality_weighted: bool,
    pub(super) fail_traffic_on_panic: bool,
    pub(super) slow_start: Option<SlowStart>,
}

/// Reads `load_balancing_policy`, else `lb_policy` with `lb_config`.
pub(super) fn policy(at: &At<'_>, proto: &xds::Cluster) -> Result<Policy, ConfigError> {
    use xds::cluster::{LbConfig, LbPolicy as P};
    if let Some(policies) = &proto.load_balancing_policy {
        return typed(&at.field("load_balancing_policy"), policies, false);
    }
    let field = at.field("lb_policy");
    let mut slow = None;
    let policy = match P::try_from(proto.lb_policy) {
        Ok(P::RoundRobin) => {
            if let Some(LbConfig::RoundRobinLbConfig(config)) = &proto.lb_config {
                slow = slow_start(&at.field("round_robin_lb_config"), config.slow_start_config.as_ref())?;
            }
            LbPolicy::RoundRobin
        }
        Ok(P::LeastRequest) => match &proto.lb_config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                let at = at.field("least_request_lb_config");
                slow = slow_start(&at, config.slow_start_config.as_ref())?;
                least_request(&at, config.choice_count, config.active_request_bias.as_ref())?
            }
            _ => least_request(at, None, None)?,
        },
        Ok(P::Random) => LbPolicy::Random,
        Ok(P::RingHash) => hashing::ring(at, proto)?,
        Ok(P::Maglev) => hashing::maglev(at, proto)?,
        Ok(P::ClusterProvided) => LbPolicy::ClusterProvided,
        Ok(P::LoadBalancingPolicyConfig) => return Err(at.field("load_balancing_policy").missing("a policy")),
        Err(_) => return Err(field.invalid(proto.lb_policy, SUPPORTED)),
    };
    Ok(Policy { policy, locality_weighted: false, fail_traffic_on_panic: false, slow_start: slow })
}

/// Reads the first policy of the list. Envoy takes the first it has; it has
/// all of those that this proxy has, so a later one must not be taken instead.
fn typed(at: &At<'_>, list: &xds::LoadBalancingPolicy, nested: bool) -> Result<Policy, ConfigError> {
    let first = list.policies.first().and_then(|p| p.typed_extension_config.as_ref());
    let extension = first.ok_or_else(|| at.field("policies").missing("at least one policy"))?;
    let at = at.index("policies", 0);
    let at = at.field("typed_extension_config");
    let any = extension.typed_config.as_ref().ok_or_else(|| at.field("typed_config").missing("a configuration"))?;
    let name = mesh_proto::any::message_name(&any.type_url);
    let mut slow = None;
    let (policy, locality) = match name.strip_prefix("envoy.extensions.load_balancing_policies.") {
        Some("round_robin.v3.RoundRobin") => {
            let proto: lb::round_robin::v3::RoundRobin = parse::unpack(&at, any)?;
            slow = typed_slow_start(&at, proto.slow_start_config.as_ref())?;
            (LbPolicy::RoundRobin, proto.locality_lb_config)
        }
        Some("least_request.v3.LeastRequest") => {
            let proto: lb::least_request::v3::LeastRequest = parse::unpack(&at, any)?;
            honour!(&at, &proto, lb::least_request::v3::LeastRequest =>
                honour [choice_count active_request_bias locality_lb_config slow_start_config]
                ignore []
                refuse [enable_full_scan selection_method]
            );
            slow = typed_slow_start(&at, proto.slow_start_config.as_ref())?;
            let policy = least_request(&at, proto.choice_count, proto.active_request_bias.as_ref())?;
            (policy, proto.locality_lb_config)
        }
        Some("random.v3.Random") => {
            let proto: lb::random::v3::Random = parse::unpack(&at, any)?;
            (LbPolicy::Random, proto.locality_lb_config)
        }
        Some("ring_hash.v3.RingHash") => {
            let (policy, locality_weighted) = hashing::typed_ring(&at, &parse::unpack(&at, any)?)?;
            return Ok(Policy { policy, locality_weighted, fail_traffic_on_panic: false, slow_start: None });
        }
        Some("maglev.v3.Maglev") => {
            let (policy, locality_weighted) = hashing::typed_maglev(&at, &parse::unpack(&at, any)?)?;
            return Ok(Policy { policy, locality_weighted, fail_traffic_on_panic: false, slow_start: None });
        }
        Some("cluster_provided.v3.ClusterProvided") => (LbPolicy::ClusterProvided, None),
        Some("wrr_locality.v3.WrrLocality") => {
            let proto: lb::wrr_locality::v3::WrrLocality = parse::unpack(&at, any)?;
            let child = proto.endpoint_picking_policy.unwrap_or_default();
            let at = at.field("endpoint_picking_policy");
            if nested {
                return Err(at.unsupported());
            }
            let inner = typed(&at, &child, true)?;
            return Ok(Policy { locality_weighted: true, ..inner });
        }
        _ => {
            return Err(at.unsupported_value(
                name,
                "RoundRobin, LeastRequest, Random, RingHash, Maglev, ClusterProvided or WrrLocality",
            ));
        }
    };
    let (locality_weighted, fail_traffic_on_panic) = typed_locality(&at.field("locality_lb_config"), locality)?;
    Ok(Policy { policy, locality_weighted, fail_traffic_on_panic, slow_start: slow })
}

fn typed_locality(at: &At<'_>, proto: Option<lb::common::v3::LocalityLbConfig>) -> Result<(bool, bool), ConfigError> {
    use lb::common::v3::locality_lb_config::{LocalityConfigSpecifier as S, ZoneAwareLbConfig};
    match proto.and_then(|p| p.locality_config_specifier) {
        None => Ok((false, false)),
        Some(S::LocalityWeightedLbConfig(_)) => Ok((true, false)),
        Some(S::ZoneAwareLbConfig(zone)) => {
            // Without a local cluster Envoy, too, does no zone-aware routing.
            honour!(&at.field("zone_aware_lb_config"), &zone, ZoneAwareLbConfig =>
                honour [fail_traffic_on_panic]
                ignore [routing_enabled min_cluster_size force_local_zone locality_basis]
                refuse [force_locality_direct_routing]
            );
            Ok((false, zone.fail_traffic_on_panic))
        }
    }
}

fn least_request(
    at: &At<'_>,
    choices: Option<mesh_proto::google::protobuf::UInt32Value>,
    bias: Option<&core::RuntimeDouble>,
) -> Result<LbPolicy, ConfigError> {
    let choices = choices.map_or(CHOICES_DEFAULT, |v| v.value);
    if choices < CHOICES_DEFAULT {
        return Err(at.field("choice_count").invalid(choices, "at least 2"));
    }
    let bias = bias.map_or(1.0, |b| b.default_value);
    if bias != 0.0 && bias != 1.0 {
        return Err(at.field("active_request_bias").unsupported_value(bias, "0 or 1"));
    }
    Ok(LbPolicy::LeastRequest { choices: choices.min(CHOICES_MAX), ignore_active: bias == 0.0 })
}

fn slow_start(at: &At<'_>, proto: Option<&xds::cluster::SlowStartConfig>) -> Result<Option<SlowStart>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    honour!(at, proto, xds::cluster::SlowStartConfig =>
        honour [slow_start_window aggression min_weight_percent]
        ignore []
        refuse []
    );
    slow_start_of(
        &at.field("slow_start_config"),
        proto.slow_start_window.as_ref(),
        proto.aggression.as_ref(),
        proto.min_weight_percent.as_ref(),
    )
}

fn typed_slow_start(
    at: &At<'_>,
    proto: Option<&lb::common::v3::SlowStartConfig>,
) -> Result<Option<SlowStart>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    slow_start_of(
        &at.field("slow_start_config"),
        proto.slow_start_window.as_ref(),
        proto.aggression.as_ref(),
        proto.min_weight_percent.as_ref(),
    )
}

fn slow_start_of(
    at: &At<'_>,
    window: Option<&mesh_proto::google::protobuf::Duration>,
    aggression: Option<&core::RuntimeDouble>,
    least: Option<&mesh_proto::envoy::r#type::v3::Percent>,
) -> Result<Option<SlowStart>, ConfigError> {
    let Some(window) = parse::duration(at, "slow_start_window", window)?.filter(|w| !w.is_zero()) else {
        return Ok(None);
    };
    let aggression = aggression.map_or(1.0, |a| a.default_value);
    if aggression.is_nan() || aggression <= 0.0 {
        return Err(at.field("aggression").invalid(aggression, "greater than 0"));
    }
    let min_weight_percent = least.map_or(SLOW_START_PERCENT_DEFAULT, |p| p.value);
    if !(0.0..=100.0).contains(&min_weight_percent) {
        return Err(at.field("min_weight_percent").invalid(min_weight_percent, "0 to 100"));
    }
    Ok(Some(SlowStart { window, aggression, min_weight_percent }))
}

/// Panic threshold in percent, whether traffic fails in panic, whether
/// localities are weighted, whether connections close on host changes.
pub(super) fn common_lb(
    at: &At<'_>,
    proto: Option<&xds::cluster::CommonLbConfig>,
) -> Result<(f64, bool, bool, bool), ConfigError> {
    use xds::cluster::CommonLbConfig;
    use xds::cluster::common_lb_config::LocalityConfigSpecifier as S;
    let Some(proto) = proto else { return Ok((PANIC_DEFAULT, false, false, false)) };
    honour!(at, proto, CommonLbConfig =>
        honour [healthy_panic_threshold close_connections_on_host_set_change locality_config_specifier]
        // How updates are batched; active health checks and stateful sessions, which are refused where they are
        // asked for. Consistent hashing is read with its policy.
        ignore [update_merge_window ignore_new_hosts_until_first_hc consistent_hashing_lb_config override_host_status]
        refuse []
    );
    let threshold = proto.healthy_panic_threshold.as_ref().map_or(PANIC_DEFAULT, |p| p.value);
    if !(0.0..=100.0).contains(&threshold) {
        return Err(at.field("healthy_panic_threshold").invalid(threshold, "0 to 100"));
    }
    let (fails, weighted) = match &proto.locality_config_specifier {
        None => (false, false),
        // Without a local cluster Envoy, too, does no zone-aware routing.
        Some(S::ZoneAwareLbConfig(zone)) => (zone.fail_traffic_on_panic, false),
        Some(S::LocalityWeightedLbConfig(_)) => (false, true),
    };
    Ok((threshold, fails, weighted, proto.close_connections_on_host_set_change))
}

/// Circuit breakers of default and high priority. The first of several for one
/// priority counts, as in Envoy.
pub(super) fn thresholds(at: &At<'_>, proto: Option<&xds::CircuitBreakers>) -> Result<[Thresholds; 2], ConfigError> {
    let mut found: [Option<Thresholds>; 2] = [None, None];
    let empty = xds::CircuitBreakers::default();
    let proto = proto.unwrap_or(&empty);
    parse::refuse_if_set(at, "per_host_thresholds", &proto.per_host_thresholds)?;
    for (i, one) in proto.thresholds.iter().enumerate() {
        let at = at.index("thresholds", i);
        let priority = match one.priority {
            0 => Priority::Default,
            1 => Priority::High,
            other => return Err(at.field("priority").invalid(other, "DEFAULT or HIGH")),
        };
        let parsed = threshold(&at, one)?;
        found[priority as usize].get_or_insert(parsed);
    }
    Ok(found.map(Option::unwrap_or_default))
}

fn threshold(at: &At<'_>, proto: &xds::circuit_breakers::Thresholds) -> Result<Thresholds, ConfigError> {
    use xds::circuit_breakers::thresholds::RetryBudget as Budget;
    honour!(at, proto, xds::circuit_breakers::Thresholds =>
        honour [priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining]
        ignore []
        refuse [max_connection_pools]
    );
    let default = Thresholds::default();
    let retry_budget = match &proto.retry_budget {
        None => None,
        Some(budget) => {
            let at = at.field("retry_budget");
            honour!(&at, budget, Budget =>
                honour [budget_percent min_retry_concurrency budget_interval]
                ignore []
                refuse []
            );
            let interval = parse::duration(&at, "budget_interval", budget.budget_interval.as_ref())?;
            let percent = budget.budget_percent.as_ref().map_or(BUDGET_PERCENT_DEFAULT, |p| p.value);
            if !(0.0..=100.0).contains(&percent) {
                return Err(at.field("budget_percent").invalid(percent, "0 to 100"));
            }
            let least = parse::u32_or(budget.min_retry_concurrency.as_ref(), BUDGET_MIN_DEFAULT);
            Some(RetryBudget { percent, min_concurrency: least, interval: interval.unwrap_or_default() })
        }
    };
    Ok(Thresholds {
        max_connections: parse::u32_or(proto.max_connections.as_ref(), default.max_connections),
        max_pending_requests: parse::u32_or(proto.max_pending_requests.as_ref(), default.max_pending_requests),
        max_requests: parse::u32_or(proto.max_requests.as_ref(), default.max_requests),
        max_retries: parse::u32_or(proto.max_retries.as_ref(), default.max_retries),
        retry_budget,
        track_remaining: proto.track_remaining,
    })
}

const SUPPORTED: &str = "ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV or CLUSTER_PROVIDED";
const SLOW_START_PERCENT_DEFAULT: f64 = 10.0;
const CHOICES_DEFAULT: u32 = 2;
/// More draws than this find nothing better, and the count must be bounded.
const CHOICES_MAX: u32 = 64;
const PANIC_DEFAULT: f64 = 50.0;
const BUDGET_PERCENT_DEFAULT: f64 = 20.0;
const BUDGET_MIN_DEFAULT: u32 = 3;
