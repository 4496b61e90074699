#![allow(clippy::unwrap_used)]
use std::collections::HashMap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::endpoint::{Endpoint, Health, Locality, LocalityEndpoints};

mod consistent;
mod slow_start;

fn endpoint(last: u8, weight: u32, health: Health) -> Endpoint {
    let target = Target::Address(SocketAddr::from(([10, 0, 0, last], 80)));
    Endpoint { target, hostname: Arc::default(), weight, health, labels: Default::default(), origins: Vec::new() }
}

fn locality(zone: &str, priority: u32, weight: Option<u32>, endpoints: Vec<Endpoint>) -> LocalityEndpoints {
    LocalityEndpoints { locality: Locality { zone: zone.into(), ..Default::default() }, priority, weight, endpoints }
}

fn cluster(yaml: &str, localities: Vec<LocalityEndpoints>) -> Cluster {
    let config = ClusterConfig::parse(&mesh_proto::json::from_yaml(&format!("{{name: c, {yaml}}}")).unwrap()).unwrap();
    let cluster = Cluster::new(config);
    cluster.update_endpoints(&LoadAssignment { localities, ..Default::default() });
    cluster
}

fn one(policy: &str, endpoints: Vec<Endpoint>) -> Cluster {
    cluster(&format!("lb_policy: {policy}"), vec![locality("a", 0, None, endpoints)])
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(11)
}

fn last_byte(host: &Host) -> u8 {
    let SocketAddr::V4(address) = host.address else { unreachable!() };
    address.ip().octets()[3]
}

