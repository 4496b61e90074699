#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::balance::{Cluster, Host};
use crate::cluster::ClusterConfig;

fn cluster(hosts: u8, outlier: &str) -> Cluster {
    let endpoints: Vec<String> = (1..=hosts)
        .map(|i| format!("{{endpoint: {{address: {{socket_address: {{address: 10.0.0.{i}, port_value: 80}}}}}}}}"))
        .collect();
    let yaml = format!(
        "{{name: c, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{}]}}]}}, outlier_detection: {{{outlier}}}}}",
        endpoints.join(", ")
    );
    Cluster::new(ClusterConfig::parse(&mesh_proto::json::from_yaml(&yaml).unwrap()).unwrap())
}

fn host(cluster: &Cluster, index: usize) -> Arc<Host> {
    cluster.hosts().members[index].host.clone()
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(7)
}

#[test]
fn errors_in_a_row_eject_and_a_success_between_does_not() {
    let (cluster, mut rng, now) = (cluster(3, "consecutive_5xx: 3, max_ejection_percent: 100"), rng(), Instant::now());
    let bad = host(&cluster, 0);
    for status in [500, 503, 200, 500, 500] {
        assert_eq!(cluster.observe(&bad, Outcome::Status(status), now, &mut rng), None);
    }
    let event = cluster.observe(&bad, Outcome::Reset, now, &mut rng);
    assert_eq!(event, Some(Event::Ejected(Reason::Consecutive5xx)));
    for _ in 0..100 {
        assert_ne!(cluster.pick_endpoint(&Default::default(), &mut rng).unwrap().address, bad.address);
    }
}

#[test]
fn each_ejection_in_a_row_lasts_longer() {
    let settings = "consecutive_5xx: 1, base_ejection_time: 30s, max_ejection_percent: 100, interval: 10s";
    let (cluster, mut rng, start) = (cluster(2, settings), rng(), Instant::now());
    let bad = host(&cluster, 0);
    let at = |seconds| start + Duration::from_secs(seconds);
    cluster.tick(at(0), &mut rng);
    cluster.observe(&bad, Outcome::Status(500), at(0), &mut rng);
    cluster.tick(at(29), &mut rng);
    assert!(bad.is_ejected());
    assert_eq!(cluster.tick(at(30), &mut rng).len(), 1);
    assert!(!bad.is_ejected());
    cluster.observe(&bad, Outcome::Status(500), at(31), &mut rng);
    cluster.tick(at(90), &mut rng);
    assert!(bad.is_ejected(), "the second lasts 60 s");
    cluster.tick(at(91), &mut rng);
    assert!(!bad.is_ejected());
    assert_eq!(cluster.hosts().members.iter().filter(|m| m.ejected).count(), 0);
}

#[test]
fn at_most_the_configured_share_is_out() {
    let (cluster, mut rng, now) = (cluster(10, "consecutive_5xx: 1, max_ejection_percent: 25"), rng(), Instant::now());
    for i in 0..10 {
        cluster.observe(&host(&cluster, i), Outcome::ConnectFailure, now, &mut rng);
    }
    assert_eq!(cluster.hosts().members.iter().filter(|m| m.ejected).count(), 3, "the share is checked before each");
}

#[test]
fn a_host_with_a_low_success_rate_is_an_outlier() {
    let settings = "success_rate_minimum_hosts: 3, success_rate_request_volume: 10, consecutive_5xx: 1000, \
                    success_rate_stdev_factor: 1000, max_ejection_percent: 50, interval: 10s";
    let (cluster, mut rng, now) = (cluster(5, settings), rng(), Instant::now());
    cluster.tick(now, &mut rng);
    for i in 0..5 {
        for n in 0..100 {
            let status = if i == 2 && n % 2 == 0 { 500 } else { 200 };
            cluster.observe(&host(&cluster, i), Outcome::Status(status), now, &mut rng);
        }
    }
    let events = cluster.tick(now + Duration::from_secs(10), &mut rng);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].0.address, events[0].1), (host(&cluster, 2).address, Event::Ejected(Reason::SuccessRate)));
    assert_eq!(events[0].0.success_rate(), Some(50.0));
}

#[test]
fn local_failures_are_counted_apart_only_if_asked() {
    let (cluster, mut rng, now) = (
        cluster(
            2,
            "split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, consecutive_5xx: 1, max_ejection_percent: 100",
        ),
        rng(),
        Instant::now(),
    );
    let bad = host(&cluster, 1);
    assert_eq!(cluster.observe(&bad, Outcome::Timeout, now, &mut rng), None);
    let event = cluster.observe(&bad, Outcome::ConnectFailure, now, &mut rng);
    assert_eq!(event, Some(Event::Ejected(Reason::ConsecutiveLocalOriginFailure)));
}

#[test]
fn an_ejection_survives_an_endpoint_update_and_ends_when_detection_is_switched_off() {
    let (cluster, mut rng, now) = (cluster(2, "consecutive_5xx: 1, max_ejection_percent: 100"), rng(), Instant::now());
    let bad = host(&cluster, 0);
    cluster.observe(&bad, Outcome::Status(500), now, &mut rng);
    let mut assignment = cluster.config().load_assignment.clone();
    assignment.localities[0].endpoints.truncate(1);
    cluster.update_endpoints(&assignment);
    assert!(Arc::ptr_eq(&host(&cluster, 0), &bad));
    assert!(cluster.hosts().members[0].ejected);
    let mut config = ClusterConfig::clone(&cluster.config());
    config.outlier_detection = None;
    cluster.update_config(config);
    assert_eq!(cluster.tick(now, &mut rng).len(), 1);
    assert!(!cluster.hosts().members[0].ejected);
}
