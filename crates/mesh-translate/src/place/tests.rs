//! Groups of endpoints as clients in some place see them.
#![allow(clippy::unwrap_used)]

use mesh_model::rules::destination_rule::{LoadBalancer, OutlierDetection};
use mesh_model::{Address, Health};
use proptest::prelude::*;

use super::*;

fn endpoint(last: u8, locality: &str, labels: &[(&str, &str)]) -> Endpoint {
    Endpoint {
        address: Address::Ip([10, 0, 0, last].into()),
        port: 80,
        port_name: "http".into(),
        labels: labels.iter().copied().collect(),
        weight: 1,
        health: Health::Healthy,
        locality: Arc::new(Locality::parse(locality)),
        service_account: "".into(),
        namespace: "shop".into(),
        workload: "".into(),
        node: "".into(),
        network: "".into(),
    }
}

fn client(locality: &str, labels: &[(&str, &str)]) -> Place {
    Place { locality: Arc::new(Locality::parse(locality)), labels: labels.iter().copied().collect() }
}

fn watched() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: None,
        consecutive_gateway_errors: None,
        split_external_local_origin_errors: false,
        consecutive_local_origin_failures: None,
        interval: None,
        base_ejection_time: None,
        max_ejection_percent: None,
        min_health_percent: None,
        http_error_codes: Vec::new(),
    }
}

/// `place priority weight` of every group, with outlier detection.
fn check(balancer: LoadBalancer, client: &Place, endpoints: &[Endpoint], expected: &[&str]) {
    let outlier = watched();
    let policy = Effective { load_balancer: Some(&balancer), outlier_detection: Some(&outlier), ..Default::default() };
    let nearness = Nearness::of(&policy, &MeshConfig::default(), Some(client));
    let groups = Nearness::arrange(nearness.as_ref(), endpoints.iter());
    let line = |g: &Group<'_>| format!("{} {} {}", g.locality, g.priority, g.weight);
    assert_eq!(groups.iter().map(line).collect::<Vec<_>>(), expected);
}

fn balancer(locality: LocalityBalancing) -> LoadBalancer {
    LoadBalancer { locality: Some(locality), ..Default::default() }
}

fn four() -> Vec<Endpoint> {
    let places = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1"];
    places.iter().zip(1..).map(|(place, last)| endpoint(last, place, &[])).collect()
}

#[test]
fn the_same_sub_zone_comes_first_then_zone_region_and_the_rest() {
    let client = client("eu/a/1", &[]);
    let expected = ["eu/a/1 0 1", "eu/a/2 1 1", "eu/b/1 2 1", "us/a/1 3 1"];
    check(LoadBalancer::default(), &client, &four(), &expected);
}

#[test]
fn priorities_leave_no_gap_where_nothing_is_near() {
    let client = client("asia/x/1", &[]);
    check(LoadBalancer::default(), &client, &four(), &["eu/a/1 0 1", "eu/a/2 0 1", "eu/b/1 0 1", "us/a/1 0 1"]);
}

#[test]
fn a_region_that_stands_in_comes_before_others() {
    let failover = vec![Failover { from: "eu".into(), to: "us".into() }];
    let mut endpoints = four();
    endpoints.push(endpoint(9, "asia/x/1", &[]));
    let client = client("eu/b/1", &[]);
    let expected = ["asia/x/1 3 1", "eu/a/1 1 1", "eu/a/2 1 1", "eu/b/1 0 1", "us/a/1 2 1"];
    check(balancer(LocalityBalancing { failover, ..Default::default() }), &client, &endpoints, &expected);
}

#[test]
fn without_outlier_detection_or_switched_off_all_are_equally_near() {
    let client = client("eu/a/1", &[]);
    let policy = Effective::default();
    assert_eq!(Nearness::of(&policy, &MeshConfig::default(), Some(&client)), None);
    let off = balancer(LocalityBalancing { enabled: false, ..Default::default() });
    check(off, &client, &four(), &["eu/a/1 0 1", "eu/a/2 0 1", "eu/b/1 0 1", "us/a/1 0 1"]);
}