/// Picks by the last byte of the address.
fn picks(cluster: &Cluster, n: usize) -> HashMap<u8, usize> {
    let (mut rng, mut counts) = (rng(), HashMap::new());
    for _ in 0..n {
        let host = cluster.pick_endpoint(&PickContext::default(), &mut rng).unwrap();
        *counts.entry(last_byte(&host)).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_over_three_replicas_is_exact_with_several_workers() {
    let cluster = Arc::new(one("ROUND_ROBIN", (1..=3).map(|i| endpoint(i, 1, Health::Healthy)).collect()));
    let workers: Vec<_> = (0..4)
        .map(|seed| {
            let cluster = cluster.clone();
            std::thread::spawn(move || {
                let mut rng = SmallRng::seed_from_u64(seed);
                for _ in 0..750 {
                    drop(cluster.pick_endpoint(&PickContext::default(), &mut rng).unwrap().begin_request());
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
    for member in &cluster.hosts().members {
        assert_eq!(member.host.stats.rq_total.load(Ordering::Relaxed), 1000);
        assert_eq!(member.host.active(), 0);
    }
}

#[test]
fn weighted_round_robin_is_exact_over_a_cycle_and_smooth_inside_it() {
    let cluster = one(
        "ROUND_ROBIN",
        vec![endpoint(1, 5, Health::Healthy), endpoint(2, 1, Health::Healthy), endpoint(3, 1, Health::Healthy)],
    );
    assert_eq!(picks(&cluster, 700), HashMap::from([(1, 500), (2, 100), (3, 100)]));
    assert_eq!(picks(&cluster, 7)[&1], 5);
}

#[test]
fn weights_far_apart_keep_their_shares() {
    let cluster = one("ROUND_ROBIN", vec![endpoint(1, 100_003, Health::Healthy), endpoint(2, 50_021, Health::Healthy)]);
    let counts = picks(&cluster, 150_000);
    assert!((counts[&1] as f64 / 150_000.0 - 100_003.0 / 150_024.0).abs() < 0.001, "{counts:?}");
}

#[test]
fn least_request_prefers_the_idle_host() {
    let cluster = one("LEAST_REQUEST", vec![endpoint(1, 1, Health::Healthy), endpoint(2, 1, Health::Healthy)]);
    let _busy = cluster.hosts().members[0].host.begin_request();
    assert_eq!(picks(&cluster, 100), HashMap::from([(2, 100)]));
}

#[test]
fn random_and_least_request_follow_weights_when_idle() {
    for policy in ["RANDOM", "LEAST_REQUEST"] {
        let cluster = one(policy, vec![endpoint(1, 3, Health::Healthy), endpoint(2, 1, Health::Healthy)]);
        let share = picks(&cluster, 20_000)[&1] as f64 / 20_000.0;
        assert!((share - 0.75).abs() < 0.02, "{policy}: {share}");
    }
}

#[test]
fn traffic_spills_over_when_too_few_of_a_priority_are_healthy() {
    let health = |i| if i <= 5 { Health::Healthy } else { Health::Unhealthy };
    let first = (1..=10).map(|i| endpoint(i, 1, health(i))).collect();
    let second = (11..=15).map(|i| endpoint(i, 1, Health::Healthy)).collect();
    let cluster = cluster("lb_policy: RANDOM", vec![locality("a", 0, None, first), locality("b", 1, None, second)]);
    assert_eq!(cluster.hosts().load.healthy, [70, 30], "1.4 times a half is 70%");
    let counts = picks(&cluster, 10_000);
    assert!((6..=10).all(|i| !counts.contains_key(&i)));
}

#[test]
fn degraded_hosts_get_what_healthy_ones_cannot_take() {
    let cluster = one(
        "RANDOM",
        vec![
            endpoint(1, 1, Health::Healthy),
            endpoint(2, 1, Health::Degraded),
            endpoint(3, 1, Health::Unhealthy),
            endpoint(4, 1, Health::Unhealthy),
        ],
    );
    let load = cluster.hosts().load.clone();
    assert_eq!((load.healthy, load.degraded), (vec![50], vec![50]));
    assert_eq!(picks(&cluster, 1000).len(), 2);
}

#[test]
fn in_panic_all_hosts_are_used_unless_that_is_switched_off() {
    let hosts = || {
        (1..=4).map(|i| endpoint(i, 1, if i == 1 { Health::Healthy } else { Health::Unhealthy })).collect::<Vec<_>>()
    };
    assert_eq!(picks(&one("RANDOM", hosts()), 1000).len(), 4);
    let strict =
        cluster("common_lb_config: {healthy_panic_threshold: {value: 0}}", vec![locality("a", 0, None, hosts())]);
    assert_eq!(picks(&strict, 100), HashMap::from([(1, 100)]));
    let fails = cluster(
        "common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}",
        vec![locality("a", 0, None, hosts())],
    );
    assert_eq!(fails.pick_endpoint(&PickContext::default(), &mut rng()).unwrap_err(), PickError::NoHealthyHost);
}

#[test]
fn localities_take_turns_by_weight_and_health() {
    let yaml = "common_lb_config: {locality_weighted_lb_config: {}}";
    let a = (1..=2).map(|i| endpoint(i, 1, Health::Healthy)).collect();
    let b = vec![endpoint(3, 1, Health::Healthy)];
    let unweighted = vec![endpoint(4, 1, Health::Healthy)];
    let cluster = cluster(
        yaml,
        vec![locality("a", 0, Some(1), a), locality("b", 0, Some(3), b), locality("c", 0, None, unweighted)],
    );
    assert_eq!(picks(&cluster, 800), HashMap::from([(1, 100), (2, 100), (3, 600)]));
    assert_eq!(cluster.hosts().probabilities(), [0.125, 0.125, 0.75, 0.0]);
}

#[test]
fn hosts_that_remain_keep_their_counters() {
    let cluster = one("ROUND_ROBIN", vec![endpoint(1, 1, Health::Healthy), endpoint(2, 1, Health::Healthy)]);
    let flight = cluster.hosts().members[1].host.begin_request();
    let next = LoadAssignment {
        localities: vec![locality("z", 0, None, vec![endpoint(2, 7, Health::Healthy)])],
        ..Default::default()
    };
    cluster.update_endpoints(&next);
    let member = cluster.hosts().members[0].clone();
    assert!(Arc::ptr_eq(&member.host, flight.host()));
    assert_eq!((member.host.active(), member.weight), (1, 7));
}

#[test]
fn a_retry_avoids_the_host_of_the_first_try() {
    let cluster = one("ROUND_ROBIN", vec![endpoint(1, 1, Health::Healthy), endpoint(2, 1, Health::Healthy)]);
    let previous = [cluster.hosts().members[0].host.clone()];
    for _ in 0..10 {
        let context = PickContext { previous: &previous, avoid_attempts: 3, ..Default::default() };
        assert_eq!(
            cluster.pick_endpoint(&context, &mut rng()).unwrap().address,
            cluster.hosts().members[1].host.address
        );
    }
}

#[test]
fn an_original_destination_is_its_own_host_until_it_is_swept() {
    let cluster = cluster("type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, cleanup_interval: 1s", Vec::new());
    let mut rng = rng();
    assert_eq!(cluster.pick_endpoint(&PickContext::default(), &mut rng).unwrap_err(), PickError::NoOriginalDestination);
    let context = PickContext { original_dst: Some("1.2.3.4:5".parse().unwrap()), ..Default::default() };
    let host = cluster.pick_endpoint(&context, &mut rng).unwrap();
    assert!(Arc::ptr_eq(&host, &cluster.pick_endpoint(&context, &mut rng).unwrap()));
    let now = Instant::now();
    for seconds in [0, 1, 2] {
        cluster.tick(now + std::time::Duration::from_secs(seconds), &mut rng);
    }
    assert!(cluster.original_hosts().is_empty());
}

#[test]
fn a_circuit_breaker_admits_up_to_its_limit_and_counts_down_when_permits_drop() {
    let cluster = cluster(
        "circuit_breakers: {thresholds: [{max_requests: 2, retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 1}}]}",
        Vec::new(),
    );
    let now = Instant::now();
    let admit = || cluster.admit(Resource::Requests, Priority::Default, now);
    let first = admit().unwrap();
    let _second = admit().unwrap();
    assert_eq!(admit().unwrap_err(), Overflow { resource: Resource::Requests });
    assert!(cluster.admit(Resource::Requests, Priority::High, now).is_ok());
    let _retry = cluster.admit(Resource::Retries, Priority::Default, now).unwrap();
    assert!(cluster.admit(Resource::Retries, Priority::Default, now).is_err(), "half of two requests");
    drop(first);
    assert!(admit().is_ok());
}

#[test]
fn a_retry_budget_with_an_interval_counts_requests_that_are_over() {
    let yaml = "circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 1, budget_interval: 1s}}]}";
    let cluster = cluster(yaml, Vec::new());
    let now = Instant::now();
    for _ in 0..8 {
        drop(cluster.admit(Resource::Requests, Priority::Default, now).unwrap());
    }
    let allowed = |after: u64| {
        let now = now + std::time::Duration::from_millis(after);
        std::iter::from_fn(|| cluster.admit(Resource::Retries, Priority::Default, now).ok())
            .take(99)
            .collect::<Vec<_>>()
            .len()
    };
    assert_eq!([allowed(0), allowed(900), allowed(1100)], [4, 4, 1]);
}

#[test]
fn a_share_of_requests_is_dropped_if_the_endpoints_say_so() {
    let cluster = one("ROUND_ROBIN", vec![endpoint(1, 1, Health::Healthy)]);
    let assignment = LoadAssignment {
        drop_overloads: vec![("throttle".into(), 250_000)],
        localities: vec![locality("a", 0, None, vec![endpoint(1, 1, Health::Healthy)])],
        ..Default::default()
    };
    cluster.update_endpoints(&assignment);
    let mut rng = rng();
    let dropped = (0..10_000).filter(|_| cluster.pick_endpoint(&PickContext::default(), &mut rng).is_err()).count();
    assert!((2_200..2_800).contains(&dropped), "{dropped}");
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![4 => Just(Health::Healthy), 1 => Just(Health::Unhealthy), 1 => Just(Health::Degraded), 1 => Just(Health::Draining)]
}

fn localities() -> impl Strategy<Value = Vec<LocalityEndpoints>> {
    let host = (1u32..20, health());
    let group = (0u32..3, proptest::option::of(1u32..10), proptest::collection::vec(host, 0..6));
    proptest::collection::vec(group, 1..4).prop_map(|groups| {
        let mut last = 0;
        let mut make = |hosts: Vec<(u32, Health)>| -> Vec<Endpoint> {
            hosts
                .into_iter()
                .map(|(weight, health)| {
                    last += 1;
                    endpoint(last, weight, health)
                })
                .collect()
        };
        groups
            .into_iter()
            .enumerate()
            .map(|(i, (priority, weight, hosts))| locality(&format!("z{i}"), priority, weight, make(hosts)))
            .collect()
    })
}

fn policy() -> impl Strategy<Value = String> {
    let policies = prop_oneof![Just("ROUND_ROBIN"), Just("LEAST_REQUEST"), Just("RANDOM")];
    (policies, any::<bool>()).prop_map(|(policy, localities)| {
        let common = if localities { ", common_lb_config: {locality_weighted_lb_config: {}}" } else { "" };
        format!("lb_policy: {policy}{common}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_pick_is_a_member_and_unhealthy_only_in_panic(policy in policy(), localities in localities(), seed in any::<u64>()) {
        let cluster = cluster(&policy, localities);
        let hosts = cluster.hosts();
        let mut rng = SmallRng::seed_from_u64(seed);
        for _ in 0..50 {
            let Ok(host) = cluster.pick_endpoint(&PickContext::default(), &mut rng) else {
                prop_assert!(hosts.members.is_empty());
                continue;
            };
            let member = hosts.members.iter().find(|m| Arc::ptr_eq(&m.host, &host)).unwrap();
            let in_panic = hosts.load.panic[member.priority as usize];
            prop_assert!(in_panic || member.is_healthy() || member.is_degraded());
        }
    }

    #[test]
    fn shares_track_the_probabilities_that_explain_shows(policy in policy(), localities in localities(), seed in any::<u64>()) {
        let cluster = cluster(&policy, localities);
        let hosts = cluster.hosts();
        let expected = hosts.probabilities();
        prop_assume!(!hosts.members.is_empty());
        prop_assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let (mut rng, mut counts) = (SmallRng::seed_from_u64(seed), vec![0usize; expected.len()]);
        const PICKS: usize = 8_000;
        for _ in 0..PICKS {
            let host = cluster.pick_endpoint(&PickContext::default(), &mut rng).unwrap();
            counts[hosts.members.iter().position(|m| Arc::ptr_eq(&m.host, &host)).unwrap()] += 1;
        }
        for (count, expected) in counts.iter().zip(&expected) {
            prop_assert!((*count as f64 / PICKS as f64 - expected).abs() < 0.035, "{counts:?} {expected:?}");
        }
    }

    #[test]
    fn the_same_endpoints_again_change_nothing(localities in localities()) {
        let cluster = cluster("lb_policy: ROUND_ROBIN", localities.clone());
        let before = cluster.hosts();
        cluster.update_endpoints(&LoadAssignment { localities, ..Default::default() });
        prop_assert!(Arc::ptr_eq(&before, &cluster.hosts()));
    }

    #[test]
    fn a_table_gives_each_item_exactly_its_weight_per_cycle(weights in proptest::collection::vec(0u32..50, 1..12)) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let schedule = super::schedule::Schedule::new(&weights, None);
        let equal = weights.windows(2).all(|w| w[0] == w[1]);
        let cycle = if equal { weights.len() } else { weights.iter().sum::<u32>() as usize };
        let mut counts = vec![0u32; weights.len()];
        (0..cycle).for_each(|_| counts[schedule.next(0)] += 1);
        let expected: Vec<u32> = if equal { vec![1; weights.len()] } else { weights.clone() };
        prop_assert_eq!(counts, expected);
    }
}