#[test]
fn shares_go_by_place_and_places_without_one_get_nothing() {
    let to = vec![(Locality::parse("eu/a/*"), 80), (Locality::parse("us"), 20)];
    let distribute = vec![
        Distribute { from: Locality::parse("us/*"), to: vec![(Locality::parse("us"), 100)] },
        Distribute { from: Locality::parse("eu/a/*"), to },
    ];
    let rule = || balancer(LocalityBalancing { distribute: distribute.clone(), ..Default::default() });
    check(rule(), &client("eu/a/1", &[]), &four(), &["eu/a/1 0 40", "eu/a/2 0 40", "us/a/1 0 20"]);
    check(rule(), &client("us/a/1", &[]), &four(), &["us/a/1 0 100"]);
    let everywhere = ["eu/a/1 0 1", "eu/a/2 0 1", "eu/b/1 0 1", "us/a/1 0 1"];
    check(rule(), &client("asia/a/1", &[]), &four(), &everywhere);
}

#[test]
fn labels_rank_endpoints_by_the_first_in_which_they_differ() {
    let priority = ["topology.istio.io/network", "topology.kubernetes.io/region", "version=v1"];
    let failover_priority = priority.iter().map(|l| (*l).into()).collect();
    let client = client("eu/a/1", &[("topology.kubernetes.io/region", "eu")]);
    let endpoints = [
        endpoint(1, "eu/a/1", &[("version", "v1")]),
        endpoint(2, "eu/a/1", &[("version", "v2")]),
        endpoint(3, "us/a/1", &[("version", "v1")]),
    ];
    let rule = balancer(LocalityBalancing { failover_priority, ..Default::default() });
    check(rule, &client, &endpoints, &["eu/a/1 0 1", "eu/a/1 1 1", "us/a/1 2 1"]);
}

#[test]
fn zones_of_the_own_region_are_equally_near() {
    let failover = vec![Failover { from: "eu".into(), to: "us".into() }];
    let zones = ZoneAware { enabled: true, failover, failover_priority: Vec::new(), min_cluster_size: None };
    let rule = LoadBalancer { zone_aware: Some(zones), ..Default::default() };
    let mut endpoints = four();
    endpoints.push(endpoint(9, "asia/x/1", &[]));
    let expected = ["asia/x/1 2 1", "eu/a/1 0 1", "eu/a/2 0 1", "eu/b/1 0 1", "us/a/1 1 1"];
    check(rule, &client("eu/b/1", &[]), &endpoints, &expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_endpoint_is_in_one_group_and_priorities_have_no_gap(
        places in proptest::collection::vec((0u8..3, 0u8..3, 0u8..2), 0..12),
        here in (0u8..3, 0u8..3, 0u8..2),
        failover in any::<bool>(),
        labelled in any::<bool>(),
    ) {
        let name = |(r, z, s): (u8, u8, u8)| format!("r{r}/z{z}/s{s}");
        let endpoints: Vec<Endpoint> = places.iter().zip(1..).map(|(p, i)| endpoint(i, &name(*p), &[])).collect();
        let outlier = watched();
        let rule = balancer(LocalityBalancing {
            failover: if failover { vec![Failover { from: "r0".into(), to: "r1".into() }] } else { Vec::new() },
            failover_priority: if labelled { vec!["topology.kubernetes.io/zone".into()] } else { Vec::new() },
            ..Default::default()
        });
        let policy = Effective { load_balancer: Some(&rule), outlier_detection: Some(&outlier), ..Default::default() };
        let client = client(&name(here), &[("topology.kubernetes.io/zone", "z1")]);
        let nearness = Nearness::of(&policy, &MeshConfig::default(), Some(&client));
        let groups = Nearness::arrange(nearness.as_ref(), endpoints.iter());
        prop_assert_eq!(groups.iter().map(|g| g.endpoints.len()).sum::<usize>(), endpoints.len());
        let mut priorities: Vec<u32> = groups.iter().map(|g| g.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        prop_assert_eq!(priorities.clone(), (0..priorities.len() as u32).collect::<Vec<_>>());
    }
}
